// Starting a contender and the load generator, each a process of its own on a core of its own.

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadOrCreateIdentity } from "../../src/net/tls-identity.ts";
import type { Contender } from "./contenders.ts";
import type { AnyJob, HoldJob, Results } from "./load/jobs.ts";
import { frame, Peer, type Credential } from "./peer.ts";
import { allowedCores } from "./usage.ts";

export interface RunningServer extends AsyncDisposable {
  /** From its start until its first connection was answered. */
  startedMs: number;
  port: number;
  pid: number;
  tls: boolean;
  credential: Credential;
}

/** A load that has not ended by then never will. */
const LOAD_TIMEOUT_MS = 300_000;
const STOP_TIMEOUT_MS = 5_000;
const USER = "bench";
const PASSWORD = "correct horse battery";
/** The crowd, and room for the rest. */
const WANTED_DESCRIPTORS = 25_000;
/** Of them, not for connections: more than parley keeps back itself. */
const RESERVED_DESCRIPTORS = 500;

function mayHave(descriptors: number): boolean {
  const { exitCode } = Bun.spawnSync(["sh", "-c", `ulimit -n ${descriptors}`], { stderr: "ignore" });
  return exitCode === 0;
}

function hardLimit(): number {
  return Number(
    /^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? 1024,
  );
}

const descriptors = mayHave(WANTED_DESCRIPTORS) ? WANTED_DESCRIPTORS : hardLimit();
/** What a process of this run can have at once. */
export const MAX_CONNECTIONS = descriptors - RESERVED_DESCRIPTORS;
/** One user at one address has all the connections there are. */
const ROOM = ["max-connections", "max-per-user", "max-pending", "max-pending-per-address"].flatMap(
  (limit) => [`--${limit}`, String(MAX_CONNECTIONS)],
);

const [serverCore, loadCore] = allowedCores();
/** Does each side have a core of its own? */
export const pinned = loadCore !== undefined && Bun.which("taskset") !== null;

/** Where a run keeps what it makes: data folders, compiled servers, a certificate. */
export class Workshop implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "parley-bench-"));
  readonly parley: string;
  #servers = 0;

  constructor(parley: string) {
    this.parley = parley;
  }

  /** Starts a server with a data folder of its own and, where it wants one, gets a token by its first login. */
  async start(contender: Contender, users = 1): Promise<RunningServer> {
    const data = join(this.folder, `data-${this.#servers++}`);
    if (contender.speaks === "token") this.#addUsers(data, users);
    const identity = contender.tls ? await this.#identity() : [];
    const argv = contender.isParley
      ? [
          this.parley,
          "serve",
          ...contender.argv,
          ...ROOM,
          "--port",
          "0",
          "--data",
          data,
          ...parleyTls(identity),
        ]
      : [...contender.argv, ...(contender.tls ? ["--tls", ...identity] : [])];
    const began = performance.now();
    const server = Bun.spawn(prepared(serverCore, argv), {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    const stop = async () => {
      server.kill();
      const timer = setTimeout(() => server.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await server.exited;
      clearTimeout(timer);
      rmSync(data, { recursive: true, force: true });
    };
    try {
      const port = await readPort(server.stdout);
      await answer(contender, port);
      const startedMs = performance.now() - began;
      const credential = await credentialFor(contender, port);
      const { tls } = contender;
      return { startedMs, port, pid: server.pid, tls, credential, [Symbol.asyncDispose]: stop };
    } catch (error) {
      await stop();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Certificate and key, the same for all. */
  async #identity(): Promise<[string, string]> {
    const [certificate, key] = [join(this.folder, "certificate.pem"), join(this.folder, "key.pem")];
    if (!existsSync(certificate)) await loadOrCreateIdentity(key, certificate);
    return [certificate, key];
  }

  /** The user who logs in, and others up to `count`, with the same password. */
  #addUsers(data: string, count: number): void {
    const users = [this.parley, "users"];
    run([...users, "add", USER, "--password-stdin", "--data", data], `${PASSWORD}\n`);
    if (count === 1) return;
    const exported = run([...users, "export", "--data", data], "");
    const others = Array.from({ length: count - 1 }, (_, index) =>
      exported.replace(`"${USER}"`, `"user${index}"`),
    );
    run([...users, "import", "-", "--data", data], others.join(""));
  }
}

function parleyTls(identity: readonly string[]): string[] {
  const [certificate, key] = identity;
  if (certificate === undefined || key === undefined) return [];
  return ["--tls", "--tls-cert", certificate, "--tls-key", key];
}

/** Does `job` in a load generator of its own and returns its result. */
export async function runLoad<J extends AnyJob>(job: J): Promise<Results[J["kind"]]> {
  const load = startLoad(job);
  void load.stdin.end();
  const text = await load.stdout.text();
  if ((await load.exited) !== 0) throw new Error(`the load generator ended with ${load.exitCode}`);
  return JSON.parse(text) as Results[J["kind"]];
}

/** Holds idle connections for as long as `work` takes. */
export async function whileHolding<Result>(job: HoldJob, work: () => Promise<Result>): Promise<Result> {
  const load = startLoad(job);
  const lines = load.stdout.pipeThrough(new TextDecoderStream()).getReader();
  if ((await lines.read()).done === true) throw new Error(`no ${job.count} connections could be held`);
  try {
    return await work();
  } finally {
    void load.stdin.end();
    await load.exited;
  }
}

function startLoad(job: AnyJob) {
  const argv = [process.execPath, join(import.meta.dir, "load", "main.ts")];
  const load = Bun.spawn(prepared(loadCore, argv), {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
    timeout: LOAD_TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  void load.stdin.write(`${JSON.stringify(job)}\n`);
  void load.stdin.flush();
  return load;
}

/** With a core and with descriptors of its own. */
function prepared(core: number | undefined, argv: string[]): string[] {
  const onCore = pinned ? ["taskset", "-c", String(core), ...argv] : argv;
  return ["sh", "-c", `ulimit -n ${descriptors}; exec "$@"`, "sh", ...onCore];
}

function run(argv: string[], input: string): string {
  const child = Bun.spawnSync(argv, { stdin: Buffer.from(input), stdout: "pipe", stderr: "inherit" });
  if (child.exitCode !== 0) throw new Error(`${argv.join(" ")} ended with ${child.exitCode}`);
  return child.stdout.toString();
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

/** Comes back when a first connection has heard from the server: its hello, or an echo. */
async function answer({ isParley, tls }: Contender, port: number): Promise<void> {
  const peer = await Peer.connect(port, tls);
  if (isParley) await peer.greeting();
  else await peer.echo(frame(Buffer.from("hello")));
  await peer.leave();
}

async function credentialFor({ speaks, tls }: Contender, port: number): Promise<Credential> {
  switch (speaks) {
    case "bytes":
      return { method: "bytes" };
    case "none":
      return { method: "none", control: false };
    case "control":
      return { method: "none", control: true };
    case "token": {
      const peer = await Peer.connect(port, tls);
      const token = await peer.logIn({ method: "password", user: USER, password: PASSWORD });
      await peer.leave();
      if (token === undefined) throw new Error("the login by password gave no token");
      return { method: "token", token };
    }
  }
}
