// Every default number, with its unit, its reason and its source.
//
// Sizes are bytes, lengths of time are milliseconds. What a flag can change has the flag's name beside it.

const KIB = 1024;
const MIB = 1024 * KIB;
const SECOND = 1000;
const DAY = 24 * 60 * 60 * SECOND;

/** 13131: unassigned at IANA, above the well-known ports, easy to say. `--port` */
export const DEFAULT_PORT = 13131;
/** Ports tried after a busy one, as development servers do. */
export const PORT_ATTEMPTS = 100;

/** Longest frame of the key exchange: CPython's own limit. */
export const MAX_KEY_FRAME_BYTES = 256;
/** Longest frame before `welcome`: a login with a 1 KiB password fits four times. As NATS's control line. */
export const MAX_LOGIN_FRAME_BYTES = 4 * KIB;
/** Longest payload of a conversation; 1 MiB as NATS's max_payload. `--max-frame` */
export const MAX_FRAME_BYTES = MIB;
/** The most `--max-frame` may ask for: one frame is one buffer, and lengths stay within 31 bits. */
export const MAX_FRAME_CEILING_BYTES = 1024 * MIB;
/** Longest payload that a client reads, unless the server announced more than a quarter of it. */
export const MAX_ANSWER_BYTES = 16 * MIB;

/** Connections at once; clamped below the descriptor limit, since Bun spins at EMFILE (measured). `--max-connections` */
export const MAX_CONNECTIONS = 1024;
/** Descriptors kept back for files, the store and the log. Redis keeps 32, twice that to be safe. */
export const RESERVED_DESCRIPTORS = 64;

/** Connections that are only being told why they may not come in, at least and, with descriptors to spare, at most. */
export const MIN_REFUSING = RESERVED_DESCRIPTORS / 2;
export const MAX_REFUSING = 256;
/** How long those wait for the answer who asked for too much: whoever floods is slowed down by its own flood. */
export const REFUSING_PAUSE_MS = SECOND;
/**
 * Connections that have not logged in: from `start` on refused with a chance of `rate` percent, rising to certainty at
 * `full`. The rule of sshd's MaxStartups, whose numbers are 10:30:100. `--max-pending`
 */
export const MAX_PENDING = { start: 32, rate: 30, full: 64 };
/** … and of one address, or IPv6 /64. `--max-pending-per-address` */
export const MAX_PENDING_PER_ADDRESS = 8;
/** A pending connection silent for so long makes way where room is needed; a program has logged in by then. */
export const PENDING_GRACE_MS = SECOND;
/** A newcomer is held for so long where there is no room: logins without a hash take milliseconds. */
export const PENDING_HOLD_MS = SECOND / 2;
/** Conversations of one user at once, as Dovecot's mail_max_userip_connections. `--max-per-user` */
export const MAX_PER_USER = 10;
/** Accounts made, or names said, from one address, or IPv6 /64, in an hour: a classroom behind one router. */
export const MAX_REGISTRATIONS = 30;
export const REGISTRATION_WINDOW_MS = 60 * 60 * SECOND;

/** What costs a source time, and how much; the numbers are those of sshd's PerSourcePenalties. */
export const PENALTY_MS = {
  /** The key, or all logins of a connection. */
  refused: 5 * SECOND,
  /** No login in time; `grace-exceeded`. */
  timeout: 10 * SECOND,
  /** No message of this protocol. */
  garbage: 10 * SECOND,
  /** Left after having said something; `noauth`. */
  "no-login": SECOND,
} as const;
export type PenaltyReason = keyof typeof PENALTY_MS;
/** Penalties below this are only counted; sshd's `min`. */
export const PENALTY_THRESHOLD_MS = 15 * SECOND;
/** The longest wait; sshd's `max`. */
export const PENALTY_MAX_MS = 600 * SECOND;
/** Sources remembered; sshd's `max-sources`. */
export const MAX_PENALISED_SOURCES = 65_536;
/** Before the answer to the nth refused login in a row of one source: the first connection's three are free. */
export const REFUSAL_DELAYS_MS = [0, 0, 0, SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND] as const;

/** How long a refused login counts for the next one's delay. */
export const REFUSAL_MEMORY_MS = 60 * SECOND;

