// Replies of an engine in RESP2, as raw connections read them.

import { MAX_RAW_REPLY_BYTES } from "../base/limits.ts";

/** An error reply is an {@link ErrorReply}, so that a reply can have one inside. */
export type RawReply = string | number | null | ErrorReply | readonly RawReply[];

export class ErrorReply {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export interface ParsedReply {
  reply: RawReply;
  /** Where the next reply begins. */
  end: number;
}

/** A reply has no deeper arrays: `SENTINEL` and `HELLO` answer with one or two levels. */
const MAX_DEPTH = 4;

/** The reply that begins at `from`; undefined when it is not whole. @throws {RangeError} when that is not RESP2. */
export function parseReply(bytes: Buffer, from = 0, depth = 0): ParsedReply | undefined {
  if (bytes.length === from) return undefined;
  const kind = String.fromCharCode(bytes[from] ?? 0);
  if (!"+-:$*".includes(kind) || depth > MAX_DEPTH) throw new RangeError("not a reply");
  const lineEnd = bytes.indexOf("\r\n", from, "latin1");
  if (lineEnd === -1) return bytes.length - from > MAX_RAW_REPLY_BYTES ? tooLong() : undefined;
  const line = bytes.toString("utf8", from + 1, lineEnd);
  const end = lineEnd + 2;
  if (kind === "+") return { reply: line, end };
  if (kind === "-") return { reply: new ErrorReply(line), end };
  if (!/^-?\d{1,15}$/.test(line)) throw new RangeError("not a number");
  const number = Number(line);
  if (kind === ":") return { reply: number, end };
  if (number < 0) return { reply: null, end };
  return kind === "$" ? parseBulk(bytes, end, number) : parseArray(bytes, end, number, depth);
}

function parseBulk(bytes: Buffer, from: number, length: number): ParsedReply | undefined {
  if (length > MAX_RAW_REPLY_BYTES) return tooLong();
  if (bytes.length < from + length + 2) return undefined;
  return { reply: bytes.toString("utf8", from, from + length), end: from + length + 2 };
}

function parseArray(bytes: Buffer, from: number, count: number, depth: number): ParsedReply | undefined {
  const reply: RawReply[] = [];
  let end = from;
  while (reply.length < count) {
    const item = parseReply(bytes, end, depth + 1);
    if (item === undefined) return undefined;
    reply.push(item.reply);
    ({ end } = item);
  }
  return { reply, end };
}

function tooLong(): never {
  throw new RangeError("too long for a reply");
}
