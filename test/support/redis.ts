// A Redis server, or a sentinel, of the test's own: on a free port of the loopback or a unix socket, with its files in a temporary folder.

import { existsSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { tempFolder } from "./folder.ts";

/** How long a server may take to start or to answer. */
const PATIENCE_MS = 30_000;

/** The words before a command that let it end with this process, so that a test that is killed leaves no server. */
const TIED = Bun.which("setpriv") === null ? [] : ["setpriv", "--pdeathsig", "KILL"];

export interface RedisOptions {
  /** Listens on a unix socket instead of a port. */
  unix?: boolean;
  /** TLS with this identity, in PEM. `ca`: the authorities of client certificates. */
  tls?: { key: string; certificate: string; ca: string; requiresClient?: boolean };
  /** The password of the default user. */
  password?: string;
  /** Lines of ACL rules, such as `user parley on >secret ~* +@all`. */
  acl?: readonly string[];
  /** The command words by which the test itself logs in, where `password` or `acl` want it. */
  login?: readonly string[];
  /** Every write is on disk before it is answered. */
  appendonly?: boolean;
  /** Further lines of the configuration. */
  config?: readonly string[];
}

export interface RestartOptions {
  /** Without its data. */
  empty?: boolean;
  /** Further lines of the configuration, from now on. */
  config?: readonly string[];
  /** It is started as soon as it listens, though it is loading its data. */
  loading?: boolean;
}

export type RedisReply = string | number | null | Error | RedisReply[];

export interface TestRedis extends AsyncDisposable {
  /** What `--store` takes. */
  readonly url: string;
  readonly port: number;
  /** Its unix socket, which every server but a sentinel has. */
  readonly socket: string;
  readonly folder: string;
  readonly pid: number;
  /** A command over the test's own connection. Rejects with the error reply. */
  command(...words: (string | Buffer)[]): Promise<RedisReply>;
  /** Cuts all connections but the test's own, and returns how many they were. */
  killClients(): Promise<number>;
  /** Stops the process, so that the kernel still accepts connections and no answer comes. */
  freeze(): void;
  thaw(): void;
  /** Kills it as `kill -9` does, and waits for its end. */
  kill(): Promise<void>;
  /** Starts it again on the same port, after {@link kill}. */
  restart(how?: RestartOptions): Promise<void>;
}

export function startRedis(options: RedisOptions = {}): Promise<TestRedis> {
  const { tls, password, appendonly, acl = [], config = [] } = options;
  const login = options.login ?? (password === undefined ? undefined : ["AUTH", password]);
  return RedisProcess.start(
    {
      login,
      config: (folder, port) => [
        'save ""',
        ...(tls === undefined ? [`port ${port}`] : tlsLines(folder, port, tls)),
        `unixsocket ${folder}/redis.sock`,
        "unixsocketperm 600",
        ...(password === undefined ? [] : [`requirepass ${password}`]),
        ...(appendonly === true ? ["appendonly yes", "appendfsync always"] : []),
        ...acl,
        ...config,
      ],
    },
    options,
  );
}

function tlsLines(folder: string, port: number, tls: NonNullable<RedisOptions["tls"]>): string[] {
  const texts = { key: tls.key, cert: tls.certificate, "ca-cert": tls.ca };
  const files = Object.entries(texts).map(([name, text]) => {
    const path = join(folder, `${name}.pem`);
    writeFileSync(path, text, { mode: 0o600 });
    return `tls-${name}-file ${path}`;
  });
  const clients = tls.requiresClient === true ? "yes" : "no";
  return ["port 0", `tls-port ${port}`, ...files, `tls-auth-clients ${clients}`];
}

export interface SentinelOptions {
  /** The name of the master, by default `parley`. */
  master?: string;
  /** The port of the server that it watches, on the loopback. */
  port: number;
  config?: readonly string[];
  /** The command words by which the test itself logs in, where `config` has a password. */
  login?: readonly string[];
}

/** A sentinel that decides alone. */
export function startSentinel({
  master = "parley",
  port: watched,
  config = [],
  login,
}: SentinelOptions): Promise<TestRedis> {
  return RedisProcess.start({
    isSentinel: true,
    login,
    config: (_, port) => [
      `port ${port}`,
      `sentinel monitor ${master} 127.0.0.1 ${watched} 1`,
      `sentinel down-after-milliseconds ${master} 500`,
      `sentinel failover-timeout ${master} 3000`,
      ...config,
    ],
  });
}

interface Recipe {
  isSentinel?: boolean;
  /** The configuration for a port. */
  config(folder: string, port: number): string[];
  /** The command by which the test itself logs in. */
  login?: readonly string[];
}

class RedisProcess implements TestRedis {
  readonly socket: string;
  port = 0;
  readonly #temp = tempFolder();
  readonly #recipe: Recipe;
  readonly #options: RedisOptions;
  #process: Bun.Subprocess | undefined;
  #admin: AdminConnection | undefined;
  /** Lines that were added to the configuration. */
  readonly #added: string[] = [];

  private constructor(recipe: Recipe, options: RedisOptions) {
    this.#recipe = recipe;
    this.#options = options;
    this.socket = join(this.#temp.path, "redis.sock");
  }

  /** A port that is free now may be taken a moment later: then with another one. */
  static async start(recipe: Recipe, options: RedisOptions = {}): Promise<TestRedis> {
    const server = new RedisProcess(recipe, options);
    for (;;) {
      server.port = options.unix === true ? 0 : await freePort();
      if (await server.#begin()) return server;
    }
  }

  get folder(): string {
    return this.#temp.path;
  }

  get url(): string {
    if (this.port === 0) return `redis+unix://${this.socket}`;
    return `${this.#options.tls === undefined ? "redis" : "rediss"}://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    if (this.#process === undefined) throw new Error("it is not running");
    return this.#process.pid;
  }

  async command(...words: (string | Buffer)[]): Promise<RedisReply> {
    this.#admin ??= await this.#connect();
    const reply = await this.#admin.command(words);
    if (reply instanceof Error) throw reply;
    return reply;
  }

  async killClients(): Promise<number> {
    return Number(await this.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"));
  }

  freeze(): void {
    process.kill(this.pid, "SIGSTOP");
  }

  thaw(): void {
    process.kill(this.pid, "SIGCONT");
  }

  async kill(): Promise<void> {
    this.#admin?.close();
    this.#admin = undefined;
    this.#process?.kill("SIGKILL");
    await this.#process?.exited;
    this.#process = undefined;
  }

  async restart({ empty = false, config = [], loading = false }: RestartOptions = {}): Promise<void> {
    if (this.#process !== undefined) throw new Error("it is running");
    if (empty) {
      for (const name of ["dump.rdb", "appendonlydir"])
        rmSync(join(this.folder, name), { recursive: true, force: true });
    }
    this.#added.push(...config);
    while (!(await this.#begin(loading))) await Bun.sleep(20);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    this.#temp[Symbol.dispose]();
  }

  /** False when the port is taken. */
  async #begin(loading = false): Promise<boolean> {
    const config = join(this.folder, "redis.conf");
    // A sentinel writes into its configuration what it has learnt.
    if (!existsSync(config) || this.#recipe.isSentinel !== true) {
      const common = ["bind 127.0.0.1", `dir ${this.folder}`, `logfile ${this.folder}/redis.log`];
      const lines = [...common, ...this.#recipe.config(this.folder, this.port), ...this.#added];
      writeFileSync(config, `${lines.join("\n")}\n`);
    }
    rmSync(join(this.folder, "redis.log"), { force: true });
    const sentinel = this.#recipe.isSentinel === true ? ["--sentinel"] : [];
    const words = [...TIED, "redis-server", config, ...sentinel];
    this.#process = Bun.spawn(words, { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    return await this.#untilReady(this.#process, loading);
  }

  /** Resolves with true when it answers to PING, and with false when its port is taken. */
  async #untilReady(child: Bun.Subprocess, loading: boolean): Promise<boolean> {
    const until = performance.now() + PATIENCE_MS;
    while (performance.now() < until) {
      if (child.exitCode !== null) {
        this.#process = undefined;
        const log = await this.#log();
        if (log.includes("Address already in use")) return false;
        throw new Error(`redis-server has ended: ${log}`);
      }
      if (await this.#isReady(loading)) return true;
      await Bun.sleep(5);
    }
    throw new Error(`redis-server does not answer: ${await this.#log()}`);
  }

  /** It answers to PING. @param loading also when it is loading. */
  async #isReady(loading: boolean): Promise<boolean> {
    try {
      this.#admin = await this.#connect();
      const reply = await this.#admin.command(["PING"]);
      const isLoading = reply instanceof Error && reply.message.startsWith("LOADING");
      if (isLoading === loading) return true;
    } catch {
      // It does not listen yet.
    }
    this.#admin?.close();
    this.#admin = undefined;
    return false;
  }

  async #log(): Promise<string> {
    const log = Bun.file(join(this.folder, "redis.log"));
    return await log.text().then((text) => text.slice(-2000), String);
  }

  async #connect(): Promise<AdminConnection> {
    const at =
      this.#recipe.isSentinel === true ? { host: "127.0.0.1", port: this.port } : { path: this.socket };
    const admin = await AdminConnection.open(at);
    if (this.#recipe.login !== undefined) await admin.command(this.#recipe.login);
    return admin;
  }
}

/** A connection with a RESP2 reader of its own, so that it shares no fault with parley's. */
class AdminConnection {
  readonly #socket: Socket;
  readonly #answers: PromiseWithResolvers<RedisReply>[] = [];
  #received = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", () => undefined);
    socket.on("close", () => {
      for (const { reject } of this.#answers.splice(0)) reject(new Error("the connection is closed"));
    });
  }

  static open(at: { path: string } | { host: string; port: number }): Promise<AdminConnection> {
    return new Promise((resolve, reject) => {
      const socket: Socket = connect(at, () => resolve(new AdminConnection(socket)));
      socket.once("error", reject);
    });
  }

  async command(words: readonly (string | Buffer)[]): Promise<RedisReply> {
    if (this.#socket.destroyed) throw new Error("the connection is closed");
    const answer = Promise.withResolvers<RedisReply>();
    this.#answers.push(answer);
    const parts = words.map((word) => Buffer.from(word));
    this.#socket.write(
      Buffer.concat([
        Buffer.from(`*${parts.length}\r\n`),
        ...parts.flatMap((part) => [Buffer.from(`$${part.length}\r\n`), part, Buffer.from("\r\n")]),
      ]),
    );
    return await answer.promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    for (;;) {
      const parsed = parseReply(this.#received, 0);
      if (parsed === undefined) return;
      this.#received = this.#received.subarray(parsed.end);
      this.#answers.shift()?.resolve(parsed.reply);
    }
  }
}

/** The reply at `from`, and where it ends; undefined when it is not whole. */
function parseReply(bytes: Buffer, from: number): { reply: RedisReply; end: number } | undefined {
  const lineEnd = bytes.indexOf("\r\n", from);
  if (lineEnd === -1) return undefined;
  const line = bytes.toString("utf8", from + 1, lineEnd);
  const next = lineEnd + 2;
  switch (String.fromCharCode(bytes[from] ?? 0)) {
    case "+":
      return { reply: line, end: next };
    case "-":
      return { reply: new Error(line), end: next };
    case ":":
      return { reply: Number(line), end: next };
    case "$": {
      const length = Number(line);
      if (length === -1) return { reply: null, end: next };
      if (bytes.length < next + length + 2) return undefined;
      return { reply: bytes.toString("utf8", next, next + length), end: next + length + 2 };
    }
    case "*":
      return parseArray(bytes, next, Number(line));
    default:
      throw new Error(`not a reply: ${bytes.toString("latin1", from, lineEnd)}`);
  }
}

function parseArray(
  bytes: Buffer,
  from: number,
  count: number,
): { reply: RedisReply; end: number } | undefined {
  if (count === -1) return { reply: null, end: from };
  const replies: RedisReply[] = [];
  let end = from;
  while (replies.length < count) {
    const parsed = parseReply(bytes, end);
    if (parsed === undefined) return undefined;
    replies.push(parsed.reply);
    ({ end } = parsed);
  }
  return { reply: replies, end };
}

/** A port that was free a moment ago: a server that is started again needs the same one. */
async function freePort(): Promise<number> {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = listener;
  listener.stop(true);
  return port;
}
