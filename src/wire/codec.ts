// Encodes and decodes the messages of message.ts, strictly. The handshake, the session and the client call it. Pure: no I/O, no
// clock, no randomness.
//
// `type` is written first and without white space, so that a peer without a JSON library can match a prefix.

import * as v from "valibot";
import { ParleyError } from "../base/errors.ts";
import { Control, FromServer, Login } from "./message.ts";

/** The peer sent a payload that is no message of this protocol. The connection must be closed. */
export class MessageError extends ParleyError<"bad_message"> {
  override name = "MessageError";
}

/** A byte order mark is part of a message. */
const STRICT_UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const TYPE_FIRST = '{"type":';
const CONTROL_TYPES: ReadonlySet<string> = new Set(
  Control.options.map(({ entries }) => entries.type.literal),
);
const Typed = v.object({ type: v.string() });

/** The JSON text of a message, `type` first. */
export function encodeMessage(message: FromServer | Login | Control): string {
  const text = JSON.stringify(message);
  if (text.startsWith(TYPE_FIRST)) return text;
  const { type, ...rest } = message;
  return JSON.stringify({ type, ...rest });
}

/** Decodes a login. @throws {MessageError} when `payload` is none. */
export function decodeLogin(payload: Uint8Array): Login {
  return decode(Login, payload, "a login");
}

/** Decodes a message that a server sends before the session. @throws {MessageError} when `payload` is none. */
export function decodeFromServer(payload: Uint8Array): FromServer {
  return decode(FromServer, payload, "a message of a parley server");
}

/** Decodes a control message; undefined for a type of a later version. @throws {MessageError} when `payload` is none. */
export function decodeControl(payload: Uint8Array): Control | undefined {
  const value = parse(payload);
  if (v.is(Typed, value) && !CONTROL_TYPES.has(value.type)) return undefined;
  return check(Control, value, "a control message");
}

/** Encodes an `ack`, without an object, since acknowledgements are frequent. */
export function encodeAck(received: number): string {
  return `${ACK_START}${received}}`;
}

/** The number in an `ack` that {@link encodeAck} wrote; undefined for any other payload. */
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
 * Decodes the text of a payload as strict UTF-8.
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
        ? `expected ${expected}: ${path} is missing`
        : `expected ${expected}: ${path} must be ${issue.expected ?? "as documented"}`,
  );
}

function badMessage(message: string): MessageError {
  return new MessageError("bad_message", message, { peerMessage: message });
}
