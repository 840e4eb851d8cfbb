// Starting, feeding, counting and ending processes. Only what was started here is ever signalled, by its id.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export interface Folder {
  path: string;
  env: Record<string, string>;
}

export interface Server extends AsyncDisposable {
  port: number;
  pid: number;
  /** From the start of the process until it listens. */
  readyMs: number;
}

export interface Outcome {
  stdout: Buffer;
  stderr: string;
  /** Undefined when it did not end by itself. */
  exitCode: number | undefined;
  ms: number;
}

const READY_MS = 5000;

/** Starts a server on a free port, and waits until it listens without connecting to it. */
export async function start(argv: (port: string) => string[], folder: Folder): Promise<Server> {
  const port = freePort();
  const began = performance.now();
  const child = Bun.spawn(argv(String(port)), {
    cwd: folder.path,
    env: folder.env,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
    detached: true,
  });
  while (!isListening(port)) {
    if (child.exitCode !== null) throw new Error(`${argv("PORT").join(" ")} ended with ${child.exitCode}`);
    if (performance.now() - began > READY_MS) {
      end(family(child.pid));
      throw new Error(`${argv("PORT").join(" ")} does not listen`);
    }
    await delay(1);
  }
  const readyMs = performance.now() - began;
  const stop = async () => {
    end(family(child.pid));
    await child.exited;
  };
  return { port, pid: child.pid, readyMs, [Symbol.asyncDispose]: stop };
}

/** What a client is given: a file through a pipe, nothing, or not even a standard input. */
export type Input = { file: string } | "null" | "closed";

const REDIRECTED = { null: '"$@" </dev/null', closed: '"$@" <&-' };

export async function runClient(
  argv: string[],
  input: Input,
  timeoutMs: number,
  folder: Folder,
  env: Record<string, string> = {},
): Promise<Outcome> {
  const shell = typeof input === "string" ? REDIRECTED[input] : 'cat "$0" | "$@"';
  const name = typeof input === "string" ? "sh" : join(folder.path, input.file);
  const began = performance.now();
  const child = Bun.spawn(["sh", "-c", shell, name, ...argv], {
    cwd: folder.path,
    env: { ...folder.env, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true, // without a terminal
  });
  let hangs = false;
  const timer = setTimeout(() => {
    hangs = true;
    end(family(child.pid));
  }, timeoutMs);
  const [stdout, stderr, status] = await Promise.all([
    child.stdout.bytes(),
    child.stderr.text(),
    child.exited,
  ]);
  clearTimeout(timer);
  const exitCode = hangs ? undefined : status;
  return { stdout: Buffer.from(stdout), stderr, exitCode, ms: performance.now() - began };
}

/** A process as long as it is the same one: its id, and when it began. */
export interface Member {
  pid: number;
  name: string;
  began: string;
}

/** The process and all that come from it. */
export function family(pid: number): Member[] {
  const member = memberOf(pid);
  if (member === undefined) return [];
  return [member, ...childrenOf(pid).flatMap(family)];
}

export function stillThere(members: readonly Member[]): Member[] {
  return members.filter(({ pid, began }) => memberOf(pid)?.began === began);
}

export function end(members: readonly Member[]): void {
  for (const { pid } of stillThere(members)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // it was faster
    }
  }
}

/** Memory of all of them, what they share counted once, in bytes. */
export function memoryOf(members: readonly Member[]): number {
  let kib = 0;
  for (const { pid } of members) {
    kib += Number(/^Pss:\s+(\d+)/m.exec(readProc(`${pid}/smaps_rollup`))?.[1] ?? 0);
  }
  return kib * 1024;
}

function memberOf(pid: number): Member | undefined {
  const [, name = "", rest] = /^\d+ \((.*)\) (.*)/s.exec(readProc(`${pid}/stat`)) ?? [];
  const fields = rest?.split(" ");
  if (fields === undefined || fields[0] === "Z") return undefined;
  return { pid, name, began: fields[19] ?? "" };
}

function childrenOf(pid: number): number[] {
  let threads: string[] = [];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    // gone
  }
  return threads.flatMap((thread) =>
    readProc(`${pid}/task/${thread}/children`).split(" ").filter(Boolean).map(Number),
  );
}

function readProc(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, "utf8");
  } catch {
    return "";
  }
}

function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

function isListening(port: number): boolean {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")} `;
  return readProc("net/tcp")
    .split("\n")
    .some((line) => line.includes(`${local}00000000:0000 0A`));
}
