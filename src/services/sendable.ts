// What a service sends, as what a connection takes: text, bytes, or a received message. Sessions and rooms use it.

import { HEADER_BYTES, writeHeader } from "../wire/frame.ts";
import { ReceivedMessage } from "../wire/received-message.ts";
import { nameOf } from "./arguments.ts";
import { MisuseError, type Sendable } from "./service.ts";

/** Kinds of objects that JSON would write as `{}`, or not as a reader expects. */
const NO_JSON = [Promise, Map, Set, WeakMap, WeakSet, ArrayBuffer, SharedArrayBuffer, RegExp, Error, Blob];

/** @throws {MisuseError} for a value that is no message. */
export function payloadOf(message: Sendable): string | Uint8Array | ReceivedMessage {
  if (message instanceof ReceivedMessage || typeof message === "string" || message instanceof Uint8Array)
    return message;
  const value: unknown = message; // a handler may pass any value
  if (typeof value !== "object" || value === null)
    throw new MisuseError(`a message is text, bytes or an object, not ${nameOf(value)}`);
  if (value instanceof Promise)
    throw new MisuseError("a message is text, bytes or an object: await the promise first");
  if (ArrayBuffer.isView(value) || NO_JSON.some((kind) => value instanceof kind))
    throw new MisuseError(`a message is text, bytes or an object for JSON, not ${value.constructor.name}`);
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined)
    throw new MisuseError("a message is text, bytes or an object: its toJSON returns undefined");
  return text;
}

/** The same, encoded once for several sessions: a message with memory of its own, from which it is sent to each of them. */
export function encodedOf(message: Sendable): ReceivedMessage {
  const payload = payloadOf(message);
  const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
  const frame = Buffer.allocUnsafeSlow(HEADER_BYTES + bytes.length);
  writeHeader(frame, 0, bytes.length);
  if (bytes instanceof ReceivedMessage) bytes.copyTo(frame, HEADER_BYTES);
  else frame.set(bytes, HEADER_BYTES);
  return new ReceivedMessage(frame, HEADER_BYTES);
}
