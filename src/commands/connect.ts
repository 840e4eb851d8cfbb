// parley connect: flags → a client, its credential, and a conversation by hand or through pipes.

import { defineCommand } from "citty";
import { parseToken } from "../auth/token.ts";
import { Client, type ClientOptions, type Credential, type Outcome } from "../client.ts";
import { ClientState, type StoredToken } from "../client-state.ts";
import { DataFolder } from "../data-folder.ts";
import { ParleyError, usageError } from "../errors.ts";
import { ServerError } from "../handshake.ts";
import { DEFAULT_PORT } from "../limits.ts";
import { formatAddress } from "../net/connection.ts";
import { talkInteractively } from "../talk/interactive.ts";
import { Output } from "../talk/output.ts";
import { talkPiped, type PipedOptions } from "../talk/piped.ts";
import { Report } from "../talk/report.ts";
import { Trace } from "../talk/trace.ts";
import type { SecretFlags, Terminal } from "../terminal.ts";
import type { Hello, Refused } from "../wire/message.ts";
import {
  Flags,
  hostFlaw,
  isLoopback,
  parseHost,
  parsePort,
  portFlaw,
  secretFlags,
  terminalOf,
} from "./flags.ts";
import { commonFlags, type Arguments, type FlagsDef } from "./parse.ts";

const connectFlags = {
  target: { type: "positional", required: false, valueHint: "[USER@]HOST[:PORT]", description: "where to" },
  user: { type: "string", valueHint: "NAME", description: "who you are" },
  "password-file": { type: "string", valueHint: "FILE", description: "read the password from a file" },
  "password-stdin": { type: "boolean", description: "read the password from standard input" },
  register: { type: "boolean", description: "create the account" },
  send: {
    type: "string",
    multiple: true,
    valueHint: "TEXT",
    description: "send this instead of standard input; repeatable",
  },
  count: { type: "string", valueHint: "N", description: "leave after N answers" },
  timeout: { type: "string", valueHint: "TIME", description: "give up when nothing is received for so long" },
  wait: { type: "string", valueHint: "TIME", description: "wait for a server that is not up yet" },
  raw: { type: "boolean", description: "bytes both ways, unchanged" },
  null: { type: "boolean", alias: "0", description: "messages end with NUL instead of newline, both ways" },
  json: { type: "boolean", description: "one JSON object an event" },
  trace: { type: "boolean", description: "show every frame on standard error" },
  "no-token": { type: "boolean", description: "neither use nor keep a session token" },
  logout: { type: "boolean", description: "end the stored session token" },
  sessions: { type: "boolean", description: "list the stored session tokens" },
  bare: { type: "boolean", description: "frames only: no login, no session" },
  "no-tls": { type: "boolean", description: "connect in plain text, also to another machine" },
  ...commonFlags,
} satisfies FlagsDef;

type ConnectFlags = Flags<keyof typeof connectFlags>;

export default defineCommand({
  meta: { name: "connect", description: "log in to a server and hold a conversation" },
  args: connectFlags,
  run: ({ args }) => connect(new Flags(args as Arguments)),
});

interface Target {
  host: string;
  port: number;
  user: string | undefined;
  /** `host:port`, as tokens are kept by. */
  server: string;
}

