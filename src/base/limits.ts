// Every default number, with its unit, its reason and its source.
//
// Sizes are bytes, durations milliseconds. Where a flag changes a limit, the flag stands at the end of its comment.

const KIB = 1024;
const MIB = 1024 * KIB;
const SECOND = 1000;
const DAY = 24 * 60 * 60 * SECOND;

/** 13131: unassigned at IANA, above the well-known ports, easy to remember. `--port` */
export const DEFAULT_PORT = 13131;
/** Ports that are tried after a busy one, as development servers do. */
export const PORT_ATTEMPTS = 100;

/** Longest frame of the key exchange; CPython has the same limit. */
export const MAX_KEY_FRAME_BYTES = 256;
/** Longest frame before `welcome`, as long as NATS's control line: a login with a 1 KiB password fits four times. */
export const MAX_LOGIN_FRAME_BYTES = 4 * KIB;
/** Longest payload of a conversation, as NATS's max_payload. `--max-frame` */
export const MAX_FRAME_BYTES = MIB;
/** The most that `--max-frame` may ask for: one frame is one buffer, and lengths stay within 31 bits. */
export const MAX_FRAME_CEILING_BYTES = 1024 * MIB;
/** Longest payload that a client accepts, even if the server announces longer ones: it may be hostile. `connect --max-frame` */
export const MAX_ANSWER_BYTES = 16 * MIB;

/**
 * Connections at once. The descriptor limit lowers it: at EMFILE, Bun 1.4.5 keeps a core busy in accept (measured with 40
 * descriptors and 60 clients). `--max-connections`
 */
export const MAX_CONNECTIONS = 1024;
/** Descriptors that are kept free for files, the store and the log; Redis keeps 32. */
export const RESERVED_DESCRIPTORS = 64;

/** Connections to `--metrics` at once, out of {@link RESERVED_DESCRIPTORS}: a full server answers health checks, too. */
export const MAX_METRICS_CONNECTIONS = RESERVED_DESCRIPTORS / 4;
/** From accept to a whole request at `--metrics`: programs ask at once. */
export const METRICS_HEAD_TIMEOUT_MS = 5 * SECOND;

/** Seconds that the answer `full` asks a client to wait, where the server has no room. */
export const FULL_RETRY_SECONDS = 5;
/** Rejected connections that are open until their error is sent: at least so many. */
export const MIN_REFUSING = RESERVED_DESCRIPTORS / 2;
/** Rejected connections that are open until their error is sent, where descriptors are left: at most so many. */
export const MAX_REFUSING = 256;
/** Delay of the error that a penalised client gets, so that a flood slows itself down. */
export const REFUSING_PAUSE_MS = SECOND;
/**
 * Connections that have not logged in. From `start` on a new one is refused with a chance of `rate` percent, which rises to
 * certainty at `full`: the rule of sshd's MaxStartups, whose numbers are 10:30:100. `--max-pending`
 */
export const MAX_PENDING = { start: 32, rate: 30, full: 64 };
/** Connections of one address, or IPv6 /64, that have not logged in. `--max-pending-per-address` */
export const MAX_PENDING_PER_ADDRESS = 8;
/** A connection without a login that was silent for so long is evicted where room is needed; a program is faster. */
export const PENDING_GRACE_MS = SECOND;
/** How long a new connection waits for room before it is refused; logins without a hash take milliseconds. */
export const PENDING_HOLD_MS = SECOND / 2;
/** Refused connections that may still log in with a token or resume a session: half as many as pending connections. */
export const MAX_PROVING = 32;
/** {@link MAX_PROVING} of one address, or IPv6 /64. */
export const MAX_PROVING_PER_ADDRESS = 2;
/** From TCP accept to a login with a token or a session, where no other login is accepted: a program sends it at once. */
export const PROVING_TIMEOUT_MS = 5 * SECOND;
/** Conversations of one user at once, as Dovecot's mail_max_userip_connections. `--max-per-user` */
export const MAX_PER_USER = 10;
/** The same with `--to`: a pool or a browser opens many connections. 100 is PostgreSQL's `max_connections`. `--max-per-user` */
export const MAX_FORWARDED_PER_USER = 100;
/**
 * Users up to which clients may register, since every process has all of them in memory: 5 MB of JSON with a token each. An
 * operator may add more.
 * `--max-users`
 */
