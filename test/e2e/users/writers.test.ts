// A running server in which clients register, beside commands that change the same user file: whatever was acknowledged
// is in the file. Commands and server are killed meanwhile, or not. PARLEY_KILLS=200 and PARLEY_CHANGES=5000 make it a
// long run, and print its figures.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { FileStore } from "../../../src/auth/file-store.ts";
import { MAX_REGISTRATIONS } from "../../../src/base/limits.ts";
import { until } from "../../support/attack.ts";
import {
  cleanEnv,
  EXECUTABLE,
  PASSWORD,
  portForLater,
  serve,
  type Serving,
} from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { writeMany } from "../../support/many.ts";
import { Peer } from "../../support/peer.ts";

const KILLS = Number(process.env["PARLEY_KILLS"] ?? 8);
const CHANGES = Number(process.env["PARLEY_CHANGES"] ?? 100);
const PRINTS = process.env["PARLEY_KILLS"] !== undefined || process.env["PARLEY_CHANGES"] !== undefined;
const WRITERS = 8;
const REGISTRANTS = 3;
/** Commands and registrations that are acknowledged between two kills, at most. */
const PACE = 12;
/** Of so many kills one hits the server. */
const SERVER_SHARE = 5;

setDefaultTimeout(60_000 + 2000 * KILLS + 200 * CHANGES);

/** What commands and clients were told is done. */
class Acknowledged {
  readonly added = new Set<string>();
  readonly disabled = new Set<string>();
  count = 0;

  get registered(): string[] {
    return [...this.added].filter((name) => name.startsWith("r"));
  }

  note(name: string, set: Set<string>): void {
    set.add(name);
    this.count++;
  }
}

const HASH = await Bun.password.hash(PASSWORD, { algorithm: "argon2id", memoryCost: 8192, timeCost: 1 });

/** Runs one command after the other until `isOver`; `kill` hits the one that runs. */
function startWriter(id: number, data: string, told: Acknowledged, isOver: () => boolean) {
  let child: Bun.Subprocess | undefined;
  const run = async (argv: string[], stdin = "") => {
    child = Bun.spawn([EXECUTABLE, "users", ...argv], {
      stdin: Buffer.from(stdin),
      stdout: "ignore",
      stderr: "pipe",
      env: cleanEnv(data),
    });
    const [exitCode, stderr] = await Promise.all([child.exited, new Response(child.stderr as never).text()]);
    if (exitCode !== 0 && child.signalCode !== "SIGKILL")
      throw new Error(`users ${argv.join(" ")}: ${stderr}`);
    return exitCode === 0;
  };
  const ended = (async () => {
    for (let n = 0; !isOver(); n++) {
      const name = `w${id}-${n}`;
      if (!(await run(["import", "-"], JSON.stringify({ name, password: HASH })))) continue;
      told.note(name, told.added);
      if (await run(["disable", name])) told.note(name, told.disabled);
    }
  })();
  return { ended, kill: () => child?.kill("SIGKILL") };
}

/** Registers one user after the other until `isOver`, from addresses of its own; a server that is gone is tried again. */
async function register(
  id: number,
  port: () => number,
  told: Acknowledged,
  isOver: () => boolean,
): Promise<void> {
  for (let n = 0; !isOver(); n++) {
    const name = `r${id}-${n}`;
    const source = Math.floor(n / (MAX_REGISTRATIONS / 2));
    try {
      using peer = await Peer.connect(port(), `127.${10 + id}.${(source >> 8) & 0xff}.${source & 0xff}`);
      await peer.message();
      peer.json({ type: "login", method: "register", user: name, password: PASSWORD });
      const { type } = await peer.message();
      if (type === "welcome") told.note(name, told.added);
    } catch (error) {
      const text = error instanceof Error ? error.message : "";
      if (!/ECONNREFUSED|ECONNRESET|EPIPE|the stream has ended/.test(text)) throw error;
      await delay(5); // it is being started
    }
  }
}

async function play(kills: number, changes: number, isMany = false): Promise<void> {
  using folder = tempFolder();
  const data = folder.path;
  if (isMany) writeMany(data);
  const port = portForLater();
  const startServer = () => serve(["--register", "--penalties", "off", "--port", String(port)], { data });
  let server: Serving = await startServer();
  const told = new Acknowledged();
  let isOver = false;
  const writers = Array.from({ length: WRITERS }, (_, id) => startWriter(id, data, told, () => isOver));
  const registrants = Array.from({ length: REGISTRANTS }, (_, id) =>
    register(
      id,
      () => port,
      told,
      () => isOver,
    ),
  );
  const all = Promise.all([...writers.map(({ ended }) => ended), ...registrants]);
  const hurt = async () => {
    for (let kill = 0; kill < kills; kill++) {
      const enough = told.count + 1 + Math.floor(Math.random() * PACE);
      await until("acknowledged", true, () => told.count >= enough);
      if (kill % SERVER_SHARE === SERVER_SHARE - 1) {
        server.signal("SIGKILL");
        await server[Symbol.asyncDispose]();
        server = await startServer();
      } else {
        writers[Math.floor(Math.random() * WRITERS)]?.kill();
      }
    }
    const isEnough = () => told.count >= changes && told.registered.length > 0;
    while (!isEnough()) await delay(5);
  };
  try {
    await Promise.race([hurt(), all]);
    isOver = true;
    await all;
    await server.stop();
  } finally {
    isOver = true;
    await server[Symbol.asyncDispose]();
  }
  const path = join(data, "users.json");
  const { users } = new FileStore(path).document;
  const lost = [
    ...[...told.added].filter((name) => !users.has(name)),
    ...[...told.disabled].filter((name) => users.get(name)?.disabled === null),
  ];
  const registered = told.registered.length;
  if (PRINTS) console.log({ kills, acknowledged: told.count, registered, lost: lost.length });
  expect(lost).toEqual([]);
}

test(`${KILLS} kills: nothing that was acknowledged is lost`, () => play(KILLS, 0));
test(`${KILLS} kills beside many users, and a journal: nothing that was acknowledged is lost`, () =>
  play(KILLS, 0, true));
test(`${CHANGES} changes without kills: nothing that was acknowledged is lost`, () => play(0, CHANGES));
