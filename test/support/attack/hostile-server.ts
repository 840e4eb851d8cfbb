// What a hostile server costs `parley connect`: memory, where it sends without end, and dials, where it turns the client away.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { systemCode } from "../../../src/base/errors.ts";
import { until } from "../attack.ts";
import { cleanEnv, EXECUTABLE, start } from "../executable.ts";
import { fakeServer, HELLO, letIn, WELCOME } from "../fake-server.ts";
import { tempFolder } from "../folder.ts";
import { frame } from "../peer.ts";
import { local } from "../stream-service.ts";
import { UnreadPipe } from "../unread-pipe.ts";
import type { Watched } from "../watched.ts";
import type { Figure } from "./target.ts";

const MIB = 1024 * 1024;
const PIECE_BYTES = 64 * 1024;
/** A client takes no more when the server could send nothing at so many looks in a row. */
const LOOKS = 20;

/** What a hostile server sends without end. */
export interface Flood {
  name: string;
  argv?: string[];
  frames: Uint8Array;
  /** What comes before them; otherwise a login. */
  greet?: (socket: Socket, received: Watched) => Promise<void>;
  /** True: the server reads nothing meanwhile. */
  isDeaf?: boolean;
}

const control = (message: object) => frame(JSON.stringify(message), true);
const json = (message: object) => frame(JSON.stringify(message));
const PING = control({ type: "ping", n: 1 });

export const FLOODS: readonly Flood[] = [
  { name: "stderr messages", frames: control({ type: "stderr", text: "x".repeat(1000) }) },
  { name: "messages", frames: frame("x".repeat(1000)) },
  { name: "messages, --json", argv: ["--json"], frames: frame("\0".repeat(1000)) },
  { name: "empty messages, --trace", argv: ["--trace"], frames: frame("") },
  { name: "empty messages, --bare", argv: ["--bare"], frames: frame(""), greet: () => Promise.resolve() },
  { name: "pings, and reads nothing", frames: PING, isDeaf: true },
  { name: "pings, and reads nothing, --trace", argv: ["--trace"], frames: PING, isDeaf: true },
  {
    name: "answers to --bench, and reads nothing",
    argv: ["--bench"],
    frames: frame(""),
    isDeaf: true,
    async greet(socket, received) {
      await letIn(socket, received);
      // One answer to each of the two messages that ask what kind of service it is.
      const from = await received.see("parley --bench ");
      socket.write(frame("one"));
      await received.see("parley --bench ", from);
      socket.write(frame("two"));
      await received.see("parley --bench parley --bench ");
    },
  },
];

/** A message of 2 GiB, of a server that announces the longest that there is. */
export const ENDLESS: Flood = {
  name: "one endless message",
  frames: Buffer.alloc(PIECE_BYTES, "x"),
  async greet(socket, received) {
    socket.write(json({ ...HELLO, max_frame: Number.MAX_SAFE_INTEGER }));
    await received.see('"login"');
    socket.write(Buffer.concat([json(WELCOME), Buffer.from("7fffffff", "hex")]));
  },
};

export interface Flooded {
  /** What the client's memory grew by at most, in MiB. */
  growth: number;
  /** MiB that were sent. */
  sent: number;
}

