// What is held: places, processes and memory, by clients that are silent, many, deaf, or left alone.

import type { Socket } from "bun";
import { readFileSync, statSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Peer } from "./peers.ts";
import { end, family, memoryOf, start, stillThere, type Folder } from "./processes.ts";
import type { Cell } from "./report.ts";

const OTHERS = 100;
/** Counting costs, too: seldom enough that the servers are not held up by it. */
const SETTLE_MS = 6000;
const CONNECT_MS = 500;
const PROBE_MS = 3000;
const SILENT_MS = 40_000;
const LEFT_MS = 5000;
const LEFT_AT_MOST_MS = 15_000;
const ENDLESS_MS = 5000;
const MIB = 1024 * 1024;

/** A client without a program: what it was told, and when it was left. */
class Raw {
  received = "";
  readonly closed: Promise<void>;
  #close = () => {};
  #socket: Socket | undefined;
  #left = false;

  constructor() {
    this.closed = new Promise((resolve) => (this.#close = resolve));
  }

  /** May wait for its place in the server's queue; `say` and `leave` do not. */
  static connect(port: number, first: Uint8Array, deaf = false): Raw {
    const raw = new Raw();
    const connecting = Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        open: (socket) => {
          raw.#socket = socket;
          if (raw.#left) socket.terminate();
          else if (deaf) socket.pause();
          if (first.length > 0) socket.write(first);
        },
        data: (_, chunk) => void (raw.received += chunk.toString("latin1")),
        close: () => raw.#close(),
        end: (socket) => void socket.end(),
        error: () => raw.#close(),
      },
    });
    connecting.catch(() => raw.#close());
    return raw;
  }

  get isConnected(): boolean {
    return this.#socket !== undefined;
  }

  say(bytes: Uint8Array): void {
    this.#socket?.write(bytes);
  }

  leave(): void {
    this.#left = true;
    this.#socket?.terminate();
  }
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
const mib = (bytes: number) => (bytes / MIB).toFixed(1);

async function until(what: () => boolean, withinMs: number, pauseMs = 5): Promise<boolean> {
  for (const deadline = performance.now() + withinMs; !what(); await delay(pauseMs)) {
    if (performance.now() > deadline) return false;
  }
  return true;
}

/** Row 5; the silent one is told of when it is gone. */
export async function crowd(peer: Peer, folder: Folder): Promise<Cell> {
  const argv = (port: string) => peer.serve(port, "cat");
  await using server = await start(argv, folder);
  const programs = () => family(server.pid).filter(({ name }) => name === "cat").length;
  const began = performance.now();
  const silent = Raw.connect(server.port, new Uint8Array());
  const others: Raw[] = [];
  for (let room = true; others.length < OTHERS;) {
    const other = Raw.connect(server.port, peer.greeting);
    others.push(other);
    room &&= await until(() => other.isConnected, CONNECT_MS); // one by one: some queues hold only five
  }
  await until(() => programs() >= OTHERS, SETTLE_MS, 200);
  const running = programs();
  const last = Raw.connect(server.port, peer.greeting);
  await until(() => last.isConnected, PROBE_MS);
  await delay(100); // a WebSocket may speak only when it was answered
  last.say(peer.line("are you there"));
  const asked = performance.now();
  const answered = await until(() => last.received.includes("are you there"), PROBE_MS);
  const answer = answered
    ? `yes, ${Math.round(performance.now() - asked)} ms`
    : `**no**, not in ${seconds(PROBE_MS)}`;
  for (const client of [...others, last]) client.leave();
  const left = SILENT_MS - (performance.now() - began);
  const gone = await Promise.race([silent.closed.then(() => true), delay(left, false)]);
  const held = gone ? seconds(performance.now() - began) : `> ${SILENT_MS / 1000} s`;
  silent.leave();
  return { text: `${answer}; ${running} programs; silent one: ${held}`, server: argv("PORT"), clients: [] };
}

/** Row 6. */
export async function leftBehind(peer: Peer, folder: Folder, ...flags: string[]): Promise<Cell> {
  const argv = (port: string) => peer.serve(port, "./stubborn", ...flags);
  await using server = await start(argv, folder);
  const client = Raw.connect(server.port, peer.greeting);
  await until(() => family(server.pid).some(({ name }) => name === "sleep"), 2000);
  const members = family(server.pid);
  const began = performance.now();
  process.kill(server.pid, "SIGTERM");
  const inTime = await until(() => stillThere(members).length === 0, LEFT_MS);
  const left = stillThere(members).map(({ name }) => name);
  const names = left.length === 0 ? "" : ` (${left.join(", ")})`;
  const later = inTime || (await until(() => stillThere(members).length === 0, LEFT_AT_MOST_MS - LEFT_MS));
  const last = later
    ? `none after ${seconds(performance.now() - began)}`
    : `still after ${LEFT_AT_MOST_MS / 1000} s`;
  end(members);
  client.leave();
  return { text: inTime ? last : `**${left.length}**${names}; ${last}`, server: argv("PORT"), clients: [] };
}

/** Row 8. */
export async function endless(peer: Peer, folder: Folder): Promise<Cell> {
  const argv = (port: string) => peer.serve(port, "yes");
  await using server = await start(argv, folder);
  await delay(200);
  const before = memoryOf(family(server.pid));
  const client = Raw.connect(server.port, peer.greeting, true);
  await delay(ENDLESS_MS);
  const after = memoryOf(family(server.pid));
  client.leave();
  return { text: `${mib(before)} → ${mib(after)} MiB`, server: argv("PORT"), clients: [] };
}

export interface Costs {
  size: string;
  ready: string;
  idle: string;
  each: string;
}

/** What it takes to be there at all. */
export async function costs(peer: Peer, folder: Folder): Promise<Costs> {
  const STARTS = 5;
  const FEW = 20;
  const argv = (port: string) => peer.serve(port, "cat");
  const times: number[] = [];
  for (let i = 0; i < STARTS; i++) {
    await using server = await start(argv, folder);
    times.push(server.readyMs);
  }
  times.sort((a, b) => a - b);
  await using server = await start(argv, folder);
  await delay(300);
  const resident = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1]);
  const idle = memoryOf(family(server.pid));
  const clients: Raw[] = [];
  for (let i = 0; i < FEW; i++) clients.push(Raw.connect(server.port, peer.greeting));
  await until(() => family(server.pid).filter(({ name }) => name === "cat").length >= FEW, 2000);
  await delay(300);
  const each = (memoryOf(family(server.pid)) - idle) / FEW / 1024;
  for (const client of clients) client.leave();
  const executable = Bun.which(peer.executable, { PATH: folder.env["PATH"] }) ?? peer.executable;
  const { size } = statSync(executable);
  return {
    size: size < MIB ? `${Math.round(size / 1024)} KiB` : `${mib(size)} MiB`,
    ready: `${times[STARTS >> 1]!.toFixed(0)} ms`,
    idle: `${mib(resident * 1024)} MiB`,
    each: `${each.toFixed(0)} KiB`,
  };
}
