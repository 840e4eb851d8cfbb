// The retransmit buffer: frames that were sent and not acknowledged, as they were written, to be sent again over another
// connection. net/writer.ts fills it, AckTracker owns it.
//
// Runs of frames are copied into blocks of memory that are used again. A copy of each message would cost a tenth of the message,
// and newly allocated memory twice as much as the copy of a run, for its page faults (both measured with Bun 1.4.5 by
// scripts/bench.ts). A long message that goes back as it came stays where it was received. A run may contain control frames, which
// belong to a connection: they are not sent again.

import { MAX_UNACKNOWLEDGED_BYTES, MAX_UNACKNOWLEDGED_FRAMES, SHORT_WINDOW_BYTES } from "../base/limits.ts";
import { UNLIMITED, type ByteBudget } from "../base/byte-budget.ts";
import { HEADER_BYTES, writeHeader } from "../wire/frame.ts";
import { bufferPool } from "../base/buffer-pool.ts";
import type { FramePieces } from "../wire/partial-frame.ts";

/** Copies a part of a buffer without a view, which would cost as much as a short copy (measured with Bun 1.4.5). */
const { copy } = Buffer.prototype;

interface Block {
  bytes: Uint8Array;
  /** The frame that it stands for, if that lies elsewhere in several pieces; `bytes` is empty then. */
  pieces?: FramePieces;
  /** Bytes of memory. */
  allocated: number;
  /** Used bytes. */
  length: number;
  /** Payload frames in it. */
  frames: number;
}

/**
 * A single run shorter than this gets a block of exactly its length: most sessions are idle, and have one short run. Further runs
 * share blocks, since the overhead of a block is many times a short run.
 */
const MIN_SHARED_BYTES = 1024;
/** The length of a block, in lengths of its first run. */
const RUNS_PER_BLOCK = 4;
/** A block is not longer than this, unless its first run is. */
const MAX_BLOCK_BYTES = 256 * 1024;
/**
 * From so many bytes on a run stays where it was received: it is one message, for which memory was made. For shorter ones, copies into
 * memory that is used again cost no more than the page faults of chunks that are kept (measured with Bun 1.4.5, 16 KiB).
 */
const MIN_KEPT_BYTES = 128 * 1024;

const NO_BYTES = new Uint8Array(0);

export class RetransmitBuffer {
  /** The number of payload frames that the peer has acknowledged. */
  acknowledged = 0;
  /** The number of payload frames that are not acknowledged. */
  frames = 0;
  /** Bytes in use, with headers and with the acknowledged frames of the first block. */
  bytes = 0;
  /** Called when more than `limit` bytes are in use. */
  overflow: (() => void) | undefined;
  limit = Infinity;
  /** Unacknowledged bytes with which the sender waits, where memory is not short. */
  window = MAX_UNACKNOWLEDGED_BYTES;
  /** Since when the window is full, by `performance.now`; undefined while it is not. */
  fullSince: number | undefined;
  #budget: ByteBudget = UNLIMITED;
  /** Bytes of all blocks. */
  #allocated = 0;
  readonly #blocks: Block[] = [];
  /** The number of acknowledged payload frames at the begin of the first block. */
  #skip = 0;

  /** Adds the frames from `start` to `end` of `bytes`, `frames` of which are payloads. */
  record(bytes: Uint8Array, start: number, end: number, frames: number): void {
    if (frames === 0) return;
    const block = this.#room(end - start);
    copy.call(bytes, block.bytes, block.length, start, end);
    this.#recorded(block, end - start, frames);
  }

  /** The same for a run in a chunk, which nothing changes from now on. */
  recordChunk(chunk: Uint8Array, start: number, end: number, frames: number): void {
    const length = end - start;
    // Half of the chunk: so it belongs to one run, and less than as much again is wasted.
    if (length < MIN_KEPT_BYTES || 2 * length <= chunk.length) return this.record(chunk, start, end, frames);
    const block = this.#push(chunk.subarray(start, end), chunk.length);
    this.#recorded(block, length, frames);
  }

  /** Adds one frame that lies in several pieces. */
  recordPieces(frame: FramePieces): void {
    const block = this.#push(NO_BYTES, frame.allocated);
    block.pieces = frame;
    this.#recorded(block, frame.length, 1);
  }

