// Memory that is used again: nobody is ever given what another still looks at.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { bufferPool } from "../../src/base/buffer-pool.ts";
import { WriteQueue } from "../../src/net/write-queue.ts";
import { Peer } from "../support/peer.ts";
import { startServer } from "../support/server.ts";

test("gives at least what is asked for, a quarter more at most, and again what was given back", () => {
  for (const count of [4097, 5000, 65_536, 65_537, 1_048_580, 2_097_153]) {
    const block = bufferPool.acquire(count);
    expect(block.length).toBeWithin(count, 1.25 * count + 1);
  }
  const block = bufferPool.acquire(100_000);
  bufferPool.release(block);
  expect(bufferPool.acquire(99_000)).toBe(block);
});

test("takes nothing that it has not made", () => {
  const foreign = Buffer.allocUnsafeSlow(bufferPool.acquire(30_000).length);
  bufferPool.release(foreign);
  expect(bufferPool.acquire(30_000)).not.toBe(foreign);
});

test("a queue gives back what was read, and keeps nothing of what never was", () => {
  const outbox = new WriteQueue();
  const bytes = Buffer.alloc(150_000);
  outbox.append(bytes);
  const read = outbox.first.buffer;
  outbox.consume(bytes.length);
  expect(bufferPool.acquire(bytes.length).buffer).toBe(read);
  outbox.append(bytes);
  const unread = outbox.first.buffer;
  outbox.clear();
  expect(bufferPool.acquire(bytes.length).buffer).not.toBe(unread);
});

test("two queues that share memory give back what was put in, in order", () => {
  const step = fc.record({
    queue: fc.constantFrom(0, 1),
    append: fc.array(fc.oneof(fc.nat(50), fc.nat(70_000)), { maxLength: 4 }),
    consume: fc.double({ min: 0, max: 1, noNaN: true }),
    clear: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const queues = [0, 1].map(() => ({ outbox: new WriteQueue(), model: Buffer.alloc(0) }));
      let next = 0;
      for (const { queue, append, consume, clear } of steps) {
        const one = queues[queue]!;
        for (const length of append) {
          const bytes = Buffer.alloc(length, ++next);
          one.outbox.append(bytes);
          one.model = Buffer.concat([one.model, bytes]);
        }
        let left = Math.floor(consume * one.model.length);
        while (left > 0) {
          const { first } = one.outbox;
          const count = Math.min(left, first.length);
          expect(one.model.subarray(0, first.length).equals(first)).toBe(true);
          one.outbox.consume(count);
          one.model = one.model.subarray(count);
          left -= count;
        }
        if (clear && one.model.length > 100_000) {
          one.outbox.clear();
          one.model = Buffer.alloc(0);
        }
        expect(one.outbox.length).toBe(one.model.length);
      }
    }),
  );
});

test("long messages of many at once come back as they were, also to those who read late", async () => {
  await using server = await startServer({ auth: "none" });
  await Promise.all(
    Array.from({ length: 8 }, async (_, who) => {
      using peer = await Peer.connect(server.port);
      await peer.enter({});
      const messages = Array.from({ length: 12 }, (_, n) =>
        Buffer.alloc(1 + ((who * 7919 + n * 104_729) % 600_000), `${who} ${n} `),
      );
      for (const message of messages) peer.send(message);
      for (const message of messages)
        expect(message.equals((await peer.frame())?.payload ?? Buffer.alloc(0))).toBe(true);
    }),
  );
});
