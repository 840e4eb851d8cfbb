// parley serve: flags → a server, its log, its ready line, its signals.

import { writeFileSync } from "node:fs";
import { defineCommand } from "citty";
import { AUTH_MODES, type AuthMode } from "../auth/authenticate.ts";
import { addUser } from "../auth/accounts.ts";
import { NAME_RULE, normalizeName } from "../auth/name.ts";
import { PasswordHasher, passwordFlaw, type HashCost } from "../auth/password.ts";
import { Store } from "../auth/store.ts";
import { DataFolder } from "../data-folder.ts";
import { messageOf, ParleyError, systemCode, usageError } from "../errors.ts";
import {
  DEFAULT_PORT,
  DRAIN_TIMEOUT_MS,
  HASH_MEMORY_KIB,
  HASH_TIME,
  MAX_ATTEMPTS,
  MAX_CONNECTIONS,
  MAX_FRAME_BYTES,
  MAX_FRAME_CEILING_BYTES,
  MAX_HASH_MEMORY_KIB,
  MAX_HASH_TIME,
  MIN_PASSWORD_LENGTH,
  sayDuration,
} from "../limits.ts";
import { LOG_FORMATS, LOG_LEVELS, openLog, type LogFile } from "../log.ts";
import { formatAddress } from "../net/connection.ts";
import { Server, type ServerOptions } from "../server.ts";
import { findService, listServices } from "../services/catalogue.ts";
import type { Terminal } from "../terminal.ts";
import { Flags, isLoopback, parseHost, parsePort, portFlaw, terminalOf } from "./flags.ts";
import { commonFlags, type Arguments, type FlagsDef } from "./parse.ts";

const serveFlags = {
  host: { type: "string", valueHint: "HOST", description: "address to listen on (127.0.0.1)" },
  port: {
    type: "string",
    valueHint: "PORT",
    description: `port, 0 for any (${DEFAULT_PORT}); a busy one: the next free`,
  },
  "strict-port": { type: "boolean", description: "a busy port is an error" },
  auth: {
    type: "enum",
    options: [...AUTH_MODES],
    description: "who may talk: accounts, known addresses, anybody (password)",
  },
  register: { type: "boolean", description: "clients may create their own account" },
  service: { type: "string", valueHint: "NAME", description: "what answers (echo)" },
  "list-services": { type: "boolean", description: "say which services there are" },
  bare: { type: "boolean", description: "frames only: no login, no session" },
  open: { type: "boolean", description: "allow --bare beyond this machine" },
  "no-tls": { type: "boolean", description: "listen in plain text, also beyond this machine" },
  log: {
    type: "string",
    valueHint: "FILE",
    description: "where service messages go (parley.log in the data folder)",
  },
  "log-level": { type: "enum", options: [...LOG_LEVELS], description: "least level that is written (info)" },
  "log-format": {
    type: "enum",
    options: [...LOG_FORMATS],
    description: "one line, or one JSON object, an event (text)",
  },
  "max-frame": { type: "string", valueHint: "SIZE", description: "longest message (1mb)" },
  "max-connections": {
    type: "string",
    valueHint: "N",
    description: `connections at once (${MAX_CONNECTIONS})`,
  },
  "max-backlog": {
    type: "string",
    valueHint: "SIZE",
    description: "output a slow reader may leave unread (4mb)",
  },
  "max-attempts": {
    type: "string",
    valueHint: "N",
    description: `wrong logins on a connection (${MAX_ATTEMPTS})`,
  },
  "login-timeout": { type: "string", valueHint: "TIME", description: "from connecting to logged in (30s)" },
  "idle-timeout": { type: "string", valueHint: "TIME", description: "end silent conversations (off)" },
  drain: { type: "string", valueHint: "TIME", description: "for conversations to end when stopped (10s)" },
  "hash-memory": { type: "string", valueHint: "SIZE", description: "argon2id memory (64mb)" },
  "hash-time": { type: "string", valueHint: "N", description: `argon2id passes (${HASH_TIME})` },
  "min-password": {
    type: "string",
    valueHint: "N",
    description: `shortest password (${MIN_PASSWORD_LENGTH})`,
  },
  json: { type: "boolean", description: "ready line as JSON" },
  "port-file": { type: "string", valueHint: "FILE", description: "write the port there when ready" },
  check: { type: "boolean", description: "try everything out, then leave" },
  ...commonFlags,
} satisfies FlagsDef;