  /** Adds one payload, which has no connection or is written without a run. */
  add(payload: Uint8Array): void {
    const length = HEADER_BYTES + payload.length;
    const block = this.#room(length);
    writeHeader(block.bytes, block.length, payload.length);
    block.bytes.set(payload, block.length + HEADER_BYTES);
    this.#recorded(block, length, 1);
  }

  /** True when the sender should wait for acknowledgements. */
  get isWindowFull(): boolean {
    const window = this.#budget.isShort ? SHORT_WINDOW_BYTES : this.window;
    return this.frames >= MAX_UNACKNOWLEDGED_FRAMES || this.bytes >= window;
  }

  /** Memory in use, in bytes. */
  get allocated(): number {
    return this.#allocated;
  }

  /** Counts its memory in `budget` from now on. */
  set budget(budget: ByteBudget) {
    this.#budget.give(this.#allocated);
    this.#budget = budget;
    budget.take(this.#allocated);
  }

  /** Drops all frames and stops counting, when the session has ended. */
  clear(): void {
    this.#budget.give(this.#allocated);
    this.#budget = UNLIMITED;
    for (const { bytes } of this.#blocks) bufferPool.release(bytes);
    this.#blocks.length = 0;
    this.#allocated = this.frames = this.bytes = this.#skip = 0;
    this.fullSince = undefined;
  }

  /** Drops the first `received` payload frames of the session; false when fewer were sent. */
  acknowledge(received: number): boolean {
    const count = received - this.acknowledged;
    if (count > this.frames) return false;
    if (count <= 0) return true; // acknowledged before
    this.acknowledged = received;
    this.frames -= count;
    let skip = this.#skip + count;
    let whole = 0;
    let freed = 0;
    for (const block of this.#blocks) {
      if (skip < block.frames) break;
      skip -= block.frames;
      this.bytes -= block.length;
      freed += block.allocated;
      bufferPool.release(block.bytes);
      whole++;
    }
    if (whole > 0) {
      this.#blocks.splice(0, whole);
      this.#allocated -= freed;
      this.#budget.give(freed);
    }
    if (this.bytes < this.window) this.fullSince = undefined;
    this.#skip = skip;
    return true;
  }

  /** True when a peer that has received `received` payloads can get all further ones from this buffer. */
  canResumeFrom(received: number): boolean {
    return received >= this.acknowledged && received <= this.acknowledged + this.frames;
  }

  /**
   * Yields the payload frames that are not acknowledged, in order, with headers. The views are valid until `acknowledge`.
   *
   * @param received the number of the session's first frames to leave out: the peer has received them, but may not have processed them.
   */
  *unacknowledged(received = this.acknowledged): Generator<Uint8Array> {
    let skip = this.#skip + received - this.acknowledged;
    for (const { bytes, length, pieces } of this.#blocks) {
      if (pieces !== undefined) {
        if (skip-- <= 0) yield Buffer.concat(pieces.list);
        continue;
      }
      const view = new DataView(bytes.buffer, bytes.byteOffset, length);
      for (let offset = 0; offset < length;) {
        const header = view.getUint32(offset);
        const isControl = header >= 0x80000000;
        const end = offset + HEADER_BYTES + (isControl ? header & 0xffff : header);
        if (!isControl && skip-- <= 0) yield bytes.subarray(offset, end);
        offset = end;
      }
    }
  }

  /** The last block if it has room for `count` more bytes, otherwise a new one. */
  #room(count: number): Block {
    const last = this.#blocks.at(-1);
    if (last !== undefined && last.bytes.length - last.length >= count) return last;
    const bytes =
      last === undefined && count < MIN_SHARED_BYTES
        ? new Uint8Array(count)
        : bufferPool.acquire(Math.min(RUNS_PER_BLOCK * count, Math.max(count, MAX_BLOCK_BYTES)));
    return this.#push(bytes, bytes.length);
  }

  #push(bytes: Uint8Array, allocated: number): Block {
    const budget = this.#budget;
    budget.take(allocated);
    if (this.#budget !== budget) budget.give(allocated); // its session was ended to free memory
    const block: Block = { bytes, allocated, length: 0, frames: 0 };
    this.#blocks.push(block);
    this.#allocated += allocated;
    return block;
  }

  #recorded(block: Block, length: number, frames: number): void {
    block.length += length;
    block.frames += frames;
    this.frames += frames;
    this.bytes += length;
    if (this.bytes >= this.window) this.fullSince ??= performance.now();
    if (this.bytes > this.limit) this.overflow?.();
  }
}