export const MAX_USERS = 10_000;
/** Tags of one user: the roles of a service, 0.5 KB of the record, and of the environment of a program. */
export const MAX_TAGS = 16;
/** Known addresses of `--auth ip`, 2 MB of the user file; where there are more, the one seen longest ago is forgotten. */
export const MAX_HOSTS = 10_000;
/** Accounts or names that one address, or IPv6 /64, may register in an hour: those of a classroom behind one router. */
export const MAX_REGISTRATIONS = 30;
/** The time in which {@link MAX_REGISTRATIONS} are counted. */
export const REGISTRATION_WINDOW_MS = 60 * 60 * SECOND;

/** Penalties of a source for each kind of failure, with the numbers of sshd's PerSourcePenalties. */
export const PENALTY_MS = {
  /** The key was wrong, or all logins of a connection were. */
  refused: 5 * SECOND,
  /** There was no login in time; sshd's `grace-exceeded`. */
  timeout: 10 * SECOND,
  /** The peer sent no message of this protocol. */
  garbage: 10 * SECOND,
  /** The peer sent something and left without a login; sshd's `noauth`. */
  "no-login": SECOND,
} as const;
export type PenaltyReason = keyof typeof PENALTY_MS;
/** A source with less than this in penalties may still connect; sshd's `min`. */
export const PENALTY_THRESHOLD_MS = 15 * SECOND;
/** The most that a source's penalties add up to; sshd's `max`. */
export const PENALTY_MAX_MS = 600 * SECOND;
/**
 * The longest penalty of a loopback address, which is also its threshold. All users of the machine have that address, and all
 * clients of a proxy on it: they wait for a few seconds at most, and five garbage connections in a row are no mistake of a user.
 */
export const LOOPBACK_PENALTY_MAX_MS = 5 * SECOND;
/** The part of each penalty that counts for a loopback address. */
export const LOOPBACK_PENALTY_SHARE = 1 / 10;
/** Sources whose penalties are remembered; sshd's `max-sources`. */
export const MAX_PENALISED_SOURCES = 65_536;
/** Delay of the answer to a source's 1st, 2nd … refused login in a row; the three of the first connection have none. */
export const REFUSAL_DELAYS_MS = [0, 0, 0, SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND] as const;
/** How long a refused login counts in {@link REFUSAL_DELAYS_MS}. */
export const REFUSAL_MEMORY_MS = 60 * SECOND;

/** With so much output queued, a peer's input is no longer read: a slow reader slows down only itself. */
export const PAUSE_OUTPUT_BYTES = 256 * KIB;
/** With so much output queued, a peer is dropped: its service sends more than it is asked for. `--max-backlog` */
export const MAX_BACKLOG_BYTES = 4 * MIB;

/** A client with this many times {@link MAX_BACKLOG_BYTES} is dropped at once, even if it had no time to read. */
export const BACKLOG_BURST = 4;
/**
 * How long a client may be over {@link MAX_BACKLOG_BYTES}, counted from when it fell behind: output of one moment can be read in
 * the next. The sessions that make so much output are paused meanwhile.
 */
export const SLOW_READER_MS = SECOND;
/** How long a client may be over {@link MAX_BACKLOG_BYTES} when it reads and acknowledges nothing. */
export const STUCK_READER_MS = SECOND / 5;
/** With so much output queued for all clients by one client's messages, the other clients have their turn first. */
export const TURN_OUTPUT_BYTES = MIB;
/** All output that is queued or kept for clients, and their unfinished frames. `--max-queued` */
export const MAX_QUEUED_BYTES = 256 * MIB;
/** {@link PAUSE_OUTPUT_BYTES} while more than half of {@link MAX_QUEUED_BYTES} is used. */
export const SHORT_PAUSE_OUTPUT_BYTES = 16 * KIB;

