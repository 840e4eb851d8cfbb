// What two connections of one listener send, in a batch and at other times, alone and to both: it leaves in order, and is kept in
// order, whoever has the cork.

import { expect, test } from "bun:test";
import type { Socket } from "bun";
import fc from "fast-check";
import { Connection } from "../../src/net/connection.ts";
import { Cork } from "../../src/net/cork.ts";
import { RetransmitBuffer } from "../../src/delivery/retransmit-buffer.ts";
import { encodedOf } from "../../src/services/sendable.ts";
import { WriteQueue } from "../../src/net/write-queue.ts";
import { ByteBudget } from "../../src/base/byte-budget.ts";
import { Kernel } from "../support/kernel.ts";
import { frame } from "../support/peer.ts";

const MAX_FRAME = 300_000;

/** One end, with what it should have sent, and what should be kept for it. */
class End {
  readonly kernel = new Kernel();
  readonly connection: Connection;
  readonly retransmit = new RetransmitBuffer();
  readonly sent: Buffer[] = [];
  readonly kept: Buffer[] = [];
  isKept = false;
  #hasFinished = false;

  constructor(cork: Cork, received: () => void) {
    this.connection = new Connection(this.kernel as unknown as Socket<Connection>, {
      cork,
      maxFrame: MAX_FRAME,
      maxBacklog: Infinity,
    });
    this.connection.deliver({
      message: (message) => {
        const text = message.text();
        if (text.startsWith("skip")) return;
        this.expect(frame(text));
        this.connection.send(message);
        if (text.startsWith("all")) received();
        if (text.startsWith("fin")) this.finish();
      },
      control: () => undefined,
      end: () => undefined,
      fail: (error) => {
        throw error;
      },
      close: () => undefined,
    });
  }

  /** Ends the output: later messages are dropped. */
  finish(): void {
    this.connection.endSending();
    this.#hasFinished = true;
  }

  expect(bytes: Buffer, isControl = false): void {
    if (this.#hasFinished) return;
    if (!this.connection.closed) this.sent.push(bytes);
    if (this.isKept && !isControl) this.kept.push(bytes);
  }
}

const length = fc.oneof(fc.nat(80), fc.nat(20_000), fc.nat(200_000));
const which = fc.nat(1);
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constantFrom("text", "bytes", "control", "all"), which, length }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("echo"), which, length }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("long"), which, length }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("turn", "flush", "keep"), which, length }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom("appetite", "close", "finish"), which, length }),
  },
);

test("it leaves once and in order, and is kept from the moment on that it should be", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 30 }), async (steps) => {
      let number = 0;
      const named = (size: number) => `${number++}`.padEnd(size + 6, "x");
      const budget = new ByteBudget();
      const cork = new Cork(budget);
      const tellAll = (length: number) => {
        const text = named(length);
        const message = encodedOf(text);
        for (const end of ends) {
          end.expect(frame(text));
          end.connection.send(message);
        }
      };
      const ends: End[] = [new End(cork, () => tellAll(50)), new End(cork, () => tellAll(50))];
      for (const { kind, which, length } of steps) {
        const end = ends[which]!;
        const { connection } = end;
        const text = named(kind === "control" ? Math.min(length, 900) : length);
        if (kind === "turn") await Promise.resolve();
        else if (kind === "flush") connection.flush();
        else if (kind === "appetite") end.kernel.appetite.push(length, 3, 0);
        else if (kind === "all") tellAll(length);
        else if (kind === "finish") end.finish();
        else if (kind === "echo") {
          const last = length % 5 === 0 ? ["fin", "", ""] : [];
          const texts = ["", "", "skip", "", "all", "", ...last].map((word) => `${word}${named(3)}`);
          if (!connection.closed)
            connection.received(Buffer.concat([text, ...texts].map((one) => frame(one))));
        } else if (kind === "long") {
          // It stays in the pieces in which it came, and leaves with a header of four bytes.
          const header = Buffer.alloc(12, 0xff);
          header.writeBigUInt64BE(BigInt(MAX_FRAME), 4);
          const isEscape = length % 2 === 0;
          const one = frame(text.padEnd(MAX_FRAME, "y"));
          const bytes = Buffer.concat([
            isEscape ? header : one.subarray(0, 4),
            one.subarray(4),
            frame(named(3)),
          ]);
          for (let start = 0; start < bytes.length && !connection.closed; start += length + 5000) {
            const word = named(0);
            end.expect(frame(word));
            connection.send(word);
            connection.received(Buffer.from(bytes.subarray(start, start + length + 5000)));
          }
        } else if (kind === "keep") {
          if (!end.isKept) connection.trackUnacked(end.retransmit);
          end.isKept = true;
        } else if (kind === "close") {
          if (end.isKept) connection.wasClosed(new Error("reset"));
        } else {
          end.expect(frame(text, kind === "control"), kind === "control");
          if (kind === "control") connection.sendControl(text);
          else connection.send(kind === "text" ? text : Buffer.from(text));
        }
        // The sender may look at its window after each call.
        for (const { retransmit, kept } of ends) expect(retransmit.frames).toBe(kept.length);
      }
      await Promise.resolve();
      for (const { connection, kernel, sent, kept, retransmit } of ends) {
        for (let turn = 0; turn < 100 && !connection.closed && connection.hasOutput; turn++)
          connection.flush();
        const [found, wanted] = [Buffer.concat(kernel.taken), Buffer.concat(sent)];
        expect(found.equals(connection.closed ? wanted.subarray(0, found.length) : wanted)).toBe(true);
        expect(Buffer.concat([...retransmit.unacknowledged()]).equals(Buffer.concat(kept))).toBe(true);
        expect(retransmit.frames).toBe(kept.length);
        if (!connection.closed) connection.wasClosed(undefined);
      }
      expect([budget.used, cork.owner, cork.waiting]).toEqual([0, undefined, 0]);
    }),
    { numRuns: 300 },
  );
});