type ServeFlags = Flags<keyof typeof serveFlags>;

export default defineCommand({
  meta: { name: "serve", description: "listen, log clients in, and answer their messages" },
  args: serveFlags,
  run: ({ args }) => serve(new Flags(args as Arguments)),
});

/** A second Ctrl-C within this is the same one: `bun run` passes each on twice (measured). In milliseconds. */
const SAME_SIGNAL_MS = 500;

async function serve(flags: ServeFlags): Promise<void> {
  if (flags.has("list-services")) {
    for (const { name, summary } of listServices()) process.stdout.write(`${name.padEnd(8)} ${summary}\n`);
    return;
  }
  const terminal = terminalOf(flags);
  const options = readOptions(flags);
  const drainMs = flags.duration("drain") ?? DRAIN_TIMEOUT_MS;
  const folder = new DataFolder(flags.text("data"));
  const store = options.bare === true || options.auth === "none" ? undefined : new Store(folder.users);
  if (flags.text("port") === undefined && terminal.canAsk) {
    const answer = await terminal.ask("port:", { default: String(DEFAULT_PORT), check: portFlaw });
    options.port = parsePort(answer) ?? DEFAULT_PORT;
  }
  if (store !== undefined && options.auth === "password") await offerFirstUser(store, options, terminal);
  const logPath = flags.text("log") ?? folder.log;
  const log = openLog({
    path: logPath,
    level: flags.choice("log-level", LOG_LEVELS, "info"),
    format: flags.choice("log-format", LOG_FORMATS, "text"),
    onLoss: (reason) => terminal.say(`the log cannot be written: ${reason}`),
  });
  try {
    const wanted = options.port;
    const server = new Server({ ...options, store, log });
    if (flags.has("check")) {
      await server.stop(0);
      terminal.say("everything is in order");
      return;
    }
    const stopped = handleSignals(server, log, terminal, drainMs);
    announce(server, options, flags, terminal, { wanted, logPath, folder });
    await stopped;
  } finally {
    log.close();
  }
}

function readOptions(flags: ServeFlags): Omit<ServerOptions, "log"> {
  const hostText = flags.text("host") ?? "127.0.0.1";
  const host = parseHost(hostText);
  if (host === undefined) throw usageError(`--host: ${JSON.stringify(hostText)} is no address`);
  const portText = flags.text("port") ?? String(DEFAULT_PORT);
  const port = parsePort(portText, 0);
  if (port === undefined)
    throw usageError(`--port: ${JSON.stringify(portText)} is no port`, "a number from 0 to 65535");
  const bare = flags.has("bare");
  const auth = flags.choice<AuthMode>("auth", AUTH_MODES, "password");
  if (bare && flags.text("auth") !== undefined) throw usageError("--bare and --auth exclude each other");
  if (flags.has("register") && (bare || auth !== "password"))
    throw usageError("--register needs --auth password");
  if (!isLoopback(host)) {
    if (bare && !flags.has("open")) {
      throw usageError(`--bare lets anybody in: not on ${host}`, "say --open if that is meant");
    }
    if (!flags.has("no-tls")) {
      throw usageError(
        `this version does not encrypt: passwords would travel in plain text to ${host}`,
        "listen on 127.0.0.1, or say --no-tls if the network is your own",
      );
    }
  }
  const serviceName = flags.text("service") ?? "echo";
  const hashMemory = flags.size("hash-memory", 8 * 1024 * 1024, MAX_HASH_MEMORY_KIB * 1024);
  const hashCost: HashCost = {
    memoryKib: hashMemory === undefined ? HASH_MEMORY_KIB : Math.floor(hashMemory / 1024),
    time: flags.count("hash-time", 1, MAX_HASH_TIME) ?? HASH_TIME,
  };
  return {
    host,
    port,
    strictPort: flags.has("strict-port"),
    auth,
    bare,
    register: flags.has("register"),
    service: findService(serviceName),
    serviceName,
    maxFrame: flags.size("max-frame", 64, MAX_FRAME_CEILING_BYTES) ?? MAX_FRAME_BYTES,
    maxConnections: flags.count("max-connections", 1, 1_000_000),
    maxBacklog: flags.size("max-backlog", 64 * 1024, MAX_FRAME_CEILING_BYTES),
    maxAttempts: flags.count("max-attempts", 1, 100),
    minPassword: flags.count("min-password", 8, 256),
    loginTimeoutMs: flags.duration("login-timeout"),
    idleTimeoutMs: flags.duration("idle-timeout"),
    hashCost,
  };
}

