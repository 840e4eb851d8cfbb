// Frames, in hex, both directions: what the decoder takes, at which byte it refuses, and that it refuses for good.
//
// The stream of all kinds of frames is cut everywhere; payloads are compared only after the last byte was pushed, so
// that one which a later push overwrites shows.

import { heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import { FrameDecoder, FrameError, writeControlHeader, writeHeader } from "../../src/wire/frame.ts";
import vectors from "../vectors/wire.json";

const hex = (payload: Uint8Array): string => payload.toHex();
const bytes = (text: string): Uint8Array => Uint8Array.fromHex(text.replaceAll(" ", ""));

function decoderOf(limit: number, text = "", control = false): FrameDecoder {
  const decoder = new FrameDecoder(limit);
  decoder.control = control;
  decoder.push(bytes(text));
  return decoder;
}

function* frames(decoder: FrameDecoder): Generator<{ payload: Uint8Array; isControl: boolean }> {
  for (let payload = decoder.next(); payload !== undefined; payload = decoder.next()) {
    yield { payload, isControl: decoder.isControl };
  }
}

const texts = (decoder: FrameDecoder): string[] => Array.from(frames(decoder), ({ payload }) => hex(payload));

function errorOf(action: () => unknown): FrameError {
  try {
    action();
  } catch (error) {
    if (error instanceof FrameError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** Lengths that a receiver understands, and their headers. */
const readable = vectors.framing.flatMap(({ length, header_hex }) =>
  length === undefined ? [] : [{ length, header: header_hex }],
);

describe("headers", () => {
  test.each(readable)(
    "a header of $length bytes ($header) is accepted at that limit",
    ({ length, header }) => {
      const decoder = decoderOf(length, header);
      expect(decoder.next()?.length).toBe(length === 0 ? 0 : undefined);
      expect(decoder.buffered).toBe(length === 0 ? 0 : header.length / 2);
    },
  );

  test.each(readable.filter(({ length }) => length > 0))(
    "a header of $length bytes ($header) is refused at a limit one lower, before any payload",
    ({ length, header }) => {
      const error = errorOf(() => decoderOf(length - 1, header).next());
      expect(error.code).toBe("frame_too_large");
      expect(error.message).toBe(`frame of ${length} bytes is over the limit of ${length - 1}`);
      expect(error.peerMessage).toBe(error.message);
    },
  );

  test.each(readable)(
    "a header of $length bytes is written in 4 bytes or not at all",
    ({ length, header }) => {
      const target = bytes("eeeeeeeeeeee");
      if (length > 0x7fffffff) {
        expect(() => writeHeader(target, 1, length)).toThrow(RangeError);
        expect(hex(target)).toBe("eeeeeeeeeeee");
        return;
      }
      writeHeader(target, 1, length);
      expect(hex(target)).toBe(`ee${header.slice(-8)}ee`);
    },
  );

  test.each(vectors.control_headers)(
    "a control header of $length bytes both ways, and bad until agreed to",
    ({ length, header_hex }) => {
      const target = bytes("eeeeeeeeeeee");
      writeControlHeader(target, 1, length);
      expect(hex(target)).toBe(`ee${header_hex}ee`);
      expect(errorOf(() => decoderOf(length, header_hex).next()).code).toBe("bad_length");
      const decoder = decoderOf(0, header_hex, true);
      decoder.push(new Uint8Array(length));
      expect(decoder.next()?.length).toBe(length);
      expect(decoder.isControl).toBe(true);
      expect(decoder.buffered).toBe(0);
    },
  );

  test("a control header of 65536 bytes is not written", () => {
    expect(() => writeControlHeader(new Uint8Array(4), 0, 65536)).toThrow(RangeError);
  });

  test.each([...vectors.bad_headers, "80010001", "bfffffff"])("%s means nothing, ever", (header) => {
    for (const control of [false, true]) {
      const error = errorOf(() => decoderOf(0x7fffffff, header, control).next());
      expect([error.code, error.message]).toEqual(["bad_length", `invalid frame header ${header}`]);
    }
  });

  test("control frames may be agreed to between two frames of one chunk", () => {
    const decoder = decoderOf(4, "00000001 61 80000001 62 00000001 63");
    expect(decoder.next()).toEqual(bytes("61"));
    expect(decoder.isControl).toBe(false);
    decoder.control = true;
    expect(decoder.next()).toEqual(bytes("62"));
    expect(decoder.isControl).toBe(true);
    expect(decoder.next()).toEqual(bytes("63"));
    expect(decoder.isControl).toBe(false);
  });

  test("the largest length an escape can say is refused with its exact number", () => {
    const error = errorOf(() => decoderOf(Number.MAX_SAFE_INTEGER, "ffffffff ffffffffffffffff").next());
    expect(error.message).toStartWith("frame of 18446744073709551615 bytes is over the limit");
  });
});

describe("every cut", () => {
  const long = "ab".repeat(600);
  const stream = bytes(
    `00000000 00000001 61 ffffffff0000000000000003 626364 00000258${long} 80000002 6566 ` +
      `ffffffff0000000000000000 00000002 6768 80000000`,
  );
  const expected = ["", "61", "626364", long, "control 6566", "", "6768", "control "];

  /** The frames are written down only after the last piece. */
  function decode(pieces: Uint8Array[]): string[] {
    const decoder = decoderOf(600, "", true);
    const given = pieces.flatMap((piece) => {
      decoder.push(piece);
      return [...frames(decoder)];
    });
    decoder.end();
    return given.map(({ payload, isControl }) => `${isControl ? "control " : ""}${hex(payload)}`);
  }

  test("gives the same frames from one chunk, and byte by byte", () => {
    expect(decode([stream.slice()])).toEqual(expected);
    expect(decode(Array.from(stream, (byte) => Uint8Array.of(byte)))).toEqual(expected);
  });

  test("gives the same frames from any two pieces", () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      expect(decode([stream.slice(0, cut), stream.slice(cut)])).toEqual(expected);
    }
  });

  test("gives the same frames when pieces wait unread", () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      const decoder = decoderOf(600, "", true);
      decoder.push(stream.slice(0, cut));
      const payload = decoder.next(); // one is taken, the others wait
      const first = payload === undefined ? [] : [hex(payload)];
      for (const byte of stream.slice(cut)) decoder.push(Uint8Array.of(byte));
      expect(decoder.buffered).toBe(stream.length - 4 * first.length);
      expect([...first, ...texts(decoder)]).toEqual(expected.map((text) => text.replace("control ", "")));
      expect(decoder.buffered).toBe(0);
    }
  });

  test("a payload is the caller's: writing on it changes no later one", () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      const decoder = decoderOf(600, "", true);
      const given = [stream.slice(0, cut), stream.slice(cut)].flatMap((piece) => {
        decoder.push(piece);
        return Array.from(frames(decoder), ({ payload }) => [hex(payload), payload.fill(0xff)][0]);
      });
      expect(given).toEqual(expected.map((text) => text.replace("control ", "")));
    }
  });
});

