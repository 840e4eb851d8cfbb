// The flags of parley serve, and what they ask of a server.

import { formatAddress, isAddress, isLoopback, Cidr } from "../../base/address.ts";
import { AUTH_MODES, type AuthMode } from "../../auth/identity.ts";
import type { NewHashCost } from "../../auth/password.ts";
import { usageError } from "../../base/errors.ts";
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
  MAX_PENDING,
  MAX_PENDING_PER_ADDRESS,
  MAX_PER_USER,
  MIN_PASSWORD_LENGTH,
} from "../../base/limits.ts";
import { LOG_FORMATS, LOG_LEVELS } from "../../log/log.ts";
import type { PendingLimit } from "../../net/admission.ts";
import type { ServerOptions } from "../../server/options.ts";
import { PROGRAM_IOS } from "../../services/program/codec.ts";
import { STDERR_WAYS } from "../../services/program/program.ts";
import type { ListeningSocket } from "../../os/systemd.ts";
import { checkZone, parseHost, parsePort, type Flags } from "../flags.ts";
import { commonFlags, type FlagsDef } from "../parse.ts";

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
  handler: {
    type: "string",
    valueHint: "FILE",
    description: "a TypeScript or JavaScript module that answers",
  },
  watch: { type: "boolean", description: "load the handler again when it is saved" },
  init: { type: "string", valueHint: "FILE", description: "write a handler to begin with, and leave" },
  "program-io": {
    type: "enum",
    options: [...PROGRAM_IOS],
    description:
      "how messages go through PROGRAM: a line each, as they are, behind 4 bytes of length (lines)",
  },
  "program-stderr": {
    type: "enum",
    options: [...STDERR_WAYS],
    description: "where its standard error goes (log)",
  },
  "pass-env": {
    type: "string",
    multiple: true,
    valueHint: "NAME",
    description: "a variable that PROGRAM gets, too; repeatable",
  },
  pty: { type: "boolean", description: "give PROGRAM a terminal" },
  "list-services": { type: "boolean", description: "say which services there are" },
  bare: { type: "boolean", description: "frames only: no login, no session" },
  open: { type: "boolean", description: "allow --bare beyond this machine" },
  "key-file": {
    type: "string",
    valueHint: "FILE",
    description: "shared key that clients must prove; made when there is none",
  },
  "allow-md5": { type: "boolean", description: "shared key also with Python 3.11 and older" },
  tls: { type: "boolean", description: "encrypt; by itself unless only this machine can connect" },
  "no-tls": { type: "boolean", description: "listen in plain text, also beyond this machine" },
  "tls-cert": { type: "string", valueHint: "FILE", description: "certificate, PEM (one made by itself)" },
  "tls-key": { type: "string", valueHint: "FILE", description: "its private key, PEM" },
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
  "max-pending": {
    type: "string",
    valueHint: "N",
    description: `connections not logged in, or start:percent:full (${sayPending(MAX_PENDING)})`,
  },
  "max-pending-per-address": {
    type: "string",
    valueHint: "N",
    description: `… from one address (${MAX_PENDING_PER_ADDRESS})`,
  },
  "max-per-user": {
    type: "string",
    valueHint: "N",
    description: `conversations of one user (${MAX_PER_USER})`,
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
  "frame-timeout": { type: "string", valueHint: "TIME", description: "for a message to arrive whole (30s)" },
  keepalive: {
    type: "string",
    valueHint: "TIME",
    description: "silence until a client is asked if it is there (60s)",
  },
  "resume-for": {
    type: "string",
    valueHint: "TIME",
    description: "how long the session of a lost connection is kept, 0s: not at all (2m)",
  },
  "idle-timeout": { type: "string", valueHint: "TIME", description: "end silent conversations (off)" },
  drain: { type: "string", valueHint: "TIME", description: "for conversations to end when stopped (10s)" },
  "hash-memory": { type: "string", valueHint: "SIZE", description: "argon2id memory (64mb)" },
  "hash-time": { type: "string", valueHint: "N", description: `argon2id passes (${HASH_TIME})` },
  "min-password": {
    type: "string",
    valueHint: "N",
    description: `shortest password (${MIN_PASSWORD_LENGTH})`,
  },
  allow: {
    type: "string",
    multiple: true,
    valueHint: "CIDR",
    description: "only these may connect; repeatable",
  },
  deny: { type: "string", multiple: true, valueHint: "CIDR", description: "these may not; repeatable" },
  penalties: { type: "enum", options: ["on", "off"], description: "failures cost their address time (on)" },
  "penalty-exempt": {
    type: "string",
    multiple: true,
    valueHint: "CIDR",
    description: "never penalise these; repeatable",
  },
  metrics: {
    type: "string",
    valueHint: "ADDRESS:PORT",
    description: "numbers for Prometheus, and /healthz, over HTTP (off)",
  },
  json: { type: "boolean", description: "ready line as JSON" },
  "port-file": { type: "string", valueHint: "FILE", description: "write the port there when ready" },
  check: { type: "boolean", description: "try everything out, then leave" },
  program: {
    type: "positional",
    required: false,
    rest: true,
    valueHint: "-- PROGRAM ARGS…",
    description: "answers: one for each conversation, without a shell",
  },
  ...commonFlags,
} satisfies FlagsDef;

