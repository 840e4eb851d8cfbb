// Replies in RESP2: whole, in pieces, too long, and of another protocol.

import { describe, expect, test } from "bun:test";
import { MAX_RAW_REPLY_BYTES } from "../../src/base/limits.ts";
import { ErrorReply, parseReply } from "../../src/engine/raw-reply.ts";

const WHOLE: [string, unknown][] = [
  ["+OK\r\n", "OK"],
  ["-ERR no\r\n", new ErrorReply("ERR no")],
  [":-12\r\n", -12],
  ["$5\r\na\r\nbc\r\n", "a\r\nbc"],
  ["$0\r\n\r\n", ""],
  ["$-1\r\n", null],
  ["*-1\r\n", null],
  ["*0\r\n", []],
  ["*3\r\n$1\r\nx\r\n*1\r\n:1\r\n-ERR\r\n", ["x", [1], new ErrorReply("ERR")]],
];

describe("a reply", () => {
  test.each(WHOLE)("%j is read", (text, reply) => {
    expect(parseReply(Buffer.from(text))).toEqual({ reply: reply as never, end: text.length });
    expect(parseReply(Buffer.from(`ab${text}+next\r\n`), 2)?.end).toBe(2 + text.length);
  });

  test.each(WHOLE)("%j is awaited until it is whole", (text) => {
    for (let length = 0; length < text.length; length++) {
      expect(parseReply(Buffer.from(text.slice(0, length)))).toBeUndefined();
    }
  });

  test.each([
    "HTTP/1.1 400 Bad Request\r\n",
    "SSH-2.0-x\r\n",
    "\x15\x03\x01\0\x02\x02\x16",
    ":x\r\n",
    "$9999999999999999\r\n",
    `$${MAX_RAW_REPLY_BYTES + 1}\r\n`,
    `+${"x".repeat(MAX_RAW_REPLY_BYTES + 1)}`,
    "*1\r\n".repeat(10),
  ])("%j is none", (text) => {
    expect(() => parseReply(Buffer.from(text))).toThrow(RangeError);
  });
});