/** From TCP accept to a complete login. sshd has 120 s, PostgreSQL 60 s. `--login-timeout` */
export const LOGIN_TIMEOUT_MS = 30 * SECOND;
/** From TCP accept to TLS established. NATS has 2 s, Bun has no such limit. */
export const TLS_TIMEOUT_MS = 5 * SECOND;
/** How long one frame may take to arrive whole, before {@link FRAME_MIN_RATE_BYTES} adds to it. `--frame-timeout` */
export const FRAME_TIMEOUT_MS = 30 * SECOND;
/** A frame gets a second more for each so many bytes of it, as with Apache's MinRate: a slow line is no attack. */
export const FRAME_MIN_RATE_BYTES = 16 * KIB;
/** A peer with control frames that was silent for so long gets a ping; NATS has 2 min. `--keepalive` */
export const KEEPALIVE_MS = 60 * SECOND;
/** Pings without an answer after which a peer counts as dead. */
export const MAX_MISSED_PINGS = 2;
/** How long the input of a rejected peer is discarded, so that no reset destroys the error that was sent to it. */
export const LINGER_MS = 2 * SECOND;
/** How long a peer without control frames may take for its FIN after ours, while no data moves. */
export const FINISH_TIMEOUT_MS = 30 * SECOND;
/** How long a server may take to end a session that the client has left; below {@link LINGER_MS}. `connect --listen` */
export const LEAVE_MS = 1 * SECOND;
/** How much input is discarded after our FIN (wire protocol, 3.4). */
export const LINGER_BYTES = 16 * MIB;
/** A peer that reads none of its queued output for so long after the end is reset, as with Ranch's send timeout. */
export const STALL_TIMEOUT_MS = 30 * SECOND;
/** From SIGTERM to the end of the last conversation, as NATS's lame-duck grace. `--drain` */
export const DRAIN_TIMEOUT_MS = 10 * SECOND;
/** How long a hook may run after its client has left; as long as a drain. */
export const ABANDONED_HOOK_MS = DRAIN_TIMEOUT_MS;
/** How long a service that sends without end may keep the event loop, before other connections have their turn. */
export const SERVICE_SHARE_MS = 2;
/** How often the log summarises the lines that it left out; then each limit of the log starts from zero. */
export const LOG_SUMMARY_MS = 60 * SECOND;
/** Equal refusals of one source that get a line of their own, as in sshd: enough for fail2ban, whose usual limit is 5. */
export const MAX_LOG_REFUSALS = 10;
/** Lines of any other event from one source: a script that logs in and leaves twice a second loses none. */
export const MAX_LOG_EVENTS = 120;
/** Bytes of the lines of one source: {@link MAX_LOG_EVENTS} logins, their ends and their programs take 60 KiB. */
export const MAX_LOG_SOURCE_BYTES = 128 * KIB;
/** Bytes of the lines of one event, from all sources: those of a thousand clients that log in within a minute. */
export const MAX_LOG_EVENT_BYTES = 128 * KIB;
/** Bytes of a program's standard error in one conversation: a few tracebacks, or six lines a second. */
export const MAX_LOG_STDERR_BYTES = 64 * KIB;
/** Bytes of the standard error of all programs. */
export const MAX_LOG_ALL_STDERR_BYTES = MIB;
/** Characters of one field of a line; an error of a handler may quote a whole message. */
export const MAX_LOG_FIELD_LENGTH = 4 * KIB;
/** Sources and kinds of events that are counted separately until the next summary; about 3 MiB. */
export const MAX_LOG_GROUPS = 8192;
/** Summary lines of one event with a source each, those with the most lines first; the others become one line. */
export const MAX_LOG_SUMMARIES = 32;
/** Faults of a handler that the operator's terminal shows in {@link LOG_SUMMARY_MS}; a client may cause any number of them. */
export const MAX_SHOWN_FAULTS = 30;
/** Of these, those of one place in the code: a timer that fails each second hides no other fault. */
export const MAX_SHOWN_EQUAL_FAULTS = 5;
/** Addresses with their own row in `users log`, as many as are penalised; the others share one row. */
export const MAX_LOG_ADDRESSES = MAX_PENALISED_SOURCES;
/** Names that `users log` shows for an address. */
export const MAX_LOG_NAMES = 100;
/** A session that was silent for so long during a drain has no message in transit from before the signal. */
export const DRAIN_QUIET_MS = 100;
/** A session that still receives messages during a drain gets its `bye` after so long. */
export const DRAIN_BUSY_MS = SECOND;
/** TCP keepalive of an accepted connection: a dead one is found within this and ten seconds. */
export const TCP_KEEPALIVE_MS = 60 * SECOND;
/** A server that sends nothing for so long after accepting is not a parley server. */
export const HELLO_TIMEOUT_MS = 10 * SECOND;
/** How long a client waits for the answer to a login: twice what a full hash queue takes, at half a second a hash. */
export const LOGIN_ANSWER_TIMEOUT_MS = 30 * SECOND;
/** How long a client retries without a flag when the server is busy. */
export const BUSY_RETRY_MS = 30 * SECOND;
/** How long a client retries without a flag when the server resets the connection without an error. */
export const SILENT_RESET_RETRY_MS = 4 * SECOND;
/** How long a dial waits for an answer; longer than three SYN retransmissions (1 + 2 + 4 s). */
export const DIAL_TIMEOUT_MS = 10 * SECOND;
/** How long a target may take to accept a connection. `--to-timeout` */
export const TARGET_TIMEOUT_MS = 10 * SECOND;
/** What targets have not read, of all sessions. From half of it on each session queues less. */
export const MAX_TARGET_QUEUED_BYTES = 64 * MIB;

