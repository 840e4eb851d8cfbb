// The JSON messages of parley's own: their members, their types and their codes. docs/protocol.md describes them, and codec.ts
// encodes and decodes them.
//
//     server → client   hello, welcome, refused, error          client → server   login
//     either            control: end, bye, ping, pong, ack, stderr, window   (in control frames, after welcome)
//
// Unknown members are ignored, so that later versions can add some.

import * as v from "valibot";
import { MAX_TERM_LENGTH, MAX_WINDOW_CELLS } from "../base/limits.ts";

/** The message of a `bye` with `done`, where the service has said nothing. */
export const DONE_MESSAGE = "the conversation is over";

/** The value of `hello.protocol` in version 1. */
export const PROTOCOL = "parley/1";
/** Bytes of `hello.nonce` before base64. */
export const NONCE_BYTES = 24;

const Text = v.string();
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const Seconds = v.pipe(v.number(), v.finite(), v.minValue(0));

const Cells = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(MAX_WINDOW_CELLS));
/** The size of a terminal, in characters. */
const size = { columns: Cells, rows: Cells };

/** The kind of a terminal, as in `$TERM`. It becomes part of a path to a file of terminfo. */
const Term = v.pipe(Text, v.regex(/^[a-z0-9._+-]+$/), v.maxLength(MAX_TERM_LENGTH));

/** True when `text` names a kind of terminal. */
export function isTerm(text: string | undefined): text is string {
  return v.is(Term, text);
}

const ClientTerminal = v.object({ term: v.optional(Term), ...size });

const Hello = v.object({
  type: v.literal("hello"),
  protocol: Text,
  service: Text,
  /** The login methods that the server accepts from this client, the preferred one first. */
  auth: v.pipe(v.array(Text), v.minLength(1)),
  /** The name that belongs to the client's address (`--auth ip`). */
  user: v.optional(Text),
  /** The server's identity. A token is valid for the server that had this identity when it issued the token. */
  server: v.optional(Text),
  /** base64 of {@link NONCE_BYTES} random bytes, fresh for each connection. */
  nonce: v.pipe(Text, v.base64()),
  /** Over TLS: the bindings that the server accepts for proofs. A server without this member accepts `tls-exporter`. */
  bindings: v.optional(v.array(Text)),
  /** Longest payload that the server reads after `welcome`, in bytes. */
  max_frame: v.pipe(Count, v.minValue(1)),
  /** `lines`: each message is a line, so a client may not cut its input elsewhere. `bytes`: the messages are a stream of bytes. */
  messages: v.optional(Text),
  /** True: the service is a program on a terminal. A client that is one, too, says so in its login. */
  terminal: v.optional(v.boolean()),
});

/** Members that every login may have. */
const loginOptions = {
  /** True: the client understands control frames. */
  control: v.optional(v.boolean()),
  /** False: the server should issue no token, since the client would not keep it. */
  token: v.optional(v.boolean()),
  /** Seconds for which the server should keep the session after a loss of the connection. 0: the client will not reconnect. */
  resume_for: v.optional(Seconds),
  /** Bytes that the server may leave unacknowledged; the client has room for them (default: 1 MiB). */
  window: v.optional(Count),
  /** The client is a terminal: the messages are what its keys send, and what it shows. For a server whose `hello` has `terminal`. */
  terminal: v.optional(ClientTerminal),
};

/** What a proof is bound to; `tls-exporter` without it. */
const binding = v.optional(Text);

export const Login = v.variant("method", [
  v.object({ type: v.literal("login"), method: v.literal("none"), ...loginOptions }),
  v.object({ type: v.literal("login"), method: v.literal("ip"), ...loginOptions }),
  v.object({ type: v.literal("login"), method: v.literal("name"), user: Text, ...loginOptions }),
  v.object({
    type: v.literal("login"),
    method: v.picklist(["password", "register"]),
    user: Text,
    password: Text,
    ...loginOptions,
  }),
  v.object({
    type: v.literal("login"),
    method: v.literal("token"),
    id: Text,
    /** base64 of the token's 32 proof bytes. */
    proof: v.pipe(Text, v.base64()),
    binding,
    /** True: end this token and every session that was begun with it, including this one. */
    logout: v.optional(v.boolean()),
    ...loginOptions,
  }),
  v.object({
    type: v.literal("login"),
    method: v.literal("resume"),
    /** `session` of the `welcome` that began the session. */
    session: Text,
    proof: v.pipe(Text, v.base64()),
    binding,
    /** The number of payloads that the client has received in this session. */
    received: Count,
    ...loginOptions,
  }),
]);