async function connect(flags: ConnectFlags): Promise<void> {
  const terminal = terminalOf(flags);
  const options = readPipedOptions(flags);
  const state = new ClientState(new DataFolder(flags.text("data")));
  if (flags.has("sessions")) return listTokens(state, flags.has("json"));
  const target = await findTarget(flags, state, terminal);
  const bare = flags.has("bare");
  if (!isLoopback(target.host) && !flags.has("no-tls")) {
    throw usageError(
      `this version does not encrypt: what you say to ${target.host} could be read on the way`,
      "say --no-tls if the network is your own",
    );
  }
  const output = new Output();
  const byHand = process.stdin.isTTY && process.stderr.isTTY && flags.texts("send").length === 0;
  const report = new Report(output, {
    json: flags.has("json"),
    delimiter: options.framing === "raw" ? "" : options.framing === "nul" ? "\0" : "\n",
    toTerminal: process.stdout.isTTY && options.framing !== "raw",
  });
  const trace = new Trace(bare, (line) => terminal.note(line));
  const login = new LoginDialogue(flags, target, state, terminal);
  if (flags.has("logout") && login.storedToken === undefined) {
    throw new ParleyError("failed", `no session token is stored for ${target.server}`, {
      hint: "see those that are: parley connect --sessions",
    });
  }
  const client = await Client.connect({
    host: target.host,
    port: target.port,
    bare,
    waitMs: flags.duration("wait"),
    wantsToken: !flags.has("no-token"),
    tap: flags.has("trace") ? (direction, bytes) => trace.see(direction, bytes) : undefined,
    credential: (hello, refused) => login.credential(hello, refused),
    onWait: () => terminal.isWatched && terminal.note(`waiting for ${target.server}`),
    onConnected(hello) {
      trace.restart(bare);
      void report.event("connected", { server: target.server, service: hello?.service, auth: hello?.auth });
    },
  } satisfies ClientOptions);
  await login.keep(client);
  void report.event("logged-in", { user: client.welcome?.user ?? null });
  if (flags.has("logout")) return concludeLogout(await client.converse(() => undefined), terminal);
  if (byHand) greet(client, target, terminal);
  const outcome = await Promise.race([
    byHand
      ? talkInteractively(client, {
          historyFile: new DataFolder(flags.text("data")).history,
          prompt: `${client.welcome?.user ?? ""}> `,
          report,
          notice: (line) => terminal.note(line),
        })
      : talkPiped(client, report, options),
    output.closed.then((error) => Promise.reject(error)),
  ]);
  void report.event(outcome.kind === "lost" ? "lost" : "bye", { ...outcome, kind: undefined });
  await output.flush();
  conclude(outcome, client, options.count);
}

function readPipedOptions(flags: ConnectFlags): PipedOptions {
  const framing = flags.has("raw") ? "raw" : flags.has("null") ? "nul" : "lines";
  if (flags.has("raw") && flags.has("null")) throw usageError("--raw and -0 exclude each other");
  if (flags.has("raw") && flags.has("json")) throw usageError("--raw and --json exclude each other");
  const messages = flags.texts("send");
  if (flags.has("password-stdin") && messages.length === 0 && !flags.has("logout")) {
    throw usageError("--password-stdin leaves nothing to read messages from", "say them with --send TEXT");
  }
  return { messages, count: flags.count("count", 1, 2 ** 31), timeoutMs: flags.duration("timeout"), framing };
}

// --- where to ---

