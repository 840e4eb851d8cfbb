// Payloads that parley itself understands: the session's JSON messages, encoded and decoded strictly, both directions.
//
//     server → client   hello, welcome, refused, error          client → server   login
//     either            control: end, bye, ping, pong, ack, stderr   (in control frames, after welcome)
//
// `type` is written first and without white space, so that a peer without a JSON library can match a prefix. Unknown
// members are ignored, so that later versions can add some. Pure: no I/O, no clock, no randomness.

import * as v from "valibot";
import { ParleyError } from "../base/errors.ts";

/** What `hello.protocol` says in version 1. */
export const PROTOCOL = "parley/1";
/** Bytes of `hello.nonce` before base64. */
export const NONCE_BYTES = 24;

/** The peer sent a payload that is no message of this protocol. The connection cannot go on. */
export class MessageError extends ParleyError<"bad_message"> {
  override name = "MessageError";
}

/** A byte order mark is part of a message. */
const STRICT_UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const Text = v.string();
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const Seconds = v.pipe(v.number(), v.finite(), v.minValue(0));

const Hello = v.object({
  type: v.literal("hello"),
  protocol: Text,
  service: Text,
  /** What this server accepts from this client, in order of preference. */
  auth: v.pipe(v.array(Text), v.minLength(1)),
  /** The name this address is known by (`--auth ip`). */
  user: v.optional(Text),
  /** Which server it is: a token is good for the one that says the same as when it was issued. */
  server: v.optional(Text),
  /** base64 of {@link NONCE_BYTES} random bytes, fresh for each connection. */
  nonce: v.pipe(Text, v.base64()),
  /** Longest payload the server reads after welcome, in bytes. */
  max_frame: v.pipe(Count, v.minValue(1)),
  /** `lines`: the service takes and gives lines, and a message cannot be cut elsewhere. */
  messages: v.optional(Text),
});

/** Members that every login may carry. */
const loginOptions = {
  /** The client understands control frames. */
  control: v.optional(v.boolean()),
  /** `false`: the client will not keep a session token, do not issue one. */
  token: v.optional(v.boolean()),
  /** How long the client would like to have its session kept after a loss, in seconds; 0: it will not come back. */
  resume_for: v.optional(Seconds),
};

const Login = v.variant("method", [
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
    /** `true`: end this token and every conversation of it, this one included. */
    logout: v.optional(v.boolean()),
    ...loginOptions,
  }),
  v.object({
    type: v.literal("login"),
    method: v.literal("resume"),
    /** As in the `welcome` that began the session. */
    session: Text,
    proof: v.pipe(Text, v.base64()),
    /** Payloads received of the server in this session, in all. */
    received: Count,
    ...loginOptions,
  }),
]);

const Welcome = v.object({
  type: v.literal("welcome"),
  /** Who the server took the client for; null when nobody needs to log in. */
  user: v.nullable(Text),
  /** Was this client known before? */
  known: v.boolean(),
  /** A new session token, when one was issued. */
  token: v.optional(Text),
  expires: v.optional(v.pipe(Text, v.isoTimestamp())),
  /** With a token: as in `hello`, which could not say it before the first token was issued. */
  server: v.optional(Text),
  last_login: v.optional(Text),
  control: v.optional(v.boolean()),
  /** Seconds of silence after which the server asks with `ping`; a client that pings as often is never asked. */
  keepalive: v.optional(Seconds),
  /** What to come back with after a loss, within `resume_for` seconds: the session's name, and base64 of a 32-byte secret. */
  session: v.optional(Text),
  resume_key: v.optional(v.pipe(Text, v.base64())),
  resume_for: v.optional(Seconds),
  /** The session goes on, and the server has received so many payloads of it. */
  resumed: v.optional(v.boolean()),
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
  /** Seconds after which trying again makes sense. */
  retry_after: v.optional(Seconds),
});

const Control = v.variant("type", [
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
]);

const CONTROL_TYPES: ReadonlySet<string> = new Set(["end", "bye", "ping", "pong", "stderr", "ack"]);
const Typed = v.object({ type: Text });