const Welcome = v.object({
  type: v.literal("welcome"),
  /** The user that has logged in; null on a server without logins. */
  user: v.nullable(Text),
  /** True when the server knew this client before. */
  known: v.boolean(),
  /** A new token, when the server has issued one. */
  token: v.optional(Text),
  /** When the new token expires. */
  expires: v.optional(v.pipe(Text, v.isoTimestamp())),
  /** The server's identity, with a token: `hello` lacks it until the first token was issued. */
  server: v.optional(Text),
  last_login: v.optional(Text),
  control: v.optional(v.boolean()),
  /** Seconds of silence after which the server sends `ping`. A client that pings as often gets none. */
  keepalive: v.optional(Seconds),
  /** The name of the session, to resume it with. */
  session: v.optional(Text),
  /** base64 of the 32-byte secret to resume the session with. */
  resume_key: v.optional(v.pipe(Text, v.base64())),
  /** Seconds for which the session can be resumed after a loss of the connection. */
  resume_for: v.optional(Seconds),
  /** Bytes that the client may leave unacknowledged; the server has room for them (default: 1 MiB). */
  window: v.optional(Count),
  /** True when the session was resumed, and is not a new one. */
  resumed: v.optional(v.boolean()),
  /** The number of payloads that the server has received in the resumed session. */
  received: v.optional(Count),
});

const Refused = v.object({
  type: v.literal("refused"),
  code: Text,
  message: Text,
  attempts_left: Count,
});

const Failure = v.object({
  type: v.literal("error"),
  code: Text,
  message: Text,
  /** Seconds after which another attempt may succeed. */
  retry_after: v.optional(Seconds),
});

export const Control = v.variant("type", [
  v.object({ type: v.literal("end") }),
  v.object({
    type: v.literal("bye"),
    code: Text,
    message: Text,
    status: v.optional(v.number()),
  }),
  v.object({ type: v.literal("ping"), n: Count }),
  v.object({ type: v.literal("pong"), n: Count }),
  v.object({ type: v.literal("stderr"), text: Text }),
  v.object({ type: v.literal("ack"), received: Count }),
  v.object({ type: v.literal("window"), ...size }),
]);

export const FromServer = v.variant("type", [Hello, Welcome, Refused, Failure]);

/** The client's terminal at its login. */
export type ClientTerminal = v.InferOutput<typeof ClientTerminal>;
export type WindowSize = Pick<ClientTerminal, "columns" | "rows">;

export type Hello = v.InferOutput<typeof Hello>;
export type Login = v.InferOutput<typeof Login>;
export type Welcome = v.InferOutput<typeof Welcome>;
export type Refused = v.InferOutput<typeof Refused>;
/** An `error` message. The connection ends after it. */
export type Failure = v.InferOutput<typeof Failure>;
export type FromServer = v.InferOutput<typeof FromServer>;
export type Control = v.InferOutput<typeof Control>;

/** Codes of `error`, before `welcome` (docs/protocol.md). */
export type FailureCode =
  | "bad_message"
  | "bad_length"
  | "timeout"
  | "too_many_attempts"
  | "full"
  | "too_many_from_address"
  | "penalised"
  | "denied"
  | "busy"
  | "disabled"
  | "login_required"
  | "shutting_down";

/** Codes of `bye` (docs/protocol.md). */
export const BYE_CODES = [
  "done",
  "shutting_down",
  "revoked",
  "disabled",
  "replaced",
  "idle",
  "timeout",
  "too_slow",
  "bad_length",
  "bad_message",
  "service_failed",
  "unreachable",
  "reset",
] as const;
export type ByeCode = (typeof BYE_CODES)[number];