/** Output queued for one peer at which its input is no longer read, so that a slow reader slows only itself. */
export const PAUSE_OUTPUT_BYTES = 256 * KIB;
/** Output queued for one peer at which it is dropped: a service that answers more than it is asked. `--max-backlog` */
export const MAX_BACKLOG_BYTES = 4 * MIB;

/** From TCP accept to login complete, however the bytes drip. sshd has 120 s, PostgreSQL 60 s. `--login-timeout` */
export const LOGIN_TIMEOUT_MS = 30 * SECOND;
/** From TCP accept to TLS established. NATS has 2 s, Bun none at all. */
export const TLS_TIMEOUT_MS = 5 * SECOND;
/** For one frame to arrive whole … `--frame-timeout` */
export const FRAME_TIMEOUT_MS = 30 * SECOND;
/** … and a second more for each so many bytes of it, as Apache's MinRate: a slow line is no attack. */
export const FRAME_MIN_RATE_BYTES = 16 * KIB;
/** Silence after which a peer with control frames is asked whether it is there, as NATS's 2 min, halved. `--keepalive` */
export const KEEPALIVE_MS = 60 * SECOND;
/** Questions left unanswered until it is taken for dead. */
export const MAX_MISSED_PINGS = 2;
/** How long a refused peer's input is discarded so that our few words are not lost to a reset. */
export const LINGER_MS = 2 * SECOND;
/** … and a peer in a conversation without control frames, after our FIN, while nothing moves: its own FIN is waited for. */
export const FINISH_TIMEOUT_MS = 30 * SECOND;
/** … and how much of it (wire protocol, 3.4). */
export const LINGER_BYTES = 16 * MIB;
/** A finishing peer that takes nothing of what is queued for so long is given up, as Ranch's send timeout does. */
export const STALL_TIMEOUT_MS = 30 * SECOND;
/** SIGTERM to the end of the last conversation, as NATS's lame-duck grace. `--drain` */
export const DRAIN_TIMEOUT_MS = 10 * SECOND;
/** For so long a hook is waited for whose client is gone, and so is what came before; as long as a drain. */
export const ABANDONED_HOOK_MS = DRAIN_TIMEOUT_MS;
/** What a service that sends without end may take of the event loop at a time: nobody else is to notice. */
export const SERVICE_SHARE_MS = 2;
/** Equal refusals that are logged one by one in a minute; the others are summed up. sshd's log_ratelimit is alike. */
export const LOG_BURST = 10;
export const LOG_SUMMARY_MS = 60 * SECOND;
/** While draining: a conversation silent for so long has had everything it sent before the signal answered. */
export const DRAIN_QUIET_MS = 100;
/** While draining: a conversation that keeps talking is told `bye` after so long. */
export const DRAIN_BUSY_MS = SECOND;
/** TCP keepalive of an accepted connection: found dead within this and ten seconds. */
export const TCP_KEEPALIVE_MS = 60 * SECOND;
/** A server that accepts and then says nothing is none of ours. */
export const HELLO_TIMEOUT_MS = 10 * SECOND;
/** A server that does not answer a login: twice what its full hash queue takes, at half a second a hash. */
export const LOGIN_ANSWER_TIMEOUT_MS = 30 * SECOND;
/** How long a client goes on asking, unbidden, a server that has no room for it at the moment. */
export const BUSY_RETRY_MS = 30 * SECOND;
/** … and one that closes without a word. */
export const SILENT_RESET_RETRY_MS = 4 * SECOND;
/** A dial that nobody answers; above three SYN retransmissions (1 + 2 + 4 s). */
export const DIAL_TIMEOUT_MS = 10 * SECOND;

/** A program whose conversation is over: from its input's end to TERM, and from there to KILL. */
export const PROGRAM_INPUT_GRACE_MS = 250;
export const PROGRAM_TERM_GRACE_MS = 2 * SECOND;
/** Longest line of a program's standard error; a longer one is cut into several. */
export const MAX_STDERR_LINE_BYTES = 4 * KIB;

/** A handler's files have been left alone for so long: whoever saves writes more than once. */
export const RELOAD_QUIET_MS = 100;

