// What clients can make a server write to its log: by logging in and leaving, by garbage, by resuming one session again and again,
// by a program's standard error. Each limit of the log is for a minute, and each attack is shorter: so what it cost is a minute's.

import { statSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { attack as dial } from "../attack.ts";
import { frame, Peer } from "../peer.ts";
import { DURABLE, reconnect, resumeOf } from "../resume.ts";
import { LIFTED, target, type Figure } from "./target.ts";

const KIB = 1024;
const CLIENTS = 8;

interface Attack {
  name: string;
  /** The program that answers; none: echo. */
  program?: readonly string[];
  /** One client's part, over and over until `deadline`; returns how many times. */
  run: (port: number, from: () => string, deadline: number) => Promise<number>;
  /** What a minute of it may cost, in KiB. */
  limit: number;
}

/** Connects, says `login`, and waits for the end of that. */
const saying = (login: string) => async (port: number, from: () => string, deadline: number) => {
  let times = 0;
  for (; performance.now() < deadline; times++) {
    const { socket, greeted, closed } = await dial(port, from());
    await greeted;
    socket.end(frame(login));
    await closed;
  }
  return times;
};

async function resumeAgain(port: number, from: () => string, deadline: number): Promise<number> {
  let last = await Peer.connect(port, from());
  const resume = resumeOf(await last.enter(DURABLE));
  let times = 0;
  for (; performance.now() < deadline; times++) {
    const [next] = await reconnect(port, resume, 0);
    last.reset();
    last = next;
  }
  last.reset();
  return times;
}

/** Only stays. */
async function listen(port: number, from: () => string, deadline: number): Promise<number> {
  using peer = await Peer.connect(port, from());
  await peer.enter();
  await delay(deadline - performance.now());
  return 1;
}

const ENTER = '{"type":"login","method":"none"}';
const STDERR = ["--", "sh", "-c", "exec yes 'a line of an error' >&2"];

export const ONE_ADDRESS: readonly Attack[] = [
  { name: "log in and leave", run: saying(ENTER), limit: 130 },
  { name: "garbage", run: saying("no login"), limit: 130 },
  { name: "resume one session", run: resumeAgain, limit: 130 },
  { name: "a program's errors", run: listen, program: STDERR, limit: 136 },
];
/** From so many addresses that no limit of one is reached. */
export const ALL_ADDRESSES: readonly Attack[] = [
  { name: "log in and leave, all of 127/8", run: saying(ENTER), limit: 400 },
  { name: "garbage, all of 127/8", run: saying("no login"), limit: 400 },
];

/** What each of `attacks` adds to the log in `ms`. */
export async function logGrowth(attacks: readonly Attack[], ms: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { name, run, program = [], limit } of attacks) {
    await using server = await target(["--auth", "none", ...LIFTED, ...program]);
    const before = statSync(server.log).size;
    let turn = 0;
    const from = () => {
      if (attacks === ONE_ADDRESS) return "127.0.0.1";
      turn++;
      return `127.${1 + ((turn >> 16) & 127)}.${(turn >> 8) & 255}.${1 + (turn % 254)}`;
    };
    const deadline = performance.now() + ms;
    const parts = Array.from({ length: CLIENTS }, () => run(server.port, from, deadline));
    const times = (await Promise.all(parts)).reduce((sum, count) => sum + count, 0);
    server.running.signal("SIGTERM"); // the summaries are written then
    await server.running.exited;
    const kib = (statSync(server.log).size - before) / KIB;
    const attack = `log: ${name}`;
    figures.push(
      { attack, what: "times", value: times, unit: "" },
      { attack, what: "a second, without a limit", value: kib / (ms / 1000), unit: "KiB" },
      { attack, what: "a minute", value: kib, unit: "KiB", target: limit },
    );
  }
  return figures;
}
