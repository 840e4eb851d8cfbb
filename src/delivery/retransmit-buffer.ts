// What was sent and is not acknowledged yet, as it stood on the wire, so that it can be sent again over another connection.
//
// Copied in the runs in which it was written, into blocks that are used over and over: a copy for each message would cost
// a tenth of the message, and memory that is new each time twice the run (page faults; both measured). Control frames in
// a run are not part of the conversation and are left out when it is sent again.

import { MAX_UNACKNOWLEDGED_BYTES, MAX_UNACKNOWLEDGED_FRAMES } from "../base/limits.ts";
import { HEADER_BYTES, writeHeader } from "../wire/frame.ts";
import { bufferPool } from "../base/buffer-pool.ts";

/** Copies a part without a view of it, which would cost as much as a short copy (measured). */
const { copy } = Buffer.prototype;

interface Block {
  bytes: Uint8Array;
  /** How many of them are in use. */
  length: number;
  /** Payload frames in it. */
  frames: number;
}

/**
 * A run shorter than this that is the only one is kept in as much memory as it has bytes: most conversations are idle.
 * Further ones share blocks, since memory of its own costs a short one many times its bytes.
 */
const MIN_SHARED_BYTES = 1024;
/** A block is for so many runs like its first. */
const RUNS_PER_BLOCK = 4;

export class RetransmitBuffer {
  /** Payload frames acknowledged, ever. */
  acknowledged = 0;
  /** Payload frames kept. */
  frames = 0;
  /** Bytes kept, headers and what is acknowledged of the first block included. */
  bytes = 0;
  /** Called when more is kept than {@link limit}, in bytes. */
  overflow: (() => void) | undefined;
  limit = Infinity;
  readonly #blocks: Block[] = [];
  /** How many payload frames of the first block are acknowledged. */
  #skip = 0;

  /** Keeps a copy of the whole frames from `start` to `end` of `bytes`, `frames` of them payloads. */
  record(bytes: Uint8Array, start: number, end: number, frames: number): void {
    if (frames === 0) return;
    const block = this.#room(end - start);
    copy.call(bytes, block.bytes, block.length, start, end);
    this.#recorded(block, end - start, frames);
  }

  /** Keeps one payload that goes nowhere for now, or that is too long for the run it belongs to. */
  add(payload: Uint8Array): void {
    const length = HEADER_BYTES + payload.length;
    const block = this.#room(length);
    writeHeader(block.bytes, block.length, payload.length);
    block.bytes.set(payload, block.length + HEADER_BYTES);
    this.#recorded(block, length, 1);
  }

  /** Is so much kept that nothing should be added? */
  get isWindowFull(): boolean {
    return this.frames >= MAX_UNACKNOWLEDGED_FRAMES || this.bytes >= MAX_UNACKNOWLEDGED_BYTES;
  }

  /** The peer has `received` payload frames in all; false when that is more than were sent. */
  acknowledge(received: number): boolean {
    let news = received - this.acknowledged;
    if (news > this.frames) return false;
    if (news <= 0) return true; // old news
    this.acknowledged = received;
    this.frames -= news;
    news += this.#skip;
    let whole = 0;
    for (const block of this.#blocks) {
      if (news < block.frames) break;
      news -= block.frames;
      this.bytes -= block.length;
      bufferPool.release(block.bytes);
      whole++;
    }
    if (whole > 0) this.#blocks.splice(0, whole);
    this.#skip = news;
    return true;
  }

  /** Could a peer that has `received` payloads in all be served from here? */
  canResumeFrom(received: number): boolean {
    return received >= this.acknowledged && received <= this.acknowledged + this.frames;
  }

  /** Every payload frame that is not acknowledged, in order, header and all; valid until something is acknowledged. */
  *unacknowledged(): Generator<Uint8Array> {
    let skip = this.#skip;
    for (const { bytes, length } of this.#blocks) {
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

  /** The block that has room for `count` bytes more, at its end. */
  #room(count: number): Block {
    const last = this.#blocks.at(-1);
    if (last !== undefined && last.bytes.length - last.length >= count) return last;
    const bytes =
      last === undefined && count < MIN_SHARED_BYTES
        ? new Uint8Array(count)
        : bufferPool.acquire(Math.min(RUNS_PER_BLOCK * count, Math.max(count, MAX_BLOCK_BYTES)));
    const block = { bytes, length: 0, frames: 0 };
    this.#blocks.push(block);
    return block;
  }

  #recorded(block: Block, length: number, frames: number): void {
    block.length += length;
    block.frames += frames;
    this.frames += frames;
    this.bytes += length;
    if (this.bytes > this.limit) this.overflow?.();
  }
}

const MAX_BLOCK_BYTES = 256 * 1024;
