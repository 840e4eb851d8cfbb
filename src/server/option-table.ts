// The options of a server that a flag of `parley serve` sets: how much, how long, and who may connect.
//
// An entry is all that such an option needs, beside the code that uses it: ServerOptions, its flag with its check and its
// line of --help, and its row in docs/security.md are made of it or compared with it. A test finds one that server.ts does
// not pass on.

import type { Cidr } from "../base/address.ts";
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
    throw wrong(flag, text, "no limit", `a number, or start:percent:full, such as ${PENDING_TEXT}`);
  },
};
const PENDING_TEXT = `${MAX_PENDING.start}:${MAX_PENDING.rate}:${MAX_PENDING.full}`;

const NO_NETWORKS: readonly Cidr[] = [];

/** Every option by its name in ServerOptions, in the order of `--help`. Sizes are bytes, durations milliseconds. */
export const SERVER_OPTIONS = {
  maxFrame: option({
    flag: "max-frame",
    kind: size(64, MAX_FRAME_CEILING_BYTES),
    default: MAX_FRAME_BYTES,
    help: `longest message (${writeSize(MAX_FRAME_BYTES)})`,
    row: { what: "longest message", byDefault: saySize(MAX_FRAME_BYTES), asIn: "NATS 1 MiB" },
  }),
  maxConnections: option({
    flag: "max-connections",
    kind: count(1, MILLION),
    default: MAX_CONNECTIONS,
    help: `connections at once (${MAX_CONNECTIONS})`,
    row: {
      what: "connections at once",
      byDefault: `${MAX_CONNECTIONS}, and below the descriptor limit`,
      asIn: "Redis 10 000",
    },
  }),
  maxPending: option({
    flag: "max-pending",
    kind: pendingLimit,
    default: MAX_PENDING,
    help: `connections not logged in, or start:percent:full (${PENDING_TEXT})`,
    row: {
      what: "connections not logged in",
      byDefault: `${MAX_PENDING.full}, at random from ${MAX_PENDING.start}`,
      asIn: "sshd MaxStartups",
    },
  }),
  maxPendingPerAddress: option({
    flag: "max-pending-per-address",
    kind: count(1, MILLION),
    default: MAX_PENDING_PER_ADDRESS,
    help: `… from one address (${MAX_PENDING_PER_ADDRESS})`,
    row: {
      what: "… of one address (IPv6: /64)",
      byDefault: `${MAX_PENDING_PER_ADDRESS}`,
      asIn: "sshd PerSourceMaxStartups",
    },
  }),
  maxPerUser: option({
    flag: "max-per-user",
    kind: count(1, MILLION),
    default: MAX_PER_USER,
    help: `conversations of one user (${MAX_PER_USER}, and ${MAX_FORWARDED_PER_USER} with --to)`,
    row: {
      what: "connections of one user; one that resumes a session always may",
      byDefault: `${MAX_PER_USER}, and ${MAX_FORWARDED_PER_USER} with \`--to\``,
      asIn: "Dovecot 10",
    },
  }),
  maxUsers: option({
    flag: "max-users",
    kind: count(1, MILLION),
    default: MAX_USERS,
    help: `users there may be for --register to add one (${MAX_USERS})`,
    row: { what: "users there may be for a client to add one (`--register`)", byDefault: "10 000" },
  }),
  maxBacklog: option({
    flag: "max-backlog",
    kind: size(64 * KIB, MAX_FRAME_CEILING_BYTES),
    default: MAX_BACKLOG_BYTES,
    help: `output a slow reader may leave unread (${writeSize(MAX_BACKLOG_BYTES)}, and at least four times --max-frame)`,
    row: {
      what: "output unread before the client is dropped",
      byDefault: saySize(MAX_BACKLOG_BYTES),
      asIn: "Redis pubsub 8–32 MiB",
    },
  }),
  maxQueued: option({
    flag: "max-queued",
    kind: size(MIB, 1024 * MAX_FRAME_CEILING_BYTES),
    default: MAX_QUEUED_BYTES,
    help: `… and all of them together (${writeSize(MAX_QUEUED_BYTES)}, and at least twice --max-backlog)`,
    row: {
      what: "… queued and kept for all clients, and of their unfinished messages",
      byDefault: saySize(MAX_QUEUED_BYTES),
      asIn: "Redis maxmemory-clients",
    },
  }),
  maxAttempts: option({
    flag: "max-attempts",
    kind: count(1, 100),
    default: MAX_ATTEMPTS,
    help: `wrong logins on a connection (${MAX_ATTEMPTS})`,
    row: { what: "wrong logins on a connection", byDefault: `${MAX_ATTEMPTS}`, asIn: "sshd 6" },
  }),
  loginTimeoutMs: option({
    flag: "login-timeout",
    kind: duration(),
    default: LOGIN_TIMEOUT_MS,
    help: `from connecting to logged in (${writeDuration(LOGIN_TIMEOUT_MS)})`,
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
    help: `for a message to arrive whole (${writeDuration(FRAME_TIMEOUT_MS)})`,
    row: {
      what: "one message, until it is whole",
      byDefault: `${sayDuration(FRAME_TIMEOUT_MS)}, and 1 s for each ${saySize(FRAME_MIN_RATE_BYTES)}`,
      asIn: "Apache RequestReadTimeout",
    },
  }),
  keepaliveMs: option({
    flag: "keepalive",
    kind: duration(),
    default: KEEPALIVE_MS,
    help: `silence until a client is asked if it is there (${writeDuration(KEEPALIVE_MS)})`,
    row: {
      what: "silence until a client is asked / questions without answer",
      byDefault: `${sayDuration(KEEPALIVE_MS)} / ${MAX_MISSED_PINGS}`,
      asIn: "NATS 2 min / 2",
    },
  }),
  resumeForMs: option({
    flag: "resume-for",
    kind: duration(0),
    default: RESUME_FOR_MS,
    help: `how long the session of a lost connection is kept, 0s: not at all (${writeDuration(RESUME_FOR_MS)})`,
    row: {
      what: "session of a lost connection",
      byDefault: sayDuration(RESUME_FOR_MS),
      asIn: "Eternal Terminal, XEP-0198",
    },
  }),
  idleTimeoutMs: option<number | undefined>({
    flag: "idle-timeout",
    kind: duration(),
    default: undefined,
    help: "end silent conversations (off)",
    row: { what: "silence until a conversation ends", byDefault: "no limit" },
  }),
  drainMs: option({
    flag: "drain",
    kind: duration(0),
    default: DRAIN_TIMEOUT_MS,
    help: `for conversations to end when stopped (${writeDuration(DRAIN_TIMEOUT_MS)})`,
    row: {
      what: "for conversations to end when the server stops",
      byDefault: sayDuration(DRAIN_TIMEOUT_MS),
      asIn: "NATS lame-duck grace 10 s",
    },
  }),
  hashMemory: option({
    flag: "hash-memory",
    kind: size(8 * MIB, MAX_HASH_MEMORY_KIB * KIB),
    default: HASH_MEMORY_KIB * KIB,
    help: `argon2id memory (${writeSize(HASH_MEMORY_KIB * KIB)})`,
    row: { what: "argon2id memory", byDefault: saySize(HASH_MEMORY_KIB * KIB), asIn: "OWASP 19 MiB" },
  }),
  hashTime: option({
    flag: "hash-time",
    kind: count(1, MAX_HASH_TIME),
    default: HASH_TIME,
    help: `argon2id passes (${HASH_TIME})`,
    row: { what: "argon2id passes", byDefault: `${HASH_TIME}`, asIn: "OWASP 2" },
  }),
  minPassword: option({
    flag: "min-password",
    kind: count(8, 256),
    default: MIN_PASSWORD_LENGTH,
    help: `shortest password (${MIN_PASSWORD_LENGTH})`,
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
    help: "only these may connect; repeatable",
    row: { what: "who may connect at all", byDefault: "anybody" },
  }),
  deny: option({
    flag: "deny",
    kind: networks,
    default: NO_NETWORKS,
    help: "these may not; repeatable",
    row: { what: "… and who may not", byDefault: "nobody" },
  }),
  penalties: option({
    flag: "penalties",
    kind: onOff,
    default: true,
    help: "failures cost their address time (on)",
    row: { what: "failures cost their address time", byDefault: "on", asIn: "sshd PerSourcePenalties" },
  }),
  penaltyExempt: option({
    flag: "penalty-exempt",
    kind: networks,
    default: NO_NETWORKS,
    help: "never penalise these; repeatable",
    row: { what: "… but not these addresses", byDefault: "none", asIn: "sshd PerSourcePenaltyExemptList" },
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