/** The time between the end of a program's input and TERM, after its session has ended. */
export const PROGRAM_INPUT_GRACE_MS = 250;
/** The time between TERM and KILL for a program. */
export const PROGRAM_TERM_GRACE_MS = 2 * SECOND;
/** A program with so much unread terminal output is held. */
export const TERMINAL_OUTPUT_BYTES = 64 * KIB;
/** A program with so much unread terminal output is ended: holding it had no effect. */
export const MAX_TERMINAL_OUTPUT_BYTES = MIB;
/** How long the end of a person's session may take before `connect` says what it waits for. */
export const END_NOTICE_MS = 2 * SECOND;
/** Keys of a client's terminal that wait for the server or a connection; further ones stay in the kernel. */
export const MAX_WAITING_KEYS_BYTES = MIB;
/** How long none of them may be sent before further ones are read and dropped: they may have the command that leaves. */
export const KEYS_STALLED_MS = 2 * SECOND;
/** How long a joined terminal may be without a connection before parley says so on the screen of the program. */
export const JOINED_NOTICE_MS = SECOND;
/** The time between two changes of a window's size by which a program is made to draw its screen again. */
export const REDRAW_MS = 0.15 * SECOND;
/** The most columns or rows of a terminal. */
export const MAX_WINDOW_CELLS = 1000;
/** The longest name of a kind of terminal, in characters; the names of terminfo have 36 at most. */
export const MAX_TERM_LENGTH = 64;
/** How long the last output of a terminal may take after the program's end, when other processes keep the terminal open. */
export const TERMINAL_DRAIN_MS = SECOND / 10;
/** Longest line of a program's standard error; a longer one becomes several. */
export const MAX_STDERR_LINE_BYTES = 4 * KIB;

