// The flags of parley serve, and what they ask of a server.

import { AUTH_MODES, type AuthMode } from "../auth/authenticate.ts";
import type { HashCost } from "../auth/password.ts";
import { usageError } from "../errors.ts";
import {
  DEFAULT_PORT,
  HASH_MEMORY_KIB,
  HASH_TIME,
  MAX_ATTEMPTS,
  MAX_CONNECTIONS,
  MAX_FRAME_BYTES,
  MAX_FRAME_CEILING_BYTES,
  MAX_HASH_MEMORY_KIB,
  MAX_HASH_TIME,
  MIN_PASSWORD_LENGTH,
} from "../limits.ts";
import { LOG_FORMATS, LOG_LEVELS } from "../log.ts";
import type { ServerOptions } from "../server.ts";
import { findService } from "../services/catalogue.ts";
import { isLoopback, parseHost, parsePort, type Flags } from "./flags.ts";
import { commonFlags, type FlagsDef } from "./parse.ts";

export const serveFlags = {
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
    description: "output a slow reader may leave unread (4mb, and at least four times --max-frame)",
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

export type ServeFlags = Flags<keyof typeof serveFlags>;

/** A server as the flags want it, but for what it needs at run time. */
export type ServerPlan = Omit<ServerOptions, "log" | "store">;

/** @throws {ParleyError} `usage` when flags exclude each other or one is out of range. */
export function planServer(flags: ServeFlags): ServerPlan {
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
    // A check that takes another port would find everything in order and be wrong.
    strictPort: flags.has("strict-port") || flags.has("check"),
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
