// Long frames that come in pieces: what a service gets, and how much memory they keep.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { FrameDecoder } from "../../src/wire/frame.ts";
import { decimalFraming } from "../../src/wire/decimal.ts";
import type { ReceivedMessage } from "../../src/wire/received-message.ts";
import { frame } from "../support/peer.ts";

const LIMIT = 2 ** 20;

/** Different bytes at every place, all of them ASCII. */
function payloadOf(length: number, seed: number): Buffer<ArrayBuffer> {
  return Buffer.from(Uint8Array.from({ length }, (_, at) => (at * 7 + (at >> 8) + seed) & 0x7f));
}

/** Bun makes new memory for each chunk. */
function chunksOf(stream: Buffer, lengths: number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let start = 0;
  for (let turn = 0; start < stream.length; turn++) {
    const length = lengths[turn % lengths.length]!;
    chunks.push(Uint8Array.from(stream.subarray(start, start + length)));
    start += length;
  }
  return chunks;
}

const cut = fc.oneof(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 600, max: 300_000 }));
const cuts = fc.array(cut, { minLength: 1, maxLength: 5 });
const long = fc.integer({ min: 250_000, max: 700_000 });

test("a long frame is the same in any pieces: its bytes, its text, and what is sent on", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.nat(9), long), { minLength: 1, maxLength: 4 }),
      cuts,
      (lengths, cuts) => {
        const payloads = lengths.map(payloadOf);
        const decoder = new FrameDecoder(LIMIT);
        const given: ReceivedMessage[] = [];
        for (const chunk of chunksOf(Buffer.concat(payloads.map((one) => frame(one))), cuts)) {
          decoder.push(chunk);
          while (decoder.take()) given.push(decoder.message);
        }
        decoder.end();
        expect([given.length, decoder.allocated]).toEqual([payloads.length, 0]);
        given.forEach((message, index) => {
          const payload = payloads[index]!;
          expect(message.length).toBe(payload.length);
          const { pieces } = message;
          if (pieces !== undefined) {
            expect(Buffer.concat(pieces.list).equals(frame(payload))).toBe(true);
            expect([pieces.start, pieces.length]).toEqual([4, payload.length + 4]);
          }
          const copy = Buffer.alloc(payload.length + 2);
          message.copyTo(copy, 1);
          expect(copy.subarray(1, -1).equals(payload)).toBe(true);
          expect(message.text() === payload.toString("latin1")).toBe(true);
          expect(payload.equals(message.bytes)).toBe(true);
        });
      },
    ),
    { numRuns: 60 },
  );
});

test("memory grows with what was received, and ends with the frame", () => {
  fc.assert(
    fc.property(long, cuts, (length, cuts) => {
      const decoder = new FrameDecoder(LIMIT);
      let received = 0;
      for (const chunk of chunksOf(frame(payloadOf(length, 1)), cuts)) {
        decoder.push(chunk);
        received += chunk.length;
        if (decoder.take()) break;
        expect(decoder.partialLength).toBe(received);
        expect(decoder.allocated).toBeGreaterThanOrEqual(received);
        // A piece may be a quarter of its memory, and a block has room for three times as much as was received.
        expect(decoder.allocated).toBeLessThanOrEqual(Math.max(4 * received, received + 512));
      }
      expect(decoder.message.pieces?.allocated ?? 0).toBeLessThanOrEqual(4 * received);
    }),
    { numRuns: 60 },
  );
});

test("a few bytes of a large chunk do not keep it in memory", () => {
  const decoder = new FrameDecoder(LIMIT);
  decoder.push(
    Buffer.concat([frame(payloadOf(400_000, 0)), frame(payloadOf(500_000, 1)).subarray(0, 20_000)]),
  );
  expect([decoder.take(), decoder.take()]).toEqual([true, false]);
  expect([decoder.partialLength, decoder.allocated]).toEqual([20_000, 80_000]);
});

test("chunks are kept as they came, and not copied", () => {
  const decoder = new FrameDecoder(LIMIT);
  const chunks = chunksOf(frame(payloadOf(900_000, 3)), [200_000]);
  for (const chunk of chunks) {
    decoder.push(chunk);
    if (chunk !== chunks.at(-1)) expect(decoder.take()).toBe(false);
  }
  expect(decoder.take()).toBe(true);
  const { list, allocated } = decoder.message.pieces!;
  expect(list.map(({ buffer }) => buffer)).toEqual(chunks.map(({ buffer }) => buffer));
  expect(allocated).toBe(900_004);
});

test("bytes that a service changes are what it sends", () => {
  const decoder = new FrameDecoder(LIMIT);
  for (const chunk of chunksOf(frame(payloadOf(300_000, 3)), [100_000])) {
    decoder.push(chunk);
    decoder.take();
  }
  const { message } = decoder;
  message.bytes.fill(0x78);
  expect([message.pieces, message.share()]).toEqual([undefined, undefined]);
  expect(message.text() === "x".repeat(300_000)).toBe(true);
});

test("another header is not taken for a part of the payload", () => {
  const payload = payloadOf(300_000, 5);
  const escape = Buffer.alloc(12, 0xff);
  escape.writeBigUInt64BE(300_000n, 4);
  for (const [header, decoder] of [
    [escape, new FrameDecoder(LIMIT)],
    [Buffer.from("0000300000"), new FrameDecoder(LIMIT, decimalFraming(10))],
  ] as const) {
    for (const chunk of chunksOf(Buffer.concat([header, payload]), [50_000])) {
      decoder.push(chunk);
      decoder.take();
    }
    const { message } = decoder;
    expect(message.pieces?.start).toBe(header.length);
    const copy = Buffer.alloc(message.length);
    message.copyTo(copy, 0);
    expect([copy.equals(payload), payload.equals(message.bytes)]).toEqual([true, true]);
  }
});