/** How long the top level of a handler file may take, and the `start` hook of new code, so that one that waits for good is reported. */
export const HANDLER_LOAD_MS = 10 * SECOND;
/** How long a server that stops waits for the promise of a handler's `stop` hook. */
export const HANDLER_STOP_MS = 10 * SECOND;
/** A handler is loaded again once its files have not changed for so long: editors write more than once. */
export const RELOAD_QUIET_MS = 100;

/** How long a session is kept after its connection was lost. `--resume-for` */
export const RESUME_FOR_MS = 120 * SECOND;
/** Unacknowledged output that is kept for all detached sessions together. */
export const MAX_DETACHED_BYTES = 64 * MIB;
/**
 * … where they are streams of bytes: a part of {@link MAX_QUEUED_BYTES}. Windows are short from half of that on, so that sessions which
 * lose their connections together hold little more than the half, and all can come back.
 */
export const DETACHED_STREAM_SHARE = 3 / 4;
/** {@link MAX_UNACKNOWLEDGED_BYTES} while more than half of {@link MAX_QUEUED_BYTES} is used. */
export const SHORT_WINDOW_BYTES = 64 * KIB;
/** A sender waits when so many of its frames are unacknowledged. */
export const MAX_UNACKNOWLEDGED_FRAMES = 1024;
/** The window: a sender waits when so many of its bytes are unacknowledged. */
export const MAX_UNACKNOWLEDGED_BYTES = MIB;
/** The window of a stream of bytes: 80 MB/s at a round trip of 100 ms. */
export const MAX_UNACKNOWLEDGED_STREAM_BYTES = 8 * MIB;
/**
 * Frames after which a receiver acknowledges: a quarter of the window, so that no sender waits. Every 32 frames it would cost
 * a tenth of a pipelined message (measured with scripts/bench.ts and Bun 1.4.5).
 */
export const ACK_FRAMES = MAX_UNACKNOWLEDGED_FRAMES / 4;
/** Bytes after which a receiver acknowledges: a quarter of the window. */
export const ACK_BYTES = MAX_UNACKNOWLEDGED_BYTES / 4;
/** How long a receiver waits for more, before it acknowledges less than that. */
export const ACK_MS = 200;

/** Dials of one client that may follow each other at once; with {@link DIAL_INTERVAL_MS} never more than 20 in 10 s. */
export const DIAL_BURST = 10;
/** The time between two dials of one client, after {@link DIAL_BURST}. */
export const DIAL_INTERVAL_MS = SECOND;
/** The longest random addition to a wait that a server asks for, so that clients that it refused together return one by one. */
export const MAX_RETRY_JITTER_MS = 2 * SECOND;
/** A client reconnects at a random time within this after a loss; each further pause is twice as long. */
export const RETRY_FIRST_MS = SECOND / 2;
/** A client reconnects at a random time within this after the loss of a connection that worked. */
export const RETRY_AT_ONCE_MS = 50;
/** A connection worked if it carried a message or lasted for so long. */
export const RETRY_HELD_MS = SECOND;
/** A connection that carried no new message counts as a failed try, unless it lasted for so long. */
export const RETRY_PROVEN_MS = 120 * SECOND;
/** The longest pause between two tries to reconnect. */
export const RETRY_MAX_MS = 30 * SECOND;
/** How long a client at a terminal tries to reconnect. `--retry` */
export const RETRY_FOR_MS = 120 * SECOND;

/** Dials and logins of a forwarder that are under way at once: half of {@link MAX_PENDING_PER_ADDRESS}. `connect --listen` */
export const MAX_FORWARD_DIALS = 4;
/** Local connections that wait for a server that cannot be reached. */
export const MAX_FORWARD_WAITING = 64;
/** Local connections of a forwarder at once, as many as a server takes; fewer where descriptors are short. */
export const MAX_FORWARDED = MAX_CONNECTIONS;
/** The longest pause between two dials of a forwarder: one dial tries the way for all its connections. */
export const FORWARD_PROBE_MS = 5 * SECOND;
/** Longest message that a forwarder makes of what a local program has sent: with its header it is written in one piece. */
export const MAX_FORWARD_MESSAGE_BYTES = 64 * KIB - 4;
/** How long a forwarder says nothing more of a kind on standard error, once it has said a line. */
export const FORWARD_NOTICE_MS = 10 * SECOND;

