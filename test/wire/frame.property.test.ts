// Any frames, cut anywhere and read at any time, against a model that knows the frames before they become bytes.
//
// Generated are lengths, kinds and cut positions; the bytes follow from a frame's place in the stream.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { FrameDecoder, FrameError, writeControlHeader, writeHeader } from "../../src/wire/frame.ts";

interface Frame {
  kind: "plain" | "control" | "escape";
  length: number;
}

/** Where the stream is cut, as parts of its length, and whether what is there is read before the next piece. */
type Cuts = { at: number; reads: boolean }[];

const frame: fc.Arbitrary<Frame> = fc.record({
  kind: fc.constantFrom("plain", "control", "escape"),
  length: fc.oneof(fc.nat(20), fc.nat(3000)),
});
const cuts: fc.Arbitrary<Cuts> = fc.array(
  fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), reads: fc.boolean() }),
  { maxLength: 12 },
);

function payloadOf({ length }: Frame, index: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, at) => index * 31 + at);
}

function encode(frame: Frame, index: number): Uint8Array {
  const header = Buffer.alloc(frame.kind === "escape" ? 12 : 4);
  if (frame.kind === "plain") writeHeader(header, 0, frame.length);
  else if (frame.kind === "control") writeControlHeader(header, 0, frame.length);
  else header.fill(0xff, 0, 4).writeBigUInt64BE(BigInt(frame.length), 4);
  return Buffer.concat([header, payloadOf(frame, index)]);
}

function pieces(stream: Buffer, where: Cuts): { bytes: Uint8Array; reads: boolean }[] {
  const sorted = where.map(({ at, reads }) => ({ at: Math.floor(at * stream.length), reads }));
  sorted.sort((a, b) => a.at - b.at);
  let start = 0;
  return [...sorted, { at: stream.length, reads: true }].map(({ at, reads }) => {
    const bytes = Uint8Array.from(stream.subarray(start, at));
    start = at;
    return { bytes, reads };
  });
}

function* read(decoder: FrameDecoder): Generator<{ payload: Uint8Array; control: boolean }> {
  for (;;) {
    const payload = decoder.next();
    if (payload === undefined) return;
    yield { payload, control: decoder.isControl };
  }
}

test("gives every frame once, in order and unchanged, and then holds nothing", () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 12 }), cuts, (frames, where) => {
      const decoder = new FrameDecoder(3000);
      decoder.control = true;
      const given: { payload: Uint8Array; control: boolean }[] = [];
      for (const { bytes, reads } of pieces(Buffer.concat(frames.map(encode)), where)) {
        decoder.push(bytes);
        if (reads) given.push(...read(decoder));
      }
      decoder.end();
      expect(given.map(({ payload }) => Uint8Array.from(payload))).toEqual(frames.map(payloadOf));
      expect(given.map(({ control }) => control)).toEqual(frames.map(({ kind }) => kind === "control"));
      expect(decoder.buffered).toBe(0);
    }),
  );
});

test("after each piece it has given all whole frames and buffers exactly the rest", () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 12 }), cuts, (frames, where) => {
      const decoder = new FrameDecoder(3000);
      decoder.control = true;
      const sizes = frames.map((one, index) => encode(one, index).length);
      let received = 0;
      let count = 0;
      for (const { bytes } of pieces(Buffer.concat(frames.map(encode)), where)) {
        decoder.push(bytes);
        received += bytes.length;
        count += [...read(decoder)].length;
        let rest = received;
        const whole = sizes.findIndex((size) => (rest -= size) < 0);
        expect(count).toBe(whole === -1 ? sizes.length : whole);
        expect(decoder.buffered).toBe(received - sizes.slice(0, count).reduce((sum, size) => sum + size, 0));
      }
    }),
  );
});

test("gives what comes before the first frame over the limit, and nothing after it", () => {
  fc.assert(
    fc.property(fc.array(frame, { minLength: 1, maxLength: 12 }), fc.nat(3000), cuts, (all, limit, where) => {
      const frames = all.map(({ kind, length }): Frame => ({
        kind: kind === "control" ? "plain" : kind,
        length,
      }));
      const decoder = new FrameDecoder(limit);
      const given: Uint8Array[] = [];
      let code: string | undefined;
      for (const { bytes } of pieces(Buffer.concat(frames.map(encode)), where)) {
        decoder.push(bytes);
        try {
          for (const { payload } of read(decoder)) given.push(payload);
        } catch (error) {
          if (!(error instanceof FrameError)) throw error;
          code = error.code;
        }
      }
      const over = frames.findIndex(({ length }) => length > limit);
      expect(code).toBe(over === -1 ? undefined : "frame_too_large");
      const expected = frames.slice(0, over === -1 ? frames.length : over).map(payloadOf);
      expect(given.map((payload) => Uint8Array.from(payload))).toEqual(expected);
    }),
  );
});