export type ServeFlags = Flags<keyof typeof serveFlags>;

/** A server as the flags want it, but for what it needs at run time. */
export type ServerPlan = Omit<ServerOptions, "log" | "store" | "tls" | "key" | "service" | "serviceName">;

/**
 * @param socket one that listens already, if it was handed over.
 * @throws {ParleyError} `usage` when flags exclude each other or one is out of range.
 */
export function planServer(flags: ServeFlags, socket: ListeningSocket | undefined): ServerPlan {
  const { host, port, fd } = planAddress(flags, socket);
  const bare = flags.has("bare");
  const auth = flags.choice<AuthMode>("auth", AUTH_MODES, "password");
  if (bare && flags.text("auth") !== undefined) throw usageError("--bare and --auth exclude each other");
  if (flags.has("register") && (bare || auth !== "password"))
    throw usageError("--register needs --auth password");
  if (!isLoopback(host) && bare && !flags.has("open") && flags.text("key-file") === undefined) {
    throw usageError(
      `--bare lets anybody in: not on ${host}`,
      "say --key-file FILE, or --open if that is meant",
    );
  }
  if (flags.has("allow-md5") && flags.text("key-file") === undefined)
    throw usageError("--allow-md5 needs --key-file");
  checkTls(flags);
  const hashMemory = flags.size("hash-memory", 8 * 1024 * 1024, MAX_HASH_MEMORY_KIB * 1024);
  const hashCost: NewHashCost = {
    memoryKib: hashMemory === undefined ? HASH_MEMORY_KIB : Math.floor(hashMemory / 1024),
    time: flags.count("hash-time", 1, MAX_HASH_TIME) ?? HASH_TIME,
  };
  return {
    host,
    port,
    fd,
    // A check that takes another port would find everything in order and be wrong.
    strictPort: flags.has("strict-port") || flags.has("check"),
    auth,
    bare,
    register: flags.has("register"),
    maxFrame: flags.size("max-frame", 64, MAX_FRAME_CEILING_BYTES) ?? MAX_FRAME_BYTES,
    maxConnections: flags.count("max-connections", 1, 1_000_000),
    maxPending: readPending(flags.text("max-pending")),
    maxPendingPerAddress: flags.count("max-pending-per-address", 1, 1_000_000),
    maxPerUser: flags.count("max-per-user", 1, 1_000_000),
    maxBacklog: flags.size("max-backlog", 64 * 1024, MAX_FRAME_CEILING_BYTES),
    maxAttempts: flags.count("max-attempts", 1, 100),
    minPassword: flags.count("min-password", 8, 256),
    loginTimeoutMs: flags.duration("login-timeout"),
    frameTimeoutMs: flags.duration("frame-timeout"),
    keepaliveMs: flags.duration("keepalive"),
    resumeForMs: flags.duration("resume-for", 0),
    idleTimeoutMs: flags.duration("idle-timeout"),
    penalties: flags.choice("penalties", ["on", "off"], "on") === "on",
    penaltyExempt: readNetworks(flags, "penalty-exempt"),
    allow: readNetworks(flags, "allow"),
    deny: readNetworks(flags, "deny"),
    hashCost,
  };
}