/** Wrong logins on one connection; sshd has 6. `--max-attempts` */
export const MAX_ATTEMPTS = 3;
/** Shortest password. NIST SP 800-63B: at least 8. `--min-password` */
export const MIN_PASSWORD_LENGTH = 8;
/** Longest password in UTF-8 bytes, after normalisation; a longer one costs time and adds no strength. */
export const MAX_PASSWORD_BYTES = KIB;
/** argon2id memory in KiB: Bun's default, above OWASP's 19 MiB with t=2. `--hash-memory` */
export const HASH_MEMORY_KIB = 64 * KIB;
/** argon2id passes. `--hash-time` */
export const HASH_TIME = 2;
/** A hash in the user file that asks for more memory is not verified: 2 GiB take 9 s (measured with Bun 1.4.5, 2 passes). */
export const MAX_HASH_MEMORY_KIB = 256 * KIB;
/** A hash in the user file that asks for more passes is not verified. */
export const MAX_HASH_TIME = 10;
/** A hash in the user file with more lanes is not verified. Django makes 8; they cost as much as one. */
export const MAX_HASH_LANES = 16;
/** Unusable entries of the user file that a terminal shows; the log has all of them. */
export const MAX_FLAWS_SHOWN = 10;
/** Hashes that may wait. A login beyond that is answered with `busy`, and does not count as an attempt. */
export const MAX_HASH_QUEUE = 32;
/** Hashes of one address that may wait. */
export const MAX_HASH_QUEUE_PER_ADDRESS = 4;
/**
 * Hashes in a row for sources with a successful login while other sources wait. The other sources get every third hash, and a
 * known source waits for one more of them.
 */
export const KNOWN_HASHES_IN_A_ROW = 2;
/** Delay of the answer `busy`, so that a client which guesses in a loop does not spin. */
export const BUSY_PAUSE_MS = SECOND / 2;
/** Seconds that the answer `busy` asks a client to wait. */
export const BUSY_RETRY_SECONDS = 2;

/** A token that was not used for so long is dead. */
export const TOKEN_IDLE_MS = 7 * DAY;
/** A token of this age is dead, used or not: NIST AAL1 asks for a new login every 30 days. */
export const TOKEN_MAX_MS = 30 * DAY;
/** Unused tokens of one user; where there are more, the least recently used ones are removed. */
export const MAX_TOKENS_PER_USER = 10;
/** A token that was made or used within this time may belong to a session that is not listed yet: 20 times {@link STATUS_FILE_MS}. */
export const TOKEN_SETTLE_MS = 10 * SECOND;
/**
 * Tokens that a change examines for removal, beside those that it writes: 0.5 ms (measured with Bun 1.4.5). 100,000 tokens are
 * examined within 200 changes.
 */
export const TOKENS_EXAMINED = 500;
/** A dead token stays in the file for so long: the clock may only have jumped ahead. */
export const DEAD_TOKEN_MS = 60 * 60 * SECOND;
/** The shortest time between two writes of a known address's `last`, so that not every greeting costs an fsync. */
export const HOST_TOUCH_MS = 60 * 60 * SECOND;
/** The shortest time between two writes of a token's `used`, so that not every login costs an fsync. */
export const TOKEN_TOUCH_MS = 60 * 60 * SECOND;

/** Longest configuration file: the time to parse one grows with the square of its keys (0.2 s for 8000, Bun 1.4.5). */
export const MAX_CONFIG_BYTES = 64 * KIB;

