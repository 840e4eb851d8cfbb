// A received message: what a service may ask of it, and what it may do with what it got.

import { describe, expect, test } from "bun:test";
import { MessageError } from "../../src/wire/codec.ts";
import { FrameDecoder } from "../../src/wire/frame.ts";
import { ReceivedMessage } from "../../src/wire/received-message.ts";
import { frame } from "../support/peer.ts";

/** The messages of frames that come in one chunk. */
function messages(...payloads: (string | Uint8Array)[]): ReceivedMessage[] {
  const decoder = new FrameDecoder(1000);
  decoder.push(Buffer.concat(payloads.map((payload) => frame(payload))));
  const all: ReceivedMessage[] = [];
  while (decoder.take()) all.push(decoder.message);
  return all;
}

const one = (payload: string | Uint8Array) => messages("before", payload, "after")[1]!;

describe("text", () => {
  test.each(["", "plain", "ж 你好 👍", "\uFEFFmarked", "\uFFFD itself", "a\0b", "\uFFFD".repeat(99)])(
    "is %j again",
    (text) => {
      expect(one(text).text()).toBe(text);
      const message = one(text);
      expect(message.bytes.length).toBe(message.length);
      expect(message.text()).toBe(text);
      expect(String(one(text))).toBe(text);
    },
  );

  test.each(["ff", "61ff62", "c3", "eda080", "f4908080", "c0af", "efbfbdff", "e4bda0e5"])(
    "is refused in bytes %s, with bytes and without",
    (hex) => {
      const bytes = Buffer.from(hex, "hex");
      expect(() => one(bytes).text()).toThrow(MessageError);
      const message = one(bytes);
      expect(Buffer.from(message.bytes).toString("hex")).toBe(hex);
      expect(() => message.text()).toThrow("the message is not UTF-8 text");
    },
  );

  test("of every two bytes is what the strict decoder says", () => {
    const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    const outcome = (decode: () => string) => {
      try {
        return decode();
      } catch {
        return undefined;
      }
    };
    for (let pair = 0; pair < 0x10000; pair++) {
      const bytes = Uint8Array.of(pair >> 8, pair & 0xff);
      const expected = outcome(() => strict.decode(bytes));
      if (outcome(() => new ReceivedMessage(bytes).text()) !== expected) expect(pair.toString(16)).toBe("");
    }
  });
});

test("json is the value, or an error that the client gets", () => {
  expect(one('{"a":[1,null]}').json()).toEqual({ a: [1, null] });
  expect(() => one("{a}").json()).toThrow("the message is not JSON");
  expect(() => one(Buffer.from("ff", "hex")).json()).toThrow("the message is not UTF-8 text");
});

test("bytes are the same array each time, and no other message changes with them", () => {
  const [first, second] = messages("one", "two");
  const bytes = first!.bytes;
  bytes.fill(120);
  expect(first!.bytes).toBe(bytes);
  expect(first!.text()).toBe("xxx");
  expect(second!.text()).toBe("two");
});

test("bytes that were asked for after it was sent are a copy", () => {
  const message = one("hello");
  const chunk = message.share()!;
  message.bytes.fill(120);
  expect(Buffer.from(chunk.subarray(message.start, message.end)).toString()).toBe("hello");
  expect(message.text()).toBe("xxxxx");
  expect(message.share()).toBeUndefined();
});