/** How long a session whose connection was lost is kept. `--resume-for` */
export const RESUME_FOR_MS = 120 * SECOND;
/** What is kept for all sessions that sleep. */
export const MAX_DETACHED_BYTES = 64 * MIB;
/** What is not acknowledged, at most; then its sender waits. */
export const MAX_UNACKNOWLEDGED_FRAMES = 1024;
export const MAX_UNACKNOWLEDGED_BYTES = MIB;
/**
 * What is taken is acknowledged at least this often: frames, bytes, time. A quarter of the window, so that nobody waits
 * for it; every 32 frames it would cost a tenth of a pipelined message (measured).
 */
export const ACK_FRAMES = MAX_UNACKNOWLEDGED_FRAMES / 4;
export const ACK_BYTES = MAX_UNACKNOWLEDGED_BYTES / 4;
export const ACK_MS = 200;

/** After a loss: the first try within, and no two tries further apart than. */
export const RETRY_FIRST_MS = SECOND / 2;
/** … the first within this where the lost connection had got the conversation further, or had held for so long. */
export const RETRY_AT_ONCE_MS = 50;
export const RETRY_HELD_MS = SECOND;
export const RETRY_MAX_MS = 30 * SECOND;
/** How long a client at a terminal goes on trying. `--retry` */
export const RETRY_FOR_MS = 120 * SECOND;

/** Wrong logins on one connection. The course says three. `--max-attempts` */
export const MAX_ATTEMPTS = 3;
/** Shortest password. NIST SP 800-63B: at least 8. `--min-password` */
export const MIN_PASSWORD_LENGTH = 8;
/** Longest password, in UTF-8 bytes after normalisation; longer ones cost time for no strength. */
export const MAX_PASSWORD_BYTES = KIB;
/** argon2id memory in KiB: Bun's default, above OWASP's 19 MiB with t=2. `--hash-memory` */
export const HASH_MEMORY_KIB = 64 * KIB;
/** argon2id passes. `--hash-time` */
export const HASH_TIME = 2;
/** A hash in the file that asks for more is refused: `m=2 GiB` took 10.9 s (measured). */
export const MAX_HASH_MEMORY_KIB = 256 * KIB;
export const MAX_HASH_TIME = 10;
/** Others make hashes of up to 8 lanes (Django's); they cost as much as one. */
export const MAX_HASH_LANES = 16;
/** Entries of the user file that cannot be used, as many as a terminal shows; the log has all. */
export const MAX_FLAWS_SHOWN = 10;
/** Hashes waiting in all, and of one address; beyond it the answer is `busy`, and no attempt is used up. */
export const MAX_HASH_QUEUE = 32;
export const MAX_HASH_QUEUE_PER_ADDRESS = 4;
/** How long a login waits for the answer `busy`: whoever guesses in a loop does not spin. */
export const BUSY_PAUSE_MS = SECOND / 2;
/** Seconds a client is asked to wait when the hash queue is full. */
export const BUSY_RETRY_SECONDS = 2;

/** A token that nobody used for so long is dead. */
export const TOKEN_IDLE_MS = 7 * DAY;
/** A token dies at this age whatever happens: NIST AAL1 asks for a new login every 30 days. */
export const TOKEN_MAX_MS = 30 * DAY;
/** Tokens of one user, beside those in a conversation; of more than that the least recently used ones are taken away. */
export const MAX_TOKENS_PER_USER = 10;
/** A token that was made or used so lately may be in a conversation that is not listed yet: 20 times LIVE_FILE_MS. */
export const TOKEN_SETTLE_MS = 10 * SECOND;
/** A token that is dead of age stays in the file for so long, should the clock only have jumped ahead. */
export const DEAD_TOKEN_MS = 60 * 60 * SECOND;
/** `used` of a token is written at most this often, so that coming back costs no fsync. */
export const TOKEN_TOUCH_MS = 60 * 60 * SECOND;

/** How long a change of a locked file waits for its turn. */
export const LOCK_TIMEOUT_MS = 10 * SECOND;
/** Between two commits of one process, so that others get the lock. Without it they starved (measured). */
export const COMMIT_PAUSE_MS = 2;
/** How soon after a change a server writes down which sessions it has. */
export const STATUS_FILE_MS = 500;
/** How often a watched file is looked at even when no event came. */
export const WATCH_INTERVAL_MS = 500;

export { sayDuration } from "./units.ts";