/** Sends a client up to `bytes` bytes, until it takes no more or has ended. What it prints is not read. */
export async function floodClient(
  { argv, frames, greet = letIn, isDeaf }: Flood,
  bytes: number,
): Promise<Flooded> {
  using stdout = new UnreadPipe();
  using stderr = new UnreadPipe();
  using folder = tempFolder();
  const piece = Buffer.concat(Array<Uint8Array>(Math.ceil(PIECE_BYTES / frames.length)).fill(frames));
  let before = Infinity;
  let sent = 0;
  using server = await fakeServer((socket, received) => {
    const flood = async () => {
      await greet(socket, received);
      before = peakBytes(child.pid) ?? 0;
      if (isDeaf === true) socket.pause();
      for (; sent < bytes; sent += piece.length) if (!socket.write(piece)) await once(socket, "drain");
    };
    flood().catch(() => (sent = bytes)); // the client has left
  });
  const child = Bun.spawn([EXECUTABLE, "connect", server.address, ...(argv ?? [])], {
    stdin: "pipe",
    stdout: stdout.fd,
    stderr: stderr.fd,
    env: cleanEnv(folder.path),
  });
  try {
    let peak = 0;
    let last = 0;
    let looks = 0;
    await until("the client takes no more", true, () => {
      peak = peakBytes(child.pid) ?? peak;
      looks = sent === last && sent > 0 ? looks + 1 : 0;
      last = sent;
      return sent >= bytes || looks === LOOKS || child.exitCode !== null;
    });
    return { growth: Math.max(0, peak - before) / MIB, sent: sent / MIB };
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}

/** The most memory that a process has had; undefined when it has ended. */
function peakBytes(pid: number): number | undefined {
  try {
    const peak = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return peak === undefined ? undefined : Number(peak) * 1024;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Memory of a client whose output is not read. */
export async function unreadClient(bytes = 300 * MIB): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const flood of [...FLOODS, ENDLESS]) {
    const { growth } = await floodClient(flood, bytes);
    const attack = `a server sends ${flood.name}`;
    figures.push({ attack, what: "client memory, growth at most", value: growth, unit: "MiB", target: 64 });
  }
  return figures;
}

/** Memory of a forwarder: its server sends long messages without end to local programs that read nothing. */
export async function unreadForwarder(locals = 80): Promise<Figure[]> {
  const long = frame(Buffer.alloc(15 * MIB).toString("latin1"));
  let sent = 0;
  using server = await fakeServer(async (socket, received) => {
    const from = received.text.length;
    socket.write(json({ ...HELLO, messages: "bytes" }));
    await received.see('"login"', from);
    socket.write(json(WELCOME));
    const pour = () => {
      while (socket.write(long)) sent++;
    };
    socket.on("drain", pour);
    pour();
  });
  await using client = start(["connect", server.address, "--listen", "0"]);
  await client.stdout.see(/forwarding.*\n/);
  const port = Number(/127\.0\.0\.1:(\d+)/.exec(client.stdout.text)?.[1]);
  const before = peakBytes(client.pid) ?? 0;
  const programs = await Promise.all(Array.from({ length: locals }, () => local({ port })));
  for (const { socket } of programs) socket.pause();
  let last = -1;
  let looks = 0;
  await until("the client takes no more", true, () => {
    looks = sent === last ? looks + 1 : 0;
    last = sent;
    return looks === 2 * LOOKS;
  });
  const value = ((peakBytes(client.pid) ?? 0) - before) / MIB;
  for (const program of programs) program[Symbol.dispose]();
  const attack = `a server sends ${locals} unread local programs 15 MiB at a time`;
  return [{ attack, what: "memory of the forwarder, growth at most", value, unit: "MiB", target: 1024 }];
}

/** Turns each client away with `retry_after` 0. */
export function turnAway(socket: Socket): Promise<void> {
  socket.end(json({ type: "error", code: "busy", message: "busy", retry_after: 0 }));
  return Promise.resolve();
}

/** Begins a session, or resumes it, sends a message, and cuts the connection. */
export async function cutAgain(socket: Socket, received: Watched, number: number): Promise<void> {
  const from = received.text.length;
  socket.write(json(HELLO));
  await received.see('"login"', from);
  const key = Buffer.alloc(32).toString("base64");
  const resumed = number > 1 ? { resumed: true, received: 0 } : { resume_key: key };
  socket.write(json({ ...WELCOME, session: "s", resume_for: 60, ...resumed }));
  socket.write(frame("more"), () => socket.resetAndDestroy());
}

/** The times at which `connect` dials a server that does `greet` with each connection, until there are enough or it has ended. */
export async function countDials(
  greet: (socket: Socket, received: Watched, number: number) => Promise<void>,
  argv: string[],
  isEnough: (times: readonly number[]) => boolean,
): Promise<number[]> {
  const times: number[] = [];
  using folder = tempFolder();
  using server = await fakeServer((socket, received) => {
    times.push(performance.now());
    greet(socket, received, times.length).catch(() => undefined); // the client has left
  });
  const child = Bun.spawn([EXECUTABLE, "connect", server.address, ...argv], {
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
    env: cleanEnv(folder.path),
  });
  try {
    await until("enough dials", true, () => isEnough(times) || child.exitCode !== null);
    return times;
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}

const DIALS_MS = 5000;

/** Dials within five seconds. */
export async function hastyDials(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const [what, greet, argv] of [
    ["retry_after 0", turnAway, ["--send", "x"]],
    ["a message, and a reset", cutAgain, ["--retry", "forever"]],
  ] as const) {
    const times = await countDials(
      greet,
      [...argv],
      ([first = Infinity]) => performance.now() - first > DIALS_MS,
    );
    const attack = `a server answers each dial with ${what}`;
    figures.push({ attack, what: "dials in 5 s", value: times.length, unit: "", target: 20 });
  }
  return figures;
}