describe("refusals", () => {
  test("gives the frames before an oversized one, then refuses for good", () => {
    const decoder = decoderOf(8, "00000001 61 00000008 6161616161616161 00000009 00000001 62");
    expect([decoder.next()?.length, decoder.next()?.length]).toEqual([1, 8]);
    const error = errorOf(() => decoder.next());
    expect(error.message).toBe("frame of 9 bytes is over the limit of 8");
    expect(decoder.buffered).toBe(0);
    decoder.limit = 100;
    decoder.push(bytes("00000001 63"));
    expect(errorOf(() => decoder.next())).toBe(error);
    expect(() => decoder.end()).not.toThrow();
  });

  test.each([
    ["00000009", "frame_too_large", 4],
    ["ffffffff0000000000000009", "frame_too_large", 12],
    ["ffffffff0000000100000000", "frame_too_large", 12],
    ["fffffffe", "bad_length", 4],
  ])("refuses %s (%s) at byte %d of it, no sooner", (header, code, at) => {
    const decoder = decoderOf(8);
    const pieces = Array.from(bytes(header), (byte) => Uint8Array.of(byte));
    for (const piece of pieces.slice(0, at - 1)) {
      decoder.push(piece);
      expect(decoder.next()).toBeUndefined();
    }
    decoder.push(pieces[at - 1]!);
    expect(errorOf(() => decoder.next()).code).toBe(code as FrameError["code"]);
  });

  test("a limit set between two frames of one chunk holds for the second", () => {
    const chunk = "00000005 6161616161 00000009 626262626262626262";
    const raised = decoderOf(5, chunk);
    raised.next();
    raised.limit = 9;
    expect(raised.next()?.length).toBe(9);
    const lowered = decoderOf(9, chunk);
    lowered.next();
    lowered.limit = 8;
    expect(errorOf(() => lowered.next()).code).toBe("frame_too_large");
  });

  test("the end is clean between frames and frame_cut at every byte inside one", () => {
    const whole = bytes("ffffffff0000000000000002 6162 00000002 6364");
    const ends = [0, 14, 20];
    for (let cut = 0; cut <= whole.length; cut++) {
      const decoder = decoderOf(8);
      decoder.push(whole.slice(0, cut));
      texts(decoder);
      if (ends.includes(cut)) {
        expect(() => decoder.end()).not.toThrow();
        continue;
      }
      const into = cut - Math.max(...ends.filter((end) => end < cut));
      const error = errorOf(() => decoder.end());
      expect(error).toMatchObject({
        code: "frame_cut",
        message: `the stream ended inside a frame, ${into} bytes into it`,
      });
      expect(errorOf(() => decoder.next())).toBe(error);
    }
  });

  test("memory follows what was received, not what was announced", () => {
    const GIB = 2 ** 30;
    Bun.gc(true);
    const before = heapStats().extraMemorySize;
    const decoder = decoderOf(GIB, "40000000");
    expect(decoder.next()).toBeUndefined();
    decoder.push(bytes("61"));
    expect(decoder.next()).toBeUndefined();
    Bun.gc(true); // array buffers are counted at a collection
    expect(heapStats().extraMemorySize - before).toBeLessThan(GIB / 4);
    expect(decoder.buffered).toBe(5);
  });
});
