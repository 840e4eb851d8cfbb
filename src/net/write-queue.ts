// Output that the kernel has not accepted yet, in order, as a list of blocks.
//
// Bun buffers nothing: `write` returns how much the kernel accepted, and the caller must keep the rest. The writer bounds the queue
// by `length`. With blocks instead of one growing buffer a peer that does not read costs its unread bytes and one block, and never
// twice that while a buffer is copied.

import { bufferPool } from "../base/buffer-pool.ts";
import { UNLIMITED, type ByteBudget } from "../base/byte-budget.ts";

interface Block {
  bytes: Uint8Array;
  /** The end of the used part. */
  end: number;
  /** Bytes that are counted in the budget. */
  allocated: number;
}

const BLOCK_BYTES = 64 * 1024;
/** The first block of a queue, which is mostly short. */
const FIRST_BYTES = 4 * 1024;
/** Shared by all empty queues, which most are; nothing is added to it. */
const NONE: Block[] = [];

export class WriteQueue {
  readonly #budget: ByteBudget;
  #blocks: Block[] = NONE;
  /** Where the first block's bytes begin. */
  #start = 0;
  #length = 0;
  /** True when the first block is the last one as well, and is not to be changed. */
  #isUnchanging = false;

  constructor(budget = UNLIMITED) {
    this.#budget = budget;
  }

  get length(): number {
    return this.#length;
  }

  /** Some of the first queued bytes, when there are any; valid until the next call. */
  get first(): Uint8Array {
    const [block] = this.#blocks;
    return block === undefined ? new Uint8Array(0) : block.bytes.subarray(this.#start, block.end);
  }

  /**
   * Makes room for `count` bytes at the end, in one piece, and returns it. When that exceeds the budget, the queue may be empty
   * afterwards, since its connection was closed.
   */
  reserve(count: number): { target: Uint8Array; offset: number } {
    this.#length += count;
    this.#budget.queued += count;
    if (this.#isUnchanging) this.#copyFirst();
    const last = this.#blocks.at(-1);
    if (last !== undefined && last.end + count <= last.bytes.length) {
      const offset = last.end;
      last.end += count;
      return { target: last.bytes, offset };
    }
    const size = last === undefined ? FIRST_BYTES : BLOCK_BYTES;
    const bytes = bufferPool.acquire(Math.max(size, count));
    const block = { bytes, end: count, allocated: bytes.length };
    if (this.#blocks === NONE) this.#blocks = [block];
    else this.#blocks.push(block);
    this.#budget.take(block.allocated);
    return { target: block.bytes, offset: 0 };
  }

  /** Adds bytes that nothing changes any more. They are not copied, unless they are few and behind others. */
  appendUnchanging(bytes: Uint8Array): void {
    if (bytes.length < FIRST_BYTES && this.#length > 0) return this.append(bytes);
    const allocated = Math.max(bytes.buffer.byteLength, FIRST_BYTES); // it may be copied
    this.#length += bytes.length;
    this.#budget.queued += bytes.length;
    const block = { bytes, end: bytes.length, allocated };
    this.#isUnchanging = this.#blocks === NONE;
    if (this.#isUnchanging) this.#blocks = [block];
    else this.#blocks.push(block);
    this.#budget.take(allocated);
  }

  /** If few bytes are left of the first block, gives them one with room for more, so that both are one write. */
  #copyFirst(): void {
    this.#isUnchanging = false;
    const { first } = this;
    const [block] = this.#blocks;
    if (block === undefined || first.length >= FIRST_BYTES) return;
    this.#budget.give(block.allocated - FIRST_BYTES);
    const bytes = bufferPool.acquire(FIRST_BYTES);
    bytes.set(first);
    this.#start = 0;
    this.#blocks = [{ bytes, end: first.length, allocated: FIRST_BYTES }];
  }

  append(bytes: Uint8Array): void {
    const { target, offset } = this.reserve(bytes.length);
    target.set(bytes, offset);
  }

  /** Removes the first `count` bytes, all within {@link first}: the kernel has accepted them. */
  consume(count: number): void {
    this.#length -= count;
    this.#start += count;
    const [block] = this.#blocks;
    if (block === undefined || this.#start < block.end) return;
    this.#budget.give(block.allocated);
    bufferPool.release(block.bytes);
    this.#blocks.shift();
    this.#start = 0;
    this.#isUnchanging = false;
    if (this.#blocks.length === 0) this.#blocks = NONE;
  }

  /**
   * Removes all bytes. An empty queue holds no memory: keeping a megabyte of blocks for later lets the garbage beside it grow by
   * three (measured with Bun 1.4.5).
   */
  clear(): void {
    for (const { allocated } of this.#blocks) this.#budget.give(allocated);
    this.#blocks = NONE;
    this.#isUnchanging = false;
    this.#start = this.#length = 0;
  }
}
