// The compiled executable as a process: run to its end, left running, or serving. Its path is $PARLEY_EXECUTABLE, or
// dist/parley. Nothing of this process's environment reaches it but PATH; what it keeps is in a folder of the test's.

import { chmodSync, copyFileSync, existsSync, linkSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { systemCode } from "../../src/base/errors.ts";
import { tempFolder } from "./folder.ts";
import { Watched } from "./watched.ts";

export const EXECUTABLE = resolve(
  process.env["PARLEY_EXECUTABLE"] ?? join(import.meta.dir, "..", "..", "dist", "parley"),
);
if (!existsSync(EXECUTABLE)) {
  throw new Error(
    `there is no ${EXECUTABLE}: make it with bun scripts/build.ts, or name it in PARLEY_EXECUTABLE`,
  );
}

export const PASSWORD = "correct horse";
/** The least that `--hash-memory` and `--hash-time` allow, so that logins cost little. */
export const CHEAP = ["--hash-memory", "8mb", "--hash-time", "1"];

export interface Options {
  stdin?: string | Uint8Array;
  env?: Record<string, string>;
  cwd?: string;
  /** PARLEY_DATA; otherwise a new folder, gone afterwards. */
  data?: string;
  /** Words before the executable, which it is started by: see privileges.ts. */
  prefix?: readonly string[];
  /** The words that start another executable of parley, in place of EXECUTABLE. */
  instead?: readonly string[];
}

export interface Result {
  exitCode: number;
  stdout: string;
  stderr: string;
  /** Standard output, exactly. */
  bytes: Uint8Array;
}

/** The environment that the executable gets. */
export function cleanEnv(data: string, env: Record<string, string> = {}): Record<string, string> {
  return { PATH: process.env["PATH"] ?? "", HOME: data, PARLEY_DATA: data, ...env };
}

/** The words of a command, and, as long as it runs, what it needs. */
interface Command extends Disposable {
  words: string[];
}

function commandOf(argv: string[], { prefix, instead }: Options): Command {
  if (instead !== undefined) return { words: [...instead, ...argv], [Symbol.dispose]: () => undefined };
  if (prefix === undefined) return { words: [EXECUTABLE, ...argv], [Symbol.dispose]: () => undefined };
  if (isForAll(EXECUTABLE)) {
    return { words: [...prefix, EXECUTABLE, ...argv], [Symbol.dispose]: () => undefined };
  }
  // A checkout in a folder of root's: another user runs a link to it.
  const folder = tempFolder();
  chmodSync(folder.path, 0o755);
  const link = join(folder.path, "parley");
  try {
    linkSync(EXECUTABLE, link);
  } catch {
    copyFileSync(EXECUTABLE, link); // on another file system
  }
  return { words: [...prefix, link, ...argv], [Symbol.dispose]: () => folder[Symbol.dispose]() };
}

/** May every user reach `path`, and run what is there? */
function isForAll(path: string): boolean {
  const above = dirname(path);
  return (statSync(path).mode & 0o001) !== 0 && (above === path || isForAll(above));
}

/** Runs the executable to its end. Without `stdin` there is nothing to read. */
export function run(argv: string[], options: Options = {}): Promise<Result> {
  return finish([], argv, options);
}

/** As {@link run}, but what runs is a script of bash, in which `"$1"` is the executable, and `"$@"` that with `argv`. */
export function shell(script: string, argv: string[] = [], options: Options = {}): Promise<Result> {
  return finish(["bash", "-c", script, "bash"], argv, options);
}

async function finish(before: string[], argv: string[], options: Options): Promise<Result> {
  using folder = tempFolder();
  using command = commandOf(argv, options);
  const child = Bun.spawn([...before, ...command.words], {
    stdin: options.stdin === undefined ? "ignore" : Buffer.from(options.stdin),
    stdout: "pipe",
    stderr: "pipe",
    cwd: options.cwd ?? folder.path,
    env: cleanEnv(options.data ?? join(folder.path, "data"), options.env),
  });
  try {
    const [bytes, stderr, exitCode] = await Promise.all([
      child.stdout.bytes(),
      child.stderr.text(),
      child.exited,
    ]);
    return { exitCode, stdout: Buffer.from(bytes).toString(), stderr, bytes };
  } finally {
    child.kill("SIGKILL");
  }
}

/** The executable, running. */
export interface Running extends AsyncDisposable {
  pid: number;
  stdout: Watched;
  stderr: Watched;
  /** Its exit code; its output is complete by then. */
  exited: Promise<number>;
  write(text: string): void;
  /** Ends its standard input. */
  endInput(): void;
  signal(name: NodeJS.Signals): void;
}

/** Starts the executable with its standard input left open. */
export function start(argv: string[], options: Omit<Options, "stdin"> = {}): Running {
  const folder = tempFolder();
  const command = commandOf(argv, options);
  const child = Bun.spawn(command.words, {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    cwd: options.cwd ?? folder.path,
    env: cleanEnv(options.data ?? join(folder.path, "data"), options.env),
  });
  const stdout = new Watched();
  const stderr = new Watched();
  const read = Promise.all([pour(child.stdout, stdout), pour(child.stderr, stderr)]);
  const exited = read
    .then(() => child.exited)
    .finally(() => {
      command[Symbol.dispose]();
      folder[Symbol.dispose]();
    });
  return {
    pid: child.pid,
    stdout,
    stderr,
    exited,
    write(text) {
      // One that has ended reads no more: that shows in how it ended.
      try {
        void Promise.allSettled([child.stdin.write(text), child.stdin.flush()]);
      } catch (error) {
        if (systemCode(error) !== "EPIPE") throw error;
      }
    },
    endInput: () => void child.stdin.end(),
    signal: (name) => child.kill(name),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

async function pour(stream: ReadableStream<Uint8Array>, into: Watched): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) into.append(decoder.decode(chunk, { stream: true }));
  into.end();
}

export interface Serving extends Running {
  port: number;
  /** `127.0.0.1:PORT`, as `connect` takes it. */
  address: string;
  /** The ready line. */
  ready: Record<string, unknown>;
  /** Stops it as an operator would; fails when it does not end well. */
  stop(): Promise<void>;
}

/** Starts `parley serve` on a free port and waits until it is ready. */
export async function serve(argv: string[], options: Omit<Options, "stdin"> = {}): Promise<Serving> {
  const port = argv.includes("--port") ? [] : ["--port", "0"];
  const running = start(["serve", ...port, "--json", ...CHEAP, ...argv], options);
  try {
    await running.stdout.see("\n");
  } catch (error) {
    const said = running.stderr.text;
    await running[Symbol.asyncDispose]();
    throw new Error(`serve is not ready: ${said}`, { cause: error });
  }
  const ready = JSON.parse(running.stdout.text) as Record<string, unknown>;
  return {
    ...running,
    ready,
    port: Number(ready["port"]),
    address: `127.0.0.1:${Number(ready["port"])}`,
    async stop() {
      running.signal("SIGTERM");
      const code = await running.exited;
      if (code !== 0) throw new Error(`serve ended with ${code}: ${running.stderr.text}`);
    },
  };
}

const hashes = new Map<string, Promise<string>>();

/** Makes a user in the data folder, with a hash that costs little. */
export async function addUser(data: string, name = "ann", password = PASSWORD): Promise<void> {
  const made =
    hashes.get(password) ??
    Bun.password.hash(password, { algorithm: "argon2id", memoryCost: 8192, timeCost: 1 });
  hashes.set(password, made);
  const stdin = `${JSON.stringify({ name, password: await made })}\n`;
  const { exitCode, stderr } = await run(["users", "import", "-"], { data, stdin });
  if (exitCode !== 0) throw new Error(stderr);
}

const CANDIDATES = { from: 20_000, count: 6000 };

/**
 * A free port of 127.0.0.1 that stays free: the kernel gives none below 32768 to those who do not ask for it, and other test
 * processes see that it is reserved by the port that this one holds in its stead, until its end.
 */
export function portForLater(): number {
  for (;;) {
    const port = CANDIDATES.from + Math.floor(Math.random() * CANDIDATES.count);
    if (hold(port + CANDIDATES.count) === undefined) continue;
    const free = hold(port);
    if (free === undefined) continue;
    free.stop(true);
    return port;
  }
}

/** Listens at a port of 127.0.0.1; undefined when somebody does already. */
function hold(port: number): Bun.TCPSocketListener<undefined> | undefined {
  try {
    const listener = Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } });
    listener.unref();
    return listener;
  } catch (error) {
    if (systemCode(error) !== "EADDRINUSE") throw error;
    return undefined;
  }
}

/** A port of 127.0.0.1 where nobody listens, and nobody can until it is disposed of. */
export async function deadPort(): Promise<Disposable & { port: number }> {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const socket = await Bun.connect({ hostname: "127.0.0.1", port: listener.port, socket: { data() {} } });
  return {
    port: socket.localPort,
    [Symbol.dispose]() {
      socket.terminate();
      listener.stop(true);
    },
  };
}
