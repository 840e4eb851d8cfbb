// Starting a contender and the load generator, each a process of its own on a core of its own.

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadOrCreateIdentity } from "../../src/net/tls-identity.ts";
import { undoAtExit } from "../cleanup.ts";
import { load, type Load } from "./compilers.ts";
import type { Contender } from "./contenders.ts";
import { argumentsFor, type Asks, type Gives, type Kind, type Target } from "./load/run.ts";
import { Peer, type Login } from "./peer.ts";
import { allowedCores } from "./usage.ts";

export interface RunningServer extends AsyncDisposable, Target {
  /** From its start until its first connection was answered. */
  startedMs: number;
  data: string;
}

export interface StartOptions {
  /** In its file of accounts. */
  users?: number;
  /** What it runs under: a program that becomes it, or takes its place. It is killed at the end. */
  under?: readonly string[];
  /** The folder of a server that has run before, with the login that it gave. */
  again?: { data: string; login: Login };
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
/** One user at one address has all the connections there are: what differs from a server by default. */
export const ROOM = ["max-connections", "max-per-user", "max-pending", "max-pending-per-address"].flatMap(
  (limit) => [`--${limit}`, String(MAX_CONNECTIONS)],
);

const [serverCore, loadCore] = allowedCores();
/** Does each side have a core of its own? */
export const pinned = loadCore !== undefined && Bun.which("taskset") !== null;

/** Where a run keeps what it makes: data folders, compiled servers, a certificate. */
export class Workshop implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "parley-bench-"));
  readonly parley: string;
  readonly loadGenerator: Load;
  readonly #remove = undoAtExit(() => rmSync(this.folder, { recursive: true, force: true }));
  #servers = 0;

  /** @throws {Error} when the load generator cannot be built. */
  constructor(parley: string) {
    this.parley = parley;
    this.loadGenerator = load(this.folder);
  }

  /** Starts a server with a data folder of its own and, where it wants one, gets a token by its first login. */
  async start(contender: Contender, options: StartOptions = {}): Promise<RunningServer> {
    const { users = 1, under = [], again } = options;
    const data = again?.data ?? join(this.folder, `data-${this.#servers++}`);
    const parley = contender.executable ?? this.parley;
    if (contender.speaks === "token" && again === undefined) addUsers(parley, data, users);
    const identity = contender.tls ? await this.#identity() : [];
    const argv = contender.isParley
      ? [parley, "serve", ...contender.argv, ...ROOM, "--port", "0", "--data", data, ...parleyTls(identity)]
      : [...contender.argv, ...(contender.tls ? ["--tls", ...identity] : [])];
    const began = performance.now();
    const server = Bun.spawn(prepared(serverCore, [...under, ...argv]), {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    const kill = undoAtExit(() => server.kill("SIGKILL"));
    const stop = async () => {
      server.kill(under.length > 0 ? "SIGKILL" : "SIGTERM");
      const timer = setTimeout(() => server.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await server.exited;
      clearTimeout(timer);
      kill(); // of a process that has ended, nothing
      if (again === undefined) rmSync(data, { recursive: true, force: true });
    };
    try {
      const port = await readPort(server.stdout);
      await answer(contender, port);
      const startedMs = performance.now() - began;
      const login = again?.login ?? (await loginFor(contender, port));
      const { tls } = contender;
      return { startedMs, port, pid: server.pid, tls, login, data, [Symbol.asyncDispose]: stop };
    } catch (error) {
      await stop();
      throw error;
    }
  }

  /** Does a job in a load generator of its own and returns its result. */
  async load<K extends Kind>(kind: K, target: Target, asks: Asks<K>): Promise<Gives<K>> {
    const generator = this.#startLoad(kind, target, asks);
    void generator.stdin.end();
    const text = await generator.stdout.text();
    if ((await generator.exited) !== 0)
      throw new Error(`the load generator ended with ${generator.exitCode}`);
    return JSON.parse(text) as Gives<K>;
  }

  /** Holds idle connections for as long as `work` takes. */
  async whileHolding<T>(target: Target, connections: number, work: () => Promise<T>): Promise<T> {
    const generator = this.#startLoad("hold", target, { connections });
    const lines = generator.stdout.pipeThrough(new TextDecoderStream()).getReader();
    if ((await lines.read()).done === true) throw new Error(`no ${connections} connections could be held`);
    try {
      return await work();
    } finally {
      void generator.stdin.end();
      await generator.exited;
    }
  }

  #startLoad<K extends Kind>(kind: K, target: Target, asks: Asks<K>) {
    const argv = [...this.loadGenerator.argv, ...argumentsFor(kind, target, asks)];
    return Bun.spawn(prepared(loadCore, argv), {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
      timeout: LOAD_TIMEOUT_MS,
      killSignal: "SIGKILL",
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#remove();
  }

  /** Certificate and key, the same for all. */
  async #identity(): Promise<[string, string]> {
    const [certificate, key] = [join(this.folder, "certificate.pem"), join(this.folder, "key.pem")];
    if (!existsSync(certificate)) await loadOrCreateIdentity(key, certificate);
    return [certificate, key];
  }
}

/** The user who logs in, and others up to `count`, with the same password. */
function addUsers(parley: string, data: string, count: number): void {
  const users = [parley, "users"];
  run([...users, "add", USER, "--password-stdin", "--data", data], `${PASSWORD}\n`);
  if (count === 1) return;
  const exported = run([...users, "export", "--data", data], "");
  const others = Array.from({ length: count - 1 }, (_, index) =>
    exported.replace(`"${USER}"`, `"user${index}"`),
  );
  run([...users, "import", "-", "--data", data], others.join(""));
}

function parleyTls(identity: readonly string[]): string[] {
  const [certificate, key] = identity;
  if (certificate === undefined || key === undefined) return [];
  return ["--tls", "--tls-cert", certificate, "--tls-key", key];
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
  if (isParley) await peer.message("hello");
  else await peer.echo(Buffer.from("hello"));
  await peer.leave();
}

async function loginFor({ speaks, acknowledge = false, tls }: Contender, port: number): Promise<Login> {
  if (speaks === "bytes") return { method: "bytes" };
  if (speaks === "none") return { method: "none", acknowledge };
  const peer = await Peer.connect(port, tls);
  const token = await peer.logIn(USER, PASSWORD);
  await peer.leave();
  return { method: "token", token, acknowledge };
}
