// What is kept until it is acknowledged: a list of frames is the model, runs of any length with control frames between
// them the means.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { RetransmitBuffer } from "../../src/delivery/retransmit-buffer.ts";
import { FramePieces } from "../../src/wire/partial-frame.ts";
import { residentBytes } from "../support/attack.ts";
import { frame } from "../support/peer.ts";

type Step =
  | { kind: "run"; frames: { control: boolean; length: number }[] }
  | { kind: "pieces"; lengths: number[] }
  | { kind: "ack"; share: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("run" as const),
    frames: fc.array(fc.record({ control: fc.boolean(), length: fc.nat(300) }), { maxLength: 8 }),
  }),
  fc.record({
    kind: fc.constant("pieces" as const),
    lengths: fc.array(fc.nat(300), { minLength: 1, maxLength: 4 }),
  }),
  fc.record({ kind: fc.constant("ack" as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
);

test("gives back every payload that is not acknowledged, in order, and no control frame", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const retention = new RetransmitBuffer();
      const kept: string[] = [];
      let sent = 0;
      for (const one of steps) {
        if (one.kind === "ack") {
          const count = Math.round(one.share * kept.length);
          expect(retention.acknowledge(retention.acknowledged + count)).toBe(true);
          kept.splice(0, count);
        } else if (one.kind === "pieces") {
          const bytes = frame(one.lengths.map((length) => `${sent}${"y".repeat(length)}`).join(""));
          const middle = bytes.length >> 1;
          const list = [bytes.subarray(0, middle), bytes.subarray(middle)];
          retention.recordPieces(new FramePieces(list, 4, bytes.length, 5000));
          kept.push(bytes.toString("latin1"));
          sent++;
        } else {
          const frames = one.frames.map(({ control, length }) => {
            const bytes = frame(`${control ? "control" : sent++}${"x".repeat(length)}`, control);
            if (!control) kept.push(bytes.toString("latin1"));
            return bytes;
          });
          const run = Buffer.concat([Buffer.from("before"), ...frames, Buffer.from("after")]);
          const payloads = one.frames.filter(({ control }) => !control).length;
          retention.record(run, 6, run.length - 5, payloads);
        }
        const from = kept.length >> 1;
        for (const skip of [0, from]) {
          const all = [...retention.unacknowledged(retention.acknowledged + skip)];
          expect(all.map((bytes) => Buffer.from(bytes).toString("latin1"))).toEqual(kept.slice(skip));
        }
        expect(retention.allocated).toBeGreaterThanOrEqual(retention.bytes);
        expect(retention.frames).toBe(kept.length);
        if (kept.length === 0) expect(retention.bytes).toBe(0);
      }
    }),
  );
});

test("believes no acknowledgement of what was never sent, and takes none back", () => {
  const retention = new RetransmitBuffer();
  retention.record(Buffer.concat([frame("one"), frame("two")]), 0, 14, 2);
  expect(retention.acknowledge(3)).toBe(false);
  expect(retention.acknowledge(2)).toBe(true);
  expect(retention.acknowledge(1)).toBe(true);
  expect([retention.canResumeFrom(1), retention.canResumeFrom(2), retention.canResumeFrom(3)]).toEqual([
    false,
    true,
    false,
  ]);
  expect(retention.frames).toBe(0);
});

test("keeps a copy: what is sent may be changed afterwards", () => {
  const retention = new RetransmitBuffer();
  const bytes = frame("before");
  retention.record(bytes, 0, bytes.length, 1);
  bytes.fill(0);
  expect([...retention.unacknowledged()].map((kept) => Buffer.from(kept).toString())).toEqual([
    "\0\0\0\x06before",
  ]);
});

test("many short payloads cost about their bytes", () => {
  const retention = new RetransmitBuffer();
  const payload = Buffer.from("a: hello");
  retention.add(payload);
  const before = residentBytes("self");
  while (retention.bytes < 16 * 1024 * 1024) retention.add(payload);
  expect(residentBytes("self") - before).toBeLessThan(4 * retention.bytes);
});

test("a long message stays where it was received, a short one is copied", () => {
  for (const [length, isKept] of [
    [200 * 1024, true],
    [100 * 1024, false],
  ] as const) {
    const retransmit = new RetransmitBuffer();
    const chunk = Buffer.concat([frame("x".repeat(length)), frame("next")]);
    retransmit.recordChunk(chunk, 0, 4 + length, 1);
    retransmit.add(Buffer.from("later"));
    const [first, second] = [...retransmit.unacknowledged()];
    expect(first!.buffer === chunk.buffer).toBe(isKept);
    expect([first!.length, Buffer.from(second!).toString()]).toEqual([4 + length, "\0\0\0\x05later"]);
    expect(retransmit.allocated).toBeGreaterThanOrEqual(retransmit.bytes);
    expect(retransmit.acknowledge(2)).toBe(true);
    expect([retransmit.allocated, retransmit.bytes]).toEqual([0, 0]);
  }
});

test("a long message in a chunk that is mostly something else is copied: it would hold more memory than is counted", () => {
  const retransmit = new RetransmitBuffer();
  const chunk = Buffer.alloc(500 * 1024);
  frame("x".repeat(200 * 1024)).copy(chunk, 0);
  retransmit.recordChunk(chunk, 0, 4 + 200 * 1024, 1);
  const [first] = [...retransmit.unacknowledged()];
  expect(first!.buffer === chunk.buffer).toBe(false);
});