async function findTarget(flags: ConnectFlags, state: ClientState, terminal: Terminal): Promise<Target> {
  const given = flags.text("target");
  const last = state.last();
  if (given === undefined) {
    if (!terminal.canAsk)
      throw usageError(
        "parley connect needs [USER@]HOST[:PORT]",
        "for example: parley connect 127.0.0.1:13131",
      );
    const host =
      parseHost(await terminal.ask("host:", { default: last.host ?? "127.0.0.1", check: hostFlaw })) ?? "";
    return targetOf(host, await askPort(terminal, last.port), flags.text("user"));
  }
  const [, user, hostText, portText] =
    /^(?:([^@]*)@)?(\[[^\]]*\]|[^:]*|[^[]*:[^[]*:[^[]*)(?::(\d*))?$/.exec(given) ?? [];
  const host = parseHost(hostText ?? "");
  if (host === undefined) throw usageError(`${JSON.stringify(given)} is no [USER@]HOST[:PORT]`);
  if (user !== undefined && flags.text("user") !== undefined) throw usageError("the user is given twice");
  const who = user ?? flags.text("user");
  if (portText === undefined) {
    return targetOf(host, terminal.canAsk ? await askPort(terminal, last.port) : DEFAULT_PORT, who);
  }
  const port = parsePort(portText);
  if (port === undefined)
    throw usageError(`${JSON.stringify(portText)} is no port`, "a number from 1 to 65535");
  return targetOf(host, port, who);
}

function targetOf(host: string, port: number, user: string | undefined): Target {
  return { host, port, user, server: formatAddress(host, port) };
}

async function askPort(terminal: Terminal, last: number | undefined): Promise<number> {
  const answer = await terminal.ask("port:", { default: String(last ?? DEFAULT_PORT), check: portFlaw });
  return parsePort(answer) ?? DEFAULT_PORT;
}

// --- who ---

/** Finds something to log in with, asks where it may, and remembers what worked. */
class LoginDialogue {
  readonly #flags: ConnectFlags;
  readonly #target: Target;
  readonly #state: ClientState;
  readonly #terminal: Terminal;
  readonly #secrets: SecretFlags;
  readonly storedToken: StoredToken | undefined;
  #tokenTried = false;
  #user: string | undefined;

  constructor(flags: ConnectFlags, target: Target, state: ClientState, terminal: Terminal) {
    this.#flags = flags;
    this.#target = target;
    this.#state = state;
    this.#terminal = terminal;
    this.#user = target.user;
    this.#secrets = secretFlags(flags);
    const unwanted = flags.has("no-token") || flags.has("register") || flags.has("bare");
    this.storedToken = unwanted ? undefined : state.findToken(target.server, target.user);
  }

  async credential(hello: Hello, refused: Refused | undefined): Promise<Credential> {
    if (refused !== undefined) await this.#wasRefused(refused);
    if (hello.auth.includes("none")) return { method: "none" };
    if (hello.auth.includes("ip")) return { method: "ip" };
    if (hello.auth.includes("name"))
      return { method: "name", user: await this.#askUser("your name:", refused) };
    if (!hello.auth.includes("password")) {
      throw new ParleyError(
        "failed",
        `this server wants a login that this version does not know: ${hello.auth.join(", ")}`,
      );
    }
    const token = this.storedToken && parseToken(this.storedToken.token);
    if (token !== undefined && !this.#tokenTried) {
      this.#tokenTried = true;
      return { method: "token", token, logout: this.#flags.has("logout") ? true : undefined };
    }
    return this.#askPassword(hello, refused);
  }

  async #wasRefused(refused: Refused): Promise<void> {
    if (refused.code === "token_refused" && this.storedToken !== undefined) {
      await this.#state.forgetToken(this.storedToken);
      if (this.#flags.has("logout")) {
        throw new ParleyError("failed", "the token was not valid any more: it is forgotten");
      }
      return this.#terminal.isWatched
        ? this.#terminal.note("the stored session has ended: log in again")
        : undefined;
    }
    // A password from a file does not get better by trying again.
    if (!this.#terminal.canAsk || this.#isUnattended()) {
      throw new ServerError("login_refused", refused.code, refused.message);
    }
    const tries = refused.attempts_left === 1 ? "one try left" : `${refused.attempts_left} tries left`;
    this.#terminal.say(`${refused.message}, ${tries}`);
  }

  #isUnattended(): boolean {
    return (
      this.#secrets.file !== undefined || this.#secrets.stdin || process.env["PARLEY_PASSWORD"] !== undefined
    );
  }

  async #askPassword(hello: Hello, refused: Refused | undefined): Promise<Credential> {
    const method = this.#flags.has("register") ? "register" : "password";
    if (method === "register" && !hello.auth.includes("register")) {
      throw new ParleyError("login_refused", "this server creates no accounts for clients", {
        hint: "its operator does: parley users add NAME",
      });
    }
    const user = await this.#askUser(
      "user:",
      refused?.code === "bad_name" || refused?.code === "name_taken" ? refused : undefined,
    );
    const given = await this.#terminal.secret(this.#secrets);
    if (given !== undefined) return { method, user, password: given };
    if (!this.#terminal.canAsk) {
      throw usageError(
        "a password is needed",
        "give it with --password-file FILE, --password-stdin or $PARLEY_PASSWORD",
      );
    }
    const password =
      method === "register"
        ? await this.#terminal.askNewSecret("new password:", () => undefined)
        : await this.#terminal.askSecret(`password for ${user}:`);
    return { method, user, password };
  }

  async #askUser(question: string, refused: Refused | undefined): Promise<string> {
    if (this.#user !== undefined && refused === undefined) return this.#user;
    if (!this.#terminal.canAsk)
      throw usageError("a user is needed", "give it with --user NAME or as USER@HOST");
    this.#user = await this.#terminal.ask(question, { default: this.#state.last().user });
    return this.#user;
  }

  /** Remembers host, port, user and token for the next time. */
  async keep(client: Client): Promise<void> {
    const { host, port, server } = this.#target;
    const user = client.welcome?.user ?? undefined;
    await this.#state.remember({ host, port, user: user ?? this.#state.last().user });
    if (this.#flags.has("logout") && this.storedToken !== undefined)
      await this.#state.forgetToken(this.storedToken);
    const { token, expires } = client.welcome ?? {};
    if (this.#flags.has("no-token") || token === undefined || expires === undefined || user === undefined)
      return;
    await this.#state.saveToken({ server, user, token, expires });
  }
}

function listTokens(state: ClientState, json: boolean): void {
  for (const { server, user, token, expires } of state.tokens()) {
    const id = parseToken(token)?.id ?? "?";
    const line = json
      ? JSON.stringify({ server, user, id, expires })
      : `${id}  ${user}@${server}  until ${expires}`;
    process.stdout.write(`${line}\n`);
  }
}

function greet(client: Client, target: Target, terminal: Terminal): void {
  const { welcome, hello } = client;
  if (welcome === undefined)
    return terminal.note(`connected to ${target.server}, bare frames; Ctrl-D leaves`);
  const who =
    welcome.user === null
      ? ""
      : welcome.known
        ? `, welcome back, ${welcome.user}`
        : `, welcome, ${welcome.user}`;
  terminal.note(`${hello?.service ?? "a service"} at ${target.server}${who}; /help helps, Ctrl-D leaves`);
}

// --- how it ended ---

/** @throws {ParleyError} whose code says what is missing, unless nothing is. */
function conclude(outcome: Outcome, client: Client, count: number | undefined): void {
  const { sent, received } = client;
  const tally = `${plural(sent, "message")} sent, ${plural(received, "answer")} received`;
  if (outcome.kind === "left") return;
  if (outcome.kind === "lost") {
    const code = sent > 0 ? "unconfirmed" : "failed";
    throw new ParleyError(
      code,
      `${outcome.reason} before the conversation was over: ${tally}, none of them confirmed`,
    );
  }
  if (outcome.kind === "bye" && outcome.code !== "done") {
    const failed = outcome.code === "service_failed" || outcome.code === "bad_length";
    throw new ParleyError(
      failed ? "failed" : "turned_away",
      `the server ended the conversation: ${outcome.message} (${tally})`,
    );
  }
  if (count !== undefined && received < count) {
    throw new ParleyError("failed", `only ${plural(received, "answer")} came, ${count} were wanted`);
  }
}

function concludeLogout(outcome: Outcome, terminal: Terminal): void {
  if (outcome.kind === "bye" && outcome.code === "revoked") return terminal.say("logged out");
  throw new ParleyError("failed", "the server did not confirm the logout", {
    hint: "the token is forgotten here; its operator can end it with: parley users revoke ID",
  });
}

function plural(count: number, noun: string): string {
  return count === 1 ? `1 ${noun}` : `${count} ${noun}s`;
}
