// The options of a server that a flag of `parley serve` sets: how much, how long, and who may connect.
//
// An entry is all that such an option needs, beside the code that uses it: ServerOptions, its flag with its check and its
// line of --help, and its row in docs/security.md are made of it or compared with it. A test finds one that server.ts does
// not pass on.

import type { Cidr } from "../base/address.ts";
import { BINDING_NAMES, type BindingName } from "../base/bindings.ts";
import {
  DRAIN_TIMEOUT_MS,
  FRAME_MIN_RATE_BYTES,
  FRAME_TIMEOUT_MS,
  HASH_MEMORY_KIB,
  HASH_TIME,
  KEEPALIVE_MS,
  LOGIN_TIMEOUT_MS,
  MAX_ATTEMPTS,
  MAX_BACKLOG_BYTES,
  MAX_CONNECTIONS,
  MAX_FORWARDED_PER_USER,
  MAX_FRAME_BYTES,
  MAX_FRAME_CEILING_BYTES,
  MAX_HASH_MEMORY_KIB,
  MAX_HASH_TIME,
  MAX_MISSED_PINGS,
  MAX_PENDING,
  MAX_PENDING_PER_ADDRESS,
  MAX_PER_USER,
  MAX_QUEUED_BYTES,
  MAX_USERS,
  MIN_PASSWORD_LENGTH,
  RESUME_FOR_MS,
} from "../base/limits.ts";
import { count, duration, networks, onOff, size, wrong, type Kind } from "../base/option-kinds.ts";
import { sayDuration, saySize, writeDuration, writeSize } from "../base/units.ts";
import type { PendingLimit } from "../net/admission.ts";

/** One option of a server, and its flag. */
export interface Option<Value> {
  /** The flag's name, without its dashes. */
  flag: string;
  kind: Kind<Value>;
  /** What holds without the flag. */
  default: Value;
  /** The heading that the flag stands under in `--help`. */
  group: "Who may connect" | "Limits";
  /** The flag's line of `--help`, with the default as the flag takes it in brackets. */
  help: string;
  /** The option's row in the limits of docs/security.md, and in those of README.md where it has one. */
  row: { what: string; byDefault: string; asIn?: string };
}

