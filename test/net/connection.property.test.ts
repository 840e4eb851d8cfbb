// A connection over a kernel that takes what it likes: whatever comes in, in whatever pieces, goes back as it was, once and
// in order, in runs or one by one, and is kept for whoever comes back.

import { expect, test } from "bun:test";
import type { Socket } from "bun";
import fc from "fast-check";
import { Connection } from "../../src/net/connection.ts";
import { Cork } from "../../src/net/cork.ts";
import type { Receiver } from "../../src/net/reader.ts";
import { RetransmitBuffer } from "../../src/delivery/retransmit-buffer.ts";
import { writeControlHeader, writeHeader } from "../../src/wire/frame.ts";

const MAX_FRAME = 200_000;

function frame(payload: Uint8Array, isControl: boolean): Buffer {
  const bytes = Buffer.alloc(4 + payload.length);
  (isControl ? writeControlHeader : writeHeader)(bytes, 0, payload.length);
  bytes.set(payload, 4);
  return bytes;
}

/** Takes of each write what `appetite` says next, in order, and then everything. */
class Kernel {
  readonly remoteAddress = "127.0.0.1";
  readonly remotePort = 1;
  readonly taken: Buffer[] = [];
  appetite: number[] = [];

  write(bytes: Uint8Array, start: number, length: number): number {
    const count = Math.min(length, this.appetite.shift() ?? length);
    this.taken.push(Buffer.from(bytes.subarray(start, start + count)));
    return count;
  }

  pause(): void {}
  resume(): void {}
  terminate(): void {}
  end(): void {}
  shutdown(): void {}
}

const length = fc.oneof(fc.nat(80), fc.nat(20_000), fc.nat(MAX_FRAME));
const step = fc.record({
  /** Control frames are answered, too, by another of their length. */
  frames: fc.array(fc.record({ length, isControl: fc.boolean() }), { maxLength: 6 }),
  /** Where what is on its way is cut, and how much of each write the kernel takes. */
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }),
  appetite: fc.array(fc.oneof(fc.nat(100), fc.nat(50_000)), { maxLength: 4 }),
});

test("what comes goes back once and in order, however it is cut and taken, and is kept", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 6 }), (steps) => {
      const kernel = new Kernel();
      const connection = new Connection(kernel as unknown as Socket<Connection>, {
        cork: new Cork(),
        maxFrame: MAX_FRAME,
        holdInput: true,
      });
      connection.decoder.control = true;
      const retention = new RetransmitBuffer();
      connection.trackUnacked(retention);
      const receiver: Receiver = {
        message: (message) => connection.send(message),
        control: (payload) => connection.sendControl(Buffer.from(payload).toString("latin1")),
        end: () => undefined,
        fail: (error) => {
          throw error;
        },
        close: () => undefined,
      };
      connection.deliver(receiver);
      const expected: Buffer[] = [];
      const kept: Buffer[] = [];
      let seed = 0;
      for (const { frames, cuts, appetite } of steps) {
        kernel.appetite = [...appetite];
        const fresh = frames.map(({ length, isControl }) => {
          const size = isControl ? length % 3000 : length;
          return { bytes: frame(Buffer.alloc(size, `${seed++} `, "latin1"), isControl), isControl };
        });
        expected.push(...fresh.map(({ bytes }) => bytes));
        kept.push(...fresh.filter(({ isControl }) => !isControl).map(({ bytes }) => bytes));
        const stream = Buffer.concat(fresh.map(({ bytes }) => bytes));
        let start = 0;
        for (const cut of [...cuts.toSorted((a, b) => a - b), 1]) {
          const end = Math.floor(cut * stream.length);
          if (end > start) connection.received(Buffer.from(stream.subarray(start, end)));
          start = end;
        }
        connection.flush(); // the kernel has room again
      }
      kernel.appetite = [];
      for (let rounds = 0; rounds < 100 && connection.queued + connection.decoder.buffered > 0; rounds++) {
        connection.flush();
      }
      expect(Buffer.concat(kernel.taken).equals(Buffer.concat(expected))).toBe(true);
      expect(Buffer.concat([...retention.unacknowledged()]).equals(Buffer.concat(kept))).toBe(true);
      expect(retention.frames).toBe(kept.length);
    }),
    { numRuns: 300 },
  );
});
