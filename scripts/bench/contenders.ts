// The servers under comparison, each a process of its own on one core; the load generator has another.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Job } from "./load.ts";
import { Peer, type Credential } from "./peer.ts";
import { allowedCores } from "./usage.ts";

export const CONTENDERS = ["bare", "none", "password", "durable", "handler"] as const;
export type Contender = (typeof CONTENDERS)[number];

/** What each is, in a table. */
export const TITLES: Record<Contender, string> = {
  bare: "bare Bun.listen",
  none: "auth none",
  password: "auth password",
  durable: "acknowledged",
  handler: "a handler file",
};

export interface RunningServer extends AsyncDisposable {
  port: number;
  pid: number;
  credential: Credential;
}

/** A load that has not ended by then never will. */
const LOAD_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 5_000;
const PASSWORD = "correct horse battery";
const MAX_CONNECTIONS = "4096";
/** One user at one address has all the connections there are. */
const ROOM = ["max-connections", "max-per-user", "max-pending", "max-pending-per-address"].flatMap(
  (limit) => [`--${limit}`, MAX_CONNECTIONS],
);

const FLAGS: Record<Exclude<Contender, "bare">, string[]> = {
  none: ["--auth", "none"],
  password: ["--auth", "password"],
  durable: ["--auth", "none"],
  handler: ["--auth", "none", "--handler", join(import.meta.dir, "echo-handler.ts")],
};

const [serverCore, loadCore] = allowedCores();
/** Does each side have a core of its own? */
export const pinned = loadCore !== undefined && Bun.which("taskset") !== null;

/** Starts a server of its own data folder and, where it wants one, gets a token by its first login. */
export async function startServer(contender: Contender, parley: string): Promise<RunningServer> {
  const folder = mkdtempSync(join(tmpdir(), "parley-bench-"));
  const data = ["--data", folder];
  if (contender === "password") addUser([parley, "users", "add", "bench", "--password-stdin", ...data]);
  const argv =
    contender === "bare"
      ? [process.execPath, join(import.meta.dir, "bare.ts")]
      : [parley, "serve", ...FLAGS[contender], "--port", "0", ...ROOM, ...data];
  const server = Bun.spawn(onCore(serverCore, argv), { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const stop = async () => {
    server.kill();
    const timer = setTimeout(() => server.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await server.exited;
    clearTimeout(timer);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const port = await readPort(server.stdout);
    const credential = await credentialFor(contender, port);
    return { port, pid: server.pid, credential, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Does `job` in a load generator of its own and returns its result. */
export async function runLoad<Result>(job: Job): Promise<Result> {
  const load = Bun.spawn(onCore(loadCore, [process.execPath, join(import.meta.dir, "load.ts")]), {
    stdin: Buffer.from(JSON.stringify(job)),
    stdout: "pipe",
    stderr: "inherit",
    timeout: LOAD_TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  const text = await load.stdout.text();
  if ((await load.exited) !== 0) throw new Error(`the load generator ended with ${load.exitCode}`);
  return JSON.parse(text) as Result;
}

function onCore(core: number | undefined, argv: string[]): string[] {
  return pinned ? ["taskset", "-c", String(core), ...argv] : argv;
}

function addUser(argv: string[]): void {
  const run = Bun.spawnSync(argv, {
    stdin: Buffer.from(`${PASSWORD}\n`),
    stdout: "ignore",
    stderr: "inherit",
  });
  if (run.exitCode !== 0) throw new Error(`${argv.join(" ")} ended with ${run.exitCode}`);
}

/** The port of the ready line. */
async function readPort(stdout: ReadableStream<Uint8Array>): Promise<number> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stdout) {
    text += decoder.decode(chunk, { stream: true });
    const port = /:(\d+)\n/.exec(text)?.[1];
    if (port !== undefined) return Number(port);
  }
  throw new Error("the server ended before it listened");
}

async function credentialFor(contender: Contender, port: number): Promise<Credential> {
  if (contender === "bare") return { method: "bare" };
  if (contender !== "password") return { method: "none", control: contender === "durable" };
  const peer = await Peer.connect(port);
  const token = await peer.logIn({ method: "password", user: "bench", password: PASSWORD });
  peer.onGone = () => {};
  peer.socket.end();
  if (token === undefined) throw new Error("the login by password gave no token");
  return { method: "token", token };
}
