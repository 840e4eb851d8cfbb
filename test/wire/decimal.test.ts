// Frames with a decimal header: what is one and what is not, torn at every byte, and any frames with any padding, cut anywhere.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decimalFraming } from "../../src/wire/decimal.ts";
import { FrameDecoder, FrameError, MAX_PAYLOAD_BYTES } from "../../src/wire/frame.ts";

const TEN = decimalFraming(10);
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "latin1"));

function decoderOf(text: string, { framing = TEN, limit = 1000, control = false } = {}): FrameDecoder {
  const decoder = new FrameDecoder(limit, framing);
  decoder.control = control;
  decoder.push(bytes(text));
  return decoder;
}

function texts(decoder: FrameDecoder): string[] {
  const all: string[] = [];
  for (let payload = decoder.next(); payload !== undefined; payload = decoder.next()) {
    all.push(Buffer.from(payload).toString("latin1"));
  }
  return all;
}

function errorOf(action: () => unknown): FrameError {
  try {
    action();
  } catch (error) {
    if (error instanceof FrameError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("a header", () => {
  test.each([
    ["0000000005", 5], // str(n).zfill(10)
    ["         5", 5], // f"{n:>10}"
    ["5         ", 5], // f"{n:<10}"
    ["    5     ", 5], // f"{n:^10}"
    ["  005     ", 5],
    ["0000000000", 0],
    ["         0", 0],
    ["0000001000", 1000],
  ])("%j is a length of %d", (header, length) => {
    const payload = "x".repeat(length);
    expect(texts(decoderOf(`${header}${payload}0000000001y`))).toEqual([payload, "y"]);
  });

  test.each([
    ["          ", "          "],
    ["000000000a", "000000000a"],
    ["+000000005", "+000000005"],
    ["-000000005", "-000000005"],
    ["0000 00005", "0000 00005"],
    ["00000005.0", "00000005.0"],
    ["0x00000005", "0x00000005"],
    ["5\nhello\n1\n", "5\\x0ahello\\x0a1\\x0a"],
    ["5\0\0\0\0\0\0\0\0\0", "5\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00"],
    ["\t\t\t\t\t\t\t\t\t5", "\\x09\\x09\\x09\\x09\\x09\\x09\\x09\\x09\\x095"],
    ["\0\0\0\x05hello\0", "\\x00\\x00\\x00\\x05hello\\x00"], // 4 bytes of length
    ["\xd0\xb2\xd0\xb5\xd1\x820000", "\\xd0\\xb2\\xd0\\xb5\\xd1\\x820000"],
    ["\xff\xff\xff\xff\0\0\0\0\0\0", "\\xff\\xff\\xff\\xff\\x00\\x00\\x00\\x00\\x00\\x00"],
    ["\x80\0\0\x02hihihi", "\\x80\\x00\\x00\\x02hihihi"], // there are no control frames
    ['"\\\x1b[2J\x7f\u009b99', "\\x22\\x5c\\x1b[2J\\x7f\\x9b99"],
  ])("%j is bad_length, and shown without a character that acts", (header, shown) => {
    for (const control of [false, true]) {
      const decoder = decoderOf(`0000000002hi${header}`, { control });
      expect(Buffer.from(decoder.next()!).toString()).toBe("hi");
      const error = errorOf(() => decoder.next());
      expect([error.code, error.message]).toEqual([
        "bad_length",
        `invalid frame header "${shown}" instead of a length in 10 digits`,
      ]);
      expect(errorOf(() => decoder.next())).toBe(error);
    }
  });

  test.each([1, 2, 3, 10, 19, 20])("of %d digits is written with zeros, up to its last length", (digits) => {
    const { write, maxPayloadBytes, headerBytes } = decimalFraming(digits);
    expect(headerBytes).toBe(digits);
    for (const length of [0, 7, maxPayloadBytes]) {
      const target = bytes("e".repeat(digits + 2));
      write(target, 1, length);
      expect(Buffer.from(target).toString()).toBe(`e${String(length).padStart(digits, "0")}e`);
    }
    const target = bytes("e".repeat(digits));
    expect(() => write(target, 0, maxPayloadBytes + 1)).toThrow(
      `a length of at most ${maxPayloadBytes}, not `,
    );
    expect(Buffer.from(target).toString()).toBe("e".repeat(digits));
  });

  test("holds what its digits can say, and no more than any frame of parley", () => {
    const longest = [1, 3, 9, 10, 20].map((digits) => decimalFraming(digits).maxPayloadBytes);
    expect(longest).toEqual([9, 999, 999_999_999, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES]);
  });

  test.each([
    [10, 1000, "0000001001", "frame of 1001 bytes is over the limit of 1000"],
    [10, 1000, "9999999999", "frame of 9999999999 bytes is over the limit of 1000"],
    [10, 1000, "4294967295", "frame of 4294967295 bytes is over the limit of 1000"], // as 32 bits, the escape
    [10, 1000, "2147483650", "frame of 2147483650 bytes is over the limit of 1000"], // as 32 bits, a control frame
    [16, 1000, "9007199254740991", "frame of 9007199254740991 bytes is over the limit of 1000"],
    [20, 1000, "9".repeat(20), "frame of more than 9007199254740991 bytes is over the limit of 1000"],
  ])("of %d digits over a limit of %d is refused when it is whole: %s", (digits, limit, header, message) => {
    const decoder = decoderOf("", { framing: decimalFraming(digits), limit, control: true });
    for (const byte of bytes(header.slice(0, -1))) {
      decoder.push(Uint8Array.of(byte));
      expect(decoder.next()).toBeUndefined();
    }
    decoder.push(bytes(header.slice(-1)));
    const error = errorOf(() => decoder.next());
    expect([error.code, error.message]).toEqual(["frame_too_large", message]);
  });
});

describe("torn", () => {
  const long = "b".repeat(700);
  const stream = `00000000000000000001a0000000700${long}   2      cd         0         00000000002\n\n`;
  const expected = ["", "a", long, "cd", "", "", "\n\n"];

  test("at any byte, or at each, the stream has the same frames, and ends between two", () => {
    const whole = bytes(stream);
    const cuts = Array.from({ length: whole.length + 1 }, (_, cut) => [
      whole.slice(0, cut),
      whole.slice(cut),
    ]);
    for (const pieces of [...cuts, Array.from(whole, (byte) => Uint8Array.of(byte))]) {
      const decoder = decoderOf("");
      const given = pieces.flatMap((piece) => {
        decoder.push(piece);
        return texts(decoder);
      });
      expect(given).toEqual(expected);
      expect(decoder.buffered).toBe(0);
      decoder.end();
    }
  });

  test("the end inside a header or a payload is frame_cut", () => {
    for (let cut = 1; cut < 15; cut++) {
      const decoder = decoderOf("0000000002hi0000000005hello".slice(0, 12 + cut));
      expect(texts(decoder)).toEqual(["hi"]);
      const error = errorOf(() => decoder.end());
      expect([error.code, error.message]).toEqual([
        "frame_cut",
        `the stream ended inside a frame, ${cut} bytes into it`,
      ]);
    }
  });
});

test("any frames, with any padding and digits, come out once, in order and unchanged, wherever they are cut", () => {
  const frame = fc.record({
    length: fc.oneof(fc.nat(20), fc.nat(3000)),
    before: fc.nat(20),
    behind: fc.nat(20),
  });
  const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });
  fc.assert(
    fc.property(
      fc.integer({ min: 4, max: 20 }),
      fc.array(frame, { maxLength: 12 }),
      cuts,
      (digits, frames, where) => {
        const framing = decimalFraming(digits);
        const payloads = frames.map(({ length }, index) => Buffer.alloc(length, `${index} `));
        const encoded = frames.map(({ length, before, behind }, index) => {
          const header = Buffer.alloc(digits);
          framing.write(header, 0, length);
          const room = digits - String(length).length;
          const first = Math.min(before, room);
          header.fill(" ", 0, first);
          const last = Math.min(behind, room - first);
          // Spaces behind move the digits to the front.
          const text = `${" ".repeat(first)}${header.toString().slice(first + last)}${" ".repeat(last)}`;
          return Buffer.concat([Buffer.from(text), payloads[index]!]);
        });
        const stream = Buffer.concat(encoded);
        const decoder = new FrameDecoder(3000, framing);
        const given: Buffer[] = [];
        const ends = [...where.map((at) => Math.floor(at * stream.length)), stream.length].toSorted(
          (a, b) => a - b,
        );
        let start = 0;
        for (const end of ends) {
          decoder.push(Uint8Array.from(stream.subarray(start, end)));
          start = end;
          for (let one = decoder.next(); one !== undefined; one = decoder.next())
            given.push(Buffer.from(one));
        }
        decoder.end();
        expect(given).toEqual(payloads);
      },
    ),
  );
});
