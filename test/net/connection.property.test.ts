// A connection over a kernel that takes what it likes: whatever comes in, in whatever pieces, goes back as it was, once and
// in order, in runs or one by one, and is kept for whoever comes back.

import { expect, test } from "bun:test";
import type { Socket } from "bun";
import fc from "fast-check";
import { Connection } from "../../src/net/connection.ts";
import { Cork } from "../../src/net/cork.ts";
import type { Receiver } from "../../src/net/reader.ts";
import { RetransmitBuffer } from "../../src/delivery/retransmit-buffer.ts";
import { decimalFraming } from "../../src/wire/decimal.ts";
import { UINT32, writeControlHeader, type Framing } from "../../src/wire/frame.ts";
import { Kernel } from "../support/kernel.ts";

const MAX_FRAME = 200_000;

function frame(payload: Uint8Array, isControl: boolean, { headerBytes, write }: Framing): Buffer {
  const bytes = Buffer.alloc(headerBytes + payload.length);
  (isControl ? writeControlHeader : write)(bytes, 0, payload.length);
  bytes.set(payload, headerBytes);
  return bytes;
}

const length = fc.oneof(fc.nat(80), fc.nat(20_000), fc.nat(MAX_FRAME));
const step = fc.record({
  /** Control frames are answered, too, by another of their length. */
  frames: fc.array(fc.record({ length, isControl: fc.boolean() }), { maxLength: 6 }),
  /** Where what is on its way is cut, and how much of each write the kernel takes. */
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }),
  appetite: fc.array(fc.oneof(fc.nat(100), fc.nat(50_000)), { maxLength: 4 }),
});

test.each([
  ["", UINT32],
  [" (decimal)", decimalFraming(10)],
])("what comes goes back once and in order, however it is cut and taken, and is kept%s", (_, framing) => {
  const isUint32 = framing === UINT32;
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 6 }), (steps) => {
      const kernel = new Kernel();
      const connection = new Connection(kernel as unknown as Socket<Connection>, {
        cork: new Cork(),
        maxFrame: MAX_FRAME,
        framing,
        holdInput: true,
      });
      connection.decoder.control = true;
      const retention = new RetransmitBuffer();
      if (isUint32) connection.trackUnacked(retention);
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
        const fresh = frames.map((one) => {
          const { length } = one;
          const isControl = isUint32 && one.isControl;
          const size = isControl ? length % 3000 : length;
          return { bytes: frame(Buffer.alloc(size, `${seed++} `, "latin1"), isControl, framing), isControl };
        });
        expected.push(...fresh.map(({ bytes }) => bytes));
        if (isUint32) kept.push(...fresh.filter(({ isControl }) => !isControl).map(({ bytes }) => bytes));
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