/** A signal that is repeated within this time is the same one: `bun run` passes Ctrl-C on twice (measured with Bun 1.4.5). */
export const SAME_SIGNAL_MS = 500;

/** How long a change of a file waits for its lock. */
export const LOCK_TIMEOUT_MS = 10 * SECOND;
/** Pause between two commits of one process, so that other processes get the lock. */
export const COMMIT_PAUSE_MS = 2;
/** When a client may try again whose login found the engine of the store unreachable, in seconds. */
export const STORE_RETRY_SECONDS = 1;
/** The port of Redis and Valkey, registered at IANA. */
export const ENGINE_PORT = 6379;
/** Longest wait for the answer to a command: an engine takes less than a millisecond, and one that is silent for so long hangs. */
export const STORE_TIMEOUT_MS = SECOND;
/**
 * An engine that leaves a blocking command unanswered for so long hangs. The command blocks for a part of that, and logins are
 * refused after it, since a revocation could be unknown.
 */
export const FEED_SILENCE_MS = 800;
/** A deadline that passes so late was held up by this process: it is extended by as much, since the answer may have arrived. */
export const HELD_UP_MS = 50;
/** From the start of a connection to the engine until its greeting is answered. */
export const ENGINE_DIAL_TIMEOUT_MS = SECOND;
/** How long one sentinel is waited for, before the next one is asked: three of them fit into 2 s. */
export const SENTINEL_TIMEOUT_MS = SECOND / 2;
/** The first pause between two tries to reach the engine; each further one is twice as long. */
export const ENGINE_RETRY_FIRST_MS = 50;
/** The longest pause between two tries to reach the engine, so that a store is back within 2 s of it. */
export const ENGINE_RETRY_MAX_MS = SECOND / 2;
/** A session with the engine that lasted for so long is followed by a new one at once, and a shorter one after a pause. */
export const ENGINE_HELD_MS = 20;
/** A try to reach the engine that takes so long is examined for the reason, and so is one that fails. */
export const ENGINE_SLOW_MS = SECOND / 4;
/** How long the engine is examined at most; once more for the other kind of connection, TLS or plain text. */
export const ENGINE_EXAMINATION_MS = (3 * SECOND) / 4;
/** How often an engine that stays away is examined: a dial that hangs keeps its descriptor for two minutes. */
export const ENGINE_EXAMINATION_PAUSE_MS = 5 * SECOND;
/** Longest answer over a raw connection to an engine or a sentinel: a greeting has 200 bytes. */
export const MAX_RAW_REPLY_BYTES = 64 * KIB;
/** How long a read of the log waits in the engine for the next change. A part of {@link FEED_SILENCE_MS}. */
export const FEED_BLOCK_MS = 300;
/** How long a process waits at its start for all records of the engine: 100,000 users take 1 s. */
export const STORE_OPEN_MS = 10 * SECOND;
/** Records that one change in an engine reads and writes, at most: the engine answers no one else for 5 ms. */
export const MAX_RECORDS_IN_CHANGE = 1000;
/** How often a server examines tokens of the engine: see TOKENS_EXAMINED. */
export const PRUNE_INTERVAL_MS = 10 * SECOND;
/** How soon after a change a server writes the list of its sessions. */
export const STATUS_FILE_MS = 500;
/** How often a server says to the engine that it lives. */
export const SESSION_BEAT_MS = 2 * SECOND;
/** A server that the engine has not heard for so long counts as dead: three times {@link SESSION_BEAT_MS}. */
export const SILENT_SERVER_MS = 6 * SECOND;
/** Such a server may only be cut off from the engine: what its last list names counts as in use for so long. */
export const LOST_SERVER_MS = 60 * 60 * SECOND;
/** A shorter journal of the store is not folded, so that a fold is rare. */
export const MIN_FOLD_BYTES = 64 * 1024;
/** How often a watched file is checked without an event. */
export const WATCH_INTERVAL_MS = 500;