function checkTls(flags: ServeFlags): void {
  const certificate = flags.text("tls-cert");
  if ((certificate === undefined) !== (flags.text("tls-key") === undefined))
    throw usageError("--tls-cert and --tls-key belong together");
  const other = flags.has("tls") ? "tls" : certificate === undefined ? undefined : "tls-cert";
  if (flags.has("no-tls") && other !== undefined)
    throw usageError(`--no-tls and --${other} exclude each other`);
}

function planAddress(
  flags: ServeFlags,
  socket: ListeningSocket | undefined,
): { host: string; port: number; fd?: number } {
  const hostText = flags.text("host") ?? "127.0.0.1";
  const host = parseHost(hostText);
  if (host === undefined) throw usageError(`--host: ${JSON.stringify(hostText)} is no address`);
  checkZone(host);
  const portText = flags.text("port") ?? String(DEFAULT_PORT);
  const port = parsePort(portText, 0);
  if (port === undefined)
    throw usageError(`--port: ${JSON.stringify(portText)} is no port`, "a number from 0 to 65535");
  if (socket === undefined) return { host, port };
  const other = (["host", "port"] as const).find((flag) => flags.text(flag) !== undefined);
  if (other === undefined) return socket;
  const address = formatAddress(socket.host, socket.port);
  throw usageError(`--${other}: LISTEN_FDS has handed over a socket, which listens on ${address}`);
}

/** Where `--metrics` wants them; undefined: nowhere. @param port that of the server. @throws {ParleyError} `usage`. */
export function planMetrics(flags: ServeFlags, port: number): { host: string; port: number } | undefined {
  const text = flags.text("metrics");
  if (text === undefined) return undefined;
  const [, bracketed, plain, portText = ""] = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? "";
  const own = parsePort(portText, 0);
  if ((!isAddress(host) && !isLoopback(host)) || own === undefined)
    throw usageError(
      `--metrics: ${JSON.stringify(text)} is no ADDRESS:PORT`,
      "for example 127.0.0.1:9113, or [::1]:9113",
    );
  checkZone(host);
  if (own !== 0 && own === port)
    throw usageError(`--metrics: port ${own} is the one of the conversations`, "choose another one");
  return { host, port: own };
}

/** `start:percent:full`, or one number: half of it is the start. */
function readPending(text: string | undefined): PendingLimit | undefined {
  if (text === undefined) return undefined;
  const [, a = "", rate, b] = /^(\d{1,6})(?::(\d{1,3}):(\d{1,6}))?$/.exec(text) ?? [];
  const full = Number(b ?? a);
  const limit = { start: b === undefined ? Math.ceil(full / 2) : Number(a), rate: Number(rate ?? 30), full };
  if (full >= 1 && limit.start >= 1 && limit.start <= full && limit.rate <= 100) return limit;
  throw usageError(
    `--max-pending: ${JSON.stringify(text)} is no limit`,
    `a number, or start:percent:full, such as ${sayPending(MAX_PENDING)}`,
  );
}

function readNetworks(flags: ServeFlags, name: "allow" | "deny" | "penalty-exempt"): Cidr[] {
  return flags.texts(name).map((text) => {
    const network = Cidr.parse(text);
    if (network !== undefined) return network;
    throw usageError(
      `--${name}: ${JSON.stringify(text)} is no network`,
      "an address, or a network such as 10.0.0.0/8",
    );
  });
}

function sayPending({ start, rate, full }: PendingLimit): string {
  return `${start}:${rate}:${full}`;
}