async function offerFirstUser(
  store: Store,
  options: Omit<ServerOptions, "log">,
  terminal: Terminal,
): Promise<void> {
  if (store.document.users.size > 0 || options.register === true || !terminal.canAsk) return;
  terminal.say("There are no users yet, so nobody could log in.");
  if (!(await terminal.confirm("create the first one?", true))) return;
  const check = (answer: string) => (normalizeName(answer) === undefined ? NAME_RULE : undefined);
  const name = normalizeName(await terminal.ask("user:", { check })) ?? "";
  const minimum = options.minPassword ?? MIN_PASSWORD_LENGTH;
  const password = await terminal.askNewSecret("password:", (answer) => passwordFlaw(answer, name, minimum));
  const hash = await new PasswordHasher(options.hashCost).hash(password, "local");
  await store.change((draft) => addUser(draft, name, hash, new Date()));
}

/** The ready line on stdout; on stderr what a person must know, or wants to. */
function announce(
  server: Server,
  options: Omit<ServerOptions, "log">,
  flags: ServeFlags,
  terminal: Terminal,
  context: { wanted: number; logPath: string; folder: DataFolder },
): void {
  const { host, port } = server;
  const address = formatAddress(host, port);
  const auth = options.bare === true ? "bare" : options.auth;
  const ready = flags.has("json")
    ? JSON.stringify({
        event: "listening",
        host,
        port,
        pid: process.pid,
        tls: null,
        auth,
        service: options.serviceName,
      })
    : `listening on ${address}`;
  const portFile = flags.text("port-file");
  if (portFile !== undefined) writePortFile(portFile, port);
  process.stdout.write(`${ready}\n`);
  if (terminal.isWatched) {
    const who = {
      password: "password",
      ip: "known addresses",
      none: "anybody may talk",
      bare: "bare frames, no login",
    };
    const reach = isLoopback(host) ? "this machine only" : "reachable from other machines";
    terminal.note(`${who[auth]} · ${reach} · not encrypted`);
    terminal.note(`log: ${context.logPath}`);
    terminal.note(`talk to it: parley connect ${address}${options.bare === true ? " --bare" : ""}`);
  }
  if (auth === "password" && options.register !== true && server.hasNoUsers) {
    terminal.say(`nobody can log in yet: add somebody with: parley users add NAME${dataFlag(flags)}`);
  }
  if (context.wanted !== 0 && context.wanted !== port) {
    terminal.say(`port ${context.wanted} is busy: listening on ${port} instead`);
  }
}

function dataFlag(flags: ServeFlags): string {
  const data = flags.text("data");
  return data === undefined ? "" : ` --data ${data}`;
}

function writePortFile(path: string, port: number): void {
  try {
    writeFileSync(path, `${port}\n`);
  } catch (error) {
    throw new ParleyError(
      "failed",
      `--port-file: cannot write ${path}: ${systemCode(error) ?? messageOf(error)}`,
    );
  }
}

/** INT and TERM: drain, and again: at once. HUP: reload and reopen. Resolves when the server has stopped. */
async function handleSignals(
  server: Server,
  log: LogFile,
  terminal: Terminal,
  drainMs: number,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let firstAt: number | undefined;
  const stop = () => {
    const now = performance.now();
    if (firstAt !== undefined && now - firstAt < SAME_SIGNAL_MS) return;
    const again = firstAt !== undefined;
    firstAt ??= now;
    if (!again && terminal.isWatched && server.sessions > 0) {
      terminal.say(
        `stopping: ${server.sessions} conversations have ${sayDuration(drainMs)} to end; again: at once`,
      );
    }
    if (again) server.terminate();
    else void server.stop(drainMs).then(() => resolve());
  };
  const hangUp = () => {
    server.reload();
    try {
      log.reopen();
    } catch (error) {
      terminal.say(`the log cannot be reopened: ${messageOf(error)}`);
    }
  };
  process.on("SIGINT", stop).on("SIGTERM", stop).on("SIGHUP", hangUp);
  try {
    await promise;
  } finally {
    process.off("SIGINT", stop).off("SIGTERM", stop).off("SIGHUP", hangUp);
  }
}