test("a long message that a slow peer has read for the most part is not counted any more", () => {
  const budget = new ByteBudget();
  const queue = new WriteQueue(budget);
  queue.appendUnchanging(Buffer.alloc(100_004));
  queue.consume(97_000);
  queue.append(Buffer.alloc(10));
  expect([queue.length, budget.used]).toEqual([3014, 4096]);
  queue.consume(3014);
  expect(budget.used).toBe(0);
});

test("of a part of a chunk, all memory is counted", () => {
  const budget = new ByteBudget();
  const queue = new WriteQueue(budget);
  const chunk = Buffer.alloc(100_000);
  queue.append(Buffer.alloc(10));
  queue.appendUnchanging(chunk.subarray(60_000));
  expect([queue.length, budget.used]).toEqual([40_010, 104_096]);
  queue.consume(10);
  expect([queue.first.buffer === chunk.buffer, queue.length, budget.used]).toEqual([true, 40_000, 100_000]);
  queue.append(Buffer.alloc(10, 1));
  queue.consume(40_000);
  expect([queue.length, chunk.includes(1), queue.first[0]]).toEqual([10, false, 1]);
  queue.clear();
  expect(budget.used).toBe(0);
});

test("`bye` of an overflow comes behind the message that caused it", () => {
  const kernel = new Kernel();
  const connection = new Connection(kernel as unknown as Socket<Connection>, {
    cork: new Cork(),
    maxFrame: 100,
  });
  const retransmit = new RetransmitBuffer();
  retransmit.limit = 1000;
  retransmit.overflow = () => connection.sendControl("bye");
  connection.trackUnacked(retransmit);
  const text = "x".repeat(200_000);
  connection.sendAtOnce(Buffer.from(text), 200_000);
  expect(Buffer.concat(kernel.taken).equals(Buffer.concat([frame(text), frame("bye", true)]))).toBe(true);
});

test("two messages to all in one turn are one write for each, and a message is not changed by the next one", async () => {
  const ends = [new Kernel(), new Kernel(), new Kernel()];
  const cork = new Cork();
  const connections = ends.map(
    (kernel) => new Connection(kernel as unknown as Socket<Connection>, { cork, maxFrame: 100 }),
  );
  const messages = ["one", "two"].map(encodedOf);
  for (const message of messages) for (const connection of connections) connection.send(message);
  await Promise.resolve();
  for (const { taken } of ends) expect(taken.map(String)).toEqual(["\0\0\0\x03one\0\0\0\x03two"]);
  expect(messages.map(String)).toEqual(["one", "two"]);
});