const FromServer = v.variant("type", [Hello, Welcome, Refused, Failure]);

export type Hello = v.InferOutput<typeof Hello>;
export type Login = v.InferOutput<typeof Login>;
export type Welcome = v.InferOutput<typeof Welcome>;
export type Refused = v.InferOutput<typeof Refused>;
/** An `error` message: the connection ends after it. */
export type Failure = v.InferOutput<typeof Failure>;
export type FromServer = v.InferOutput<typeof FromServer>;
export type Control = v.InferOutput<typeof Control>;

/** Codes of `error` before welcome (wire protocol, 3.3). */
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

/** Codes of `bye` (wire protocol, section 4). */
export type ByeCode =
  | "done"
  | "shutting_down"
  | "revoked"
  | "disabled"
  | "replaced"
  | "idle"
  | "timeout"
  | "too_slow"
  | "bad_length"
  | "bad_message"
  | "service_failed";

/** The JSON text of a message, `type` first. */
export function encodeMessage(message: FromServer | Login | Control): string {
  const { type, ...rest } = message;
  return JSON.stringify({ type, ...rest });
}

/** @throws {MessageError} when `payload` is no login. */
export function decodeLogin(payload: Uint8Array): Login {
  return decode(Login, payload, "a login");
}

/** @throws {MessageError} when `payload` is nothing a server says before the conversation. */
export function decodeFromServer(payload: Uint8Array): FromServer {
  return decode(FromServer, payload, "a message of a parley server");
}

/** @throws {MessageError} when `payload` is no control message; undefined for a type of a later version. */
export function decodeControl(payload: Uint8Array): Control | undefined {
  const value = parse(payload);
  if (v.is(Typed, value) && !CONTROL_TYPES.has(value.type)) return undefined;
  return check(Control, value, "a control message");
}

/** An `ack`, without the detour over an object: they come often. */
export function encodeAck(received: number): string {
  return `${ACK_START}${received}}`;
}

/** What an `ack` as {@link encodeAck} writes it says; undefined for any other control message. */
export function readAck(payload: Uint8Array): number | undefined {
  const end = payload.length - 1;
  if (end <= ACK_START.length || end > ACK_START.length + 15 || payload[end] !== 0x7d) return undefined;
  for (let index = 0; index < ACK_START.length; index++) {
    if (payload[index] !== ACK_PREFIX[index]) return undefined;
  }
  let received = 0;
  for (let index = ACK_START.length; index < end; index++) {
    const digit = payload[index]! - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    received = 10 * received + digit;
  }
  return received;
}

const ACK_START = '{"type":"ack","received":';
const ACK_PREFIX = Buffer.from(ACK_START);

/**
 * The text of a payload, decoded as strict UTF-8.
 *
 * @throws {MessageError} when the bytes are not UTF-8.
 */
export function decodeText(payload: Uint8Array): string {
  try {
    return STRICT_UTF8.decode(payload);
  } catch {
    throw badMessage("the message is not UTF-8 text");
  }
}

function decode<S extends v.GenericSchema>(
  schema: S,
  payload: Uint8Array,
  expected: string,
): v.InferOutput<S> {
  return check(schema, parse(payload), expected);
}

function parse(payload: Uint8Array): unknown {
  if (payload[0] === 0x80) {
    throw badMessage("this is a Python pickle: use send_bytes() and recv_bytes(), not send() and recv()");
  }
  const text = decodeText(payload);
  try {
    return JSON.parse(text);
  } catch {
    throw badMessage("expected one JSON object in a frame");
  }
}

function check<S extends v.GenericSchema>(schema: S, value: unknown, expected: string): v.InferOutput<S> {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const path = v.getDotPath(issue);
  // The issue's own message would quote what the peer sent, perhaps a password.
  throw badMessage(
    path === null
      ? `expected ${expected}`
      : issue.received === "undefined"
        ? `expected ${expected}, with ${path}`
        : `expected ${expected}, with ${path} as ${issue.expected ?? "documented"}`,
  );
}

function badMessage(message: string): MessageError {
  return new MessageError("bad_message", message, { peerMessage: message });
}