/** Checks that the default of an option is of its kind. */
function option<Value>(entry: Option<Value>): Option<Value> {
  return entry;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const MILLION = 1_000_000;

/** `start:percent:full`, or one number: half of it is the start. */
const pendingLimit: Kind<PendingLimit> = {
  hint: "N",
  read(flag, text) {
    const [, a = "", rate, b] = /^(\d{1,6})(?::(\d{1,3}):(\d{1,6}))?$/.exec(text) ?? [];
    const full = Number(b ?? a);
    const limit = {
      start: b === undefined ? Math.ceil(full / 2) : Number(a),
      rate: Number(rate ?? MAX_PENDING.rate),
      full,
    };
    if (full >= 1 && limit.start >= 1 && limit.start <= full && limit.rate <= 100) return limit;
    throw wrong(flag, "limit", text, `use a number, or start:percent:full, such as ${PENDING_TEXT}`);
  },
};
const PENDING_TEXT = `${MAX_PENDING.start}:${MAX_PENDING.rate}:${MAX_PENDING.full}`;

const NO_NETWORKS: readonly Cidr[] = [];

/** Names with commas between them, in any order. */
const bindingNames: Kind<readonly BindingName[]> = {
  hint: "LIST",
  read(flag, text) {
    const given = text.split(",").map((name) => name.trim());
    const names = BINDING_NAMES.filter((name) => given.includes(name));
    if (names.length === given.length) return names;
    throw wrong(flag, "list", text, `use ${BINDING_NAMES.join(", ")}, or both with a comma between them`);
  },
};

/** Every option by its name in ServerOptions, in the order of `--help`. Sizes are bytes, durations milliseconds. */
export const SERVER_OPTIONS = {
  maxFrame: option({
    flag: "max-frame",
    kind: size(64, MAX_FRAME_CEILING_BYTES),
    default: MAX_FRAME_BYTES,
    group: "Limits",
    help: `longest message (default ${writeSize(MAX_FRAME_BYTES)})`,
    row: { what: "longest message", byDefault: saySize(MAX_FRAME_BYTES), asIn: "NATS 1 MiB" },
  }),
  maxConnections: option({
    flag: "max-connections",
    kind: count(1, MILLION),
    default: MAX_CONNECTIONS,
    group: "Limits",
    help: `connections at once (default ${MAX_CONNECTIONS})`,
    row: {
      what: "connections",
      byDefault: `${MAX_CONNECTIONS}, and fewer than the limit of open files`,
      asIn: "Redis 10 000",
    },
  }),
  maxPending: option({
    flag: "max-pending",
    kind: pendingLimit,
    default: MAX_PENDING,
    group: "Limits",
    help: `connections not logged in, or start:percent:full (default ${PENDING_TEXT})`,
    row: {
      what: "connections that have not logged in",
      byDefault: `${MAX_PENDING.full}; from ${MAX_PENDING.start} on some are refused at random`,
      asIn: "sshd MaxStartups",
    },
  }),
  maxPendingPerAddress: option({
    flag: "max-pending-per-address",
    kind: count(1, MILLION),
    default: MAX_PENDING_PER_ADDRESS,
    group: "Limits",
    help: `connections not logged in per address (default ${MAX_PENDING_PER_ADDRESS})`,
    row: {
      what: "… from one address (IPv6: /64)",
      byDefault: `${MAX_PENDING_PER_ADDRESS}`,
      asIn: "sshd PerSourceMaxStartups",
    },
  }),
  maxPerUser: option({
    flag: "max-per-user",
    kind: count(1, MILLION),
    default: MAX_PER_USER,
    group: "Limits",
    help: `sessions per user; ${MAX_FORWARDED_PER_USER} with --to (default ${MAX_PER_USER})`,
    row: {
      what: "connections of one user; a resume is always allowed",
      byDefault: `${MAX_PER_USER}, and ${MAX_FORWARDED_PER_USER} with \`--to\``,
      asIn: "Dovecot 10",
    },
  }),
  maxUsers: option({
    flag: "max-users",
    kind: count(1, MILLION),
    default: MAX_USERS,
    group: "Limits",
    help: `stop --register at this many users (default ${MAX_USERS})`,
    row: { what: "users with which clients can add no more (`--register`)", byDefault: "10 000" },
  }),
  maxBacklog: option({
    flag: "max-backlog",
    kind: size(64 * KIB, MAX_FRAME_CEILING_BYTES),
    default: MAX_BACKLOG_BYTES,
    group: "Limits",
    help: `unsent output per client, at least 4 times --max-frame (default ${writeSize(MAX_BACKLOG_BYTES)})`,
    row: {
      what: "unread output of a client, before it is dropped",
      byDefault: saySize(MAX_BACKLOG_BYTES),
      asIn: "Redis pubsub 8–32 MiB",
    },
  }),
  maxQueued: option({
    flag: "max-queued",
    kind: size(MIB, 1024 * MAX_FRAME_CEILING_BYTES),
    default: MAX_QUEUED_BYTES,
    group: "Limits",
    help: `unsent output of all clients, at least twice --max-backlog (default ${writeSize(MAX_QUEUED_BYTES)})`,
    row: {
      what: "… all memory for clients: output, sessions, unfinished messages",
      byDefault: saySize(MAX_QUEUED_BYTES),
      asIn: "Redis maxmemory-clients",
    },
  }),
  bindings: option({
    flag: "bindings",
    kind: bindingNames,
    default: BINDING_NAMES,
    group: "Who may connect",
    help: `TLS bindings of proofs (default ${BINDING_NAMES.join(",")})`,
    row: {
      what: "what binds a proof to TLS",
      byDefault: BINDING_NAMES.map((name) => `\`${name}\``).join(", "),
      asIn: "SCRAM, RFC 9266",
    },
  }),
  maxAttempts: option({
    flag: "max-attempts",
    kind: count(1, 100),
    default: MAX_ATTEMPTS,
    group: "Who may connect",
    help: `failed logins per connection (default ${MAX_ATTEMPTS})`,
    row: { what: "failed logins on one connection", byDefault: `${MAX_ATTEMPTS}`, asIn: "sshd 6" },
  }),
  loginTimeoutMs: option({
    flag: "login-timeout",
    kind: duration(),
    default: LOGIN_TIMEOUT_MS,
    group: "Limits",
    help: `time to log in (default ${writeDuration(LOGIN_TIMEOUT_MS)})`,
    row: {
      what: "TCP accept to logged in",
      byDefault: sayDuration(LOGIN_TIMEOUT_MS),
      asIn: "PostgreSQL 60, sshd 120 s",
    },
  }),
  frameTimeoutMs: option({
    flag: "frame-timeout",
    kind: duration(),
    default: FRAME_TIMEOUT_MS,
    group: "Limits",
    help: `time for a message to arrive (default ${writeDuration(FRAME_TIMEOUT_MS)})`,
    row: {
      what: "time for one message to arrive",
      byDefault: `${sayDuration(FRAME_TIMEOUT_MS)}, plus 1 s for each ${saySize(FRAME_MIN_RATE_BYTES)}`,
      asIn: "Apache RequestReadTimeout",
    },
  }),
  keepaliveMs: option({
    flag: "keepalive",
    kind: duration(),
    default: KEEPALIVE_MS,
    group: "Limits",
    help: `idle time before a client is pinged (default ${writeDuration(KEEPALIVE_MS)})`,
    row: {
      what: "silence before a ping / unanswered pings before disconnecting",
      byDefault: `${sayDuration(KEEPALIVE_MS)} / ${MAX_MISSED_PINGS}`,
      asIn: "NATS 2 min / 2",
    },
  }),
  resumeForMs: option({
    flag: "resume-for",
    kind: duration(0),
    default: RESUME_FOR_MS,
    group: "Limits",
    help: `time to resume a lost session; 0s: off (default ${writeDuration(RESUME_FOR_MS)})`,
    row: {
      what: "time for which the session of a lost connection is kept",
      byDefault: sayDuration(RESUME_FOR_MS),
      asIn: "Eternal Terminal, XEP-0198",
    },
  }),
  idleTimeoutMs: option<number | undefined>({
    flag: "idle-timeout",
    kind: duration(),
    default: undefined,
    group: "Limits",
    help: "end sessions without messages (default off)",
    row: { what: "silence before a conversation ends", byDefault: "no limit" },
  }),
  drainMs: option({
    flag: "drain",
    kind: duration(0),
    default: DRAIN_TIMEOUT_MS,
    group: "Limits",
    help: `time for sessions to end at shutdown (default ${writeDuration(DRAIN_TIMEOUT_MS)})`,
    row: {
      what: "time for conversations to end when the server stops",
      byDefault: sayDuration(DRAIN_TIMEOUT_MS),
      asIn: "NATS lame-duck grace 10 s",
    },
  }),
  hashMemory: option({
    flag: "hash-memory",
    kind: size(8 * MIB, MAX_HASH_MEMORY_KIB * KIB),
    default: HASH_MEMORY_KIB * KIB,
    group: "Who may connect",
    help: `argon2id memory (default ${writeSize(HASH_MEMORY_KIB * KIB)})`,
    row: { what: "argon2id memory", byDefault: saySize(HASH_MEMORY_KIB * KIB), asIn: "OWASP 19 MiB" },
  }),
  hashTime: option({
    flag: "hash-time",
    kind: count(1, MAX_HASH_TIME),
    default: HASH_TIME,
    group: "Who may connect",
    help: `argon2id passes (default ${HASH_TIME})`,
    row: { what: "argon2id passes", byDefault: `${HASH_TIME}`, asIn: "OWASP 2" },
  }),
  minPassword: option({
    flag: "min-password",
    kind: count(8, 256),
    default: MIN_PASSWORD_LENGTH,
    group: "Who may connect",
    help: `shortest password, in characters (default ${MIN_PASSWORD_LENGTH})`,
    row: {
      what: "shortest password",
      byDefault: `${MIN_PASSWORD_LENGTH} characters`,
      asIn: "NIST SP 800-63B",
    },
  }),
  allow: option({
    flag: "allow",
    kind: networks,
    default: NO_NETWORKS,
    group: "Who may connect",
    help: "accept only this network; repeatable",
    row: { what: "addresses that may connect", byDefault: "all" },
  }),
  deny: option({
    flag: "deny",
    kind: networks,
    default: NO_NETWORKS,
    group: "Who may connect",
    help: "refuse this network; repeatable",
    row: { what: "addresses that may not connect", byDefault: "none" },
  }),
  penalties: option({
    flag: "penalties",
    kind: onOff,
    default: true,
    group: "Who may connect",
    help: "block an address after failures (default on)",
    row: { what: "penalties for failed connections", byDefault: "on", asIn: "sshd PerSourcePenalties" },
  }),
  penaltyExempt: option({
    flag: "penalty-exempt",
    kind: networks,
    default: NO_NETWORKS,
    group: "Who may connect",
    help: "never block this network; repeatable",
    row: {
      what: "… addresses without penalties",
      byDefault: "none",
      asIn: "sshd PerSourcePenaltyExemptList",
    },
  }),
};

/** A value for each of the options. */
export type OptionValues = {
  [Name in keyof typeof SERVER_OPTIONS]: (typeof SERVER_OPTIONS)[Name]["default"];
};

/** The table as a list, where it does not matter of which kind an option is. */
export const optionEntries: readonly [name: string, Option<unknown>][] =
  Object.entries<Option<unknown>>(SERVER_OPTIONS);

/** `given`, and the defaults of what it leaves out. */
export function completeOptions(given: Partial<OptionValues>): OptionValues {
  const values: Partial<Record<string, unknown>> = given;
  return Object.fromEntries(
    optionEntries.map(([name, entry]) => [name, values[name] ?? entry.default]),
  ) as OptionValues;
}
