// Splits bytes into frames, and writes the headers of frames: a 4-byte big-endian number, then the payload.
//
//     +----------------+-------------------------+
//     | header: uint32 | payload: `header` bytes |
//     +----------------+-------------------------+
//
//     00000000–7fffffff   a payload of that many bytes
//     ffffffff            CPython's escape: a uint64 length follows, then the payload; read, never written
//     80000000–8000ffff   a control frame of (header & ffff) bytes, once both sides agreed to them
//     anything else       bad_length
//
// Pure: no I/O, no clock, no log. The limit is checked as soon as the header is complete, before memory is allocated. Memory
// grows with the bytes that were received, and not with the announced length. net/reader.ts and net/writer.ts use it, and
// services/program for programs that speak frames.
//
// States of a decoder: between two frames; inside a frame that came in pieces (`#partial`); failed, after which `take` always
// throws.

import { bufferPool } from "../base/buffer-pool.ts";
import { ParleyError } from "../base/errors.ts";
import { ReceivedMessage } from "./received-message.ts";

/** Bytes before the payload of every frame that parley writes. */
export const HEADER_BYTES = 4;
const ESCAPE = 0xffffffff;
const ESCAPE_HEADER_BYTES = 12;
const CONTROL_BIT = 0x80000000;
/** Longest payload that parley writes. */
export const MAX_PAYLOAD_BYTES = CONTROL_BIT - 1;
const CONTROL_MASK = 0xffff0000;
const EMPTY = new Uint8Array(0);
/** First allocation for a frame that arrives in pieces. */
const MIN_PARTIAL_BYTES = 512;
/** Longest control payload that is copied, see {@link FrameDecoder.payload}. */
const MAX_COPIED_BYTES = 64;

export type FrameErrorCode = "bad_length" | "frame_too_large" | "frame_cut";

/** The peer broke the framing. The decoder has failed, and the stream cannot be read on. */
export class FrameError extends ParleyError<FrameErrorCode> {
  override name = "FrameError";
  /** The invalid header; undefined when a header was not the cause. */
  header: number | undefined;
}

/** The kind of TLS record that begins with the invalid header; undefined when it is no TLS record. */
export function tlsRecord(error: FrameError): "hello" | "alert" | undefined {
  // Content type, then version 3.x: RFC 8446 §5.1.
  const start = (error.header ?? 0) >>> 8;
  if (start >= 0x160300 && start <= 0x160304) return "hello";
  return start >= 0x150300 && start <= 0x150304 ? "alert" : undefined;
}

/**
 * Splits a byte stream into frames without copying: `push` a chunk, then call `take` until it returns false, or `next` until it
 * returns undefined.
 *
 * A payload lies in its chunk, or in a buffer of its own when the frame came in pieces. The caller may keep it, which keeps the
 * whole chunk in memory. A chunk belongs to the decoder once it was pushed.
 */
export class FrameDecoder {
  /** Longest accepted payload, in bytes. A change applies to the next header. */
  limit: number;
  /** True when control frames are allowed; otherwise their headers are `bad_length`. */
  control = false;
  /** True when the last frame that was taken is a control frame. */
  isControl = false;
  /** The number of frames that came in pieces. */
  partialFrames = 0;

  #chunk: Uint8Array = EMPTY;
  #offset = 0;
  /** Header and payload of a frame that no single chunk held. */
  #partial: Uint8Array = EMPTY;
  #partialLength = 0;
  /** Where the payload of the last frame lies. */
  #source: Uint8Array = EMPTY;
  #start = 0;
  #end = 0;
  #error: FrameError | undefined;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Bytes that were pushed and not taken. */
  get buffered(): number {
    return this.#partialLength + this.#chunk.length - this.#offset;
  }

  /** Memory in use, in bytes. */
  get allocated(): number {
    return this.#partial.length + this.#chunk.length - this.#offset;
  }

  /** Bytes received of a frame that comes in pieces. */
  get partialLength(): number {
    return this.#partialLength;
  }

  /** Adds the next bytes of the stream. */
  push(chunk: Uint8Array): void {
    if (this.#error !== undefined) return;
    // Frames are left over only when the reader was paused. Joined, since `take` works on one chunk.
    this.#chunk =
      this.#offset === this.#chunk.length
        ? chunk
        : Buffer.concat([this.#chunk.subarray(this.#offset), chunk]);
    this.#offset = 0;
  }

  /** The payload of the next whole frame, or undefined when more bytes are needed. @throws {FrameError} as `take`. */
  next(): Uint8Array | undefined {
    return this.take() ? this.payload : undefined;
  }

  /**
   * Takes the next whole frame; false when more bytes are needed.
   *
   * @throws {FrameError} `bad_length` for an invalid header, `frame_too_large` for one over the limit. Every later call throws
   *   the same error.
   */
  take(): boolean {
    if (this.#error !== undefined) throw this.#error;
    if (this.#partialLength > 0) return this.#takePartial();
    const chunk = this.#chunk;
    const offset = this.#offset;
    const available = chunk.length - offset;
    if (available < HEADER_BYTES) return this.#keepRest(available);
    const header = readHeader(chunk, offset);
    // The fast path: a payload, and all of it in this chunk.
    if (header >= 0 && header <= this.limit && available - HEADER_BYTES >= header) {
      this.#source = chunk;
      this.#start = offset + HEADER_BYTES;
      this.#offset = this.#end = offset + HEADER_BYTES + header;
      this.isControl = false;
      return true;
    }
    const total = this.#measure(chunk, offset, available);
    if (total === undefined || available < total) return this.#keepRest(available, total);
    this.#offset = offset + total;
    return this.#found(chunk, offset + this.#headerBytes(header >>> 0), offset + total);
  }

  #found(source: Uint8Array, start: number, end: number): true {
    this.#source = source;
    this.#start = start;
    this.#end = end;
    return true;
  }

  /** The payload of the frame that was taken, as a message. */
  get message(): ReceivedMessage {
    return new ReceivedMessage(this.#source, this.#start, this.#end);
  }

  /**
   * The payload of the frame that was taken. That of a short control frame, such as an acknowledgement, is copied: a view would
   * cost three times as much.
   */
  get payload(): Uint8Array {
    const source = this.#source;
    const start = this.#start;
    const length = this.#end - start;
    if (!this.isControl || length > MAX_COPIED_BYTES) return source.subarray(start, this.#end);
    const bytes = new Uint8Array(length);
    for (let index = 0; index < length; index++) bytes[index] = source[start + index]!;
    return bytes;
  }

  /**
   * Marks the end of the stream. Call it when `next` has returned every whole frame.
   *
   * @throws {FrameError} `frame_cut` when it ended inside a frame.
   */
  end(): void {
    if (this.#error !== undefined || this.buffered === 0) return;
    throw this.#fail("frame_cut", `the stream ended inside a frame, ${this.buffered} bytes into it`);
  }

  /** Length of the frame at `offset`, header included; undefined when the header is not complete. */
  #measure(bytes: Uint8Array, offset: number, available: number): number | undefined {
    if (available < HEADER_BYTES) return undefined;
    const header = readHeader(bytes, offset) >>> 0;
    let length = header;
    if (header === ESCAPE) {
      if (available < ESCAPE_HEADER_BYTES) return undefined;
      const long = new DataView(bytes.buffer, bytes.byteOffset + offset).getBigUint64(HEADER_BYTES);
      if (long > BigInt(this.limit)) throw this.#tooLarge(long, header);
      length = Number(long);
    } else if (header >= CONTROL_BIT) {
      if (!this.control || (header & CONTROL_MASK) >>> 0 !== CONTROL_BIT) {
        throw this.#fail("bad_length", `invalid frame header ${header.toString(16)}`, header);
      }
      this.isControl = true;
      return HEADER_BYTES + (header & 0xffff);
    }
    this.isControl = false;
    if (length > this.limit) throw this.#tooLarge(length, header);
    return this.#headerBytes(header) + length;
  }

  #headerBytes(header: number): number {
    return header === ESCAPE ? ESCAPE_HEADER_BYTES : HEADER_BYTES;
  }

  /** Copies the begin of a frame out of its chunk, so that three bytes do not keep 512 KiB in memory. */
  #keepRest(available: number, total?: number): false {
    if (available > 0) this.#append(available, total ?? ESCAPE_HEADER_BYTES);
    this.#chunk = this.#source = EMPTY;
    this.#offset = 0;
    return false;
  }

  /** Completes the partial frame from the chunk, header first; false when more bytes are needed. */
  #takePartial(): boolean {
    for (;;) {
      const total = this.#measure(this.#partial, 0, this.#partialLength);
      if (total !== undefined && this.#partialLength >= total) {
        const partial = this.#partial;
        this.#partial = EMPTY;
        this.#partialLength = 0;
        return this.#found(partial, this.#headerBytes(readHeader(partial, 0) >>> 0), total);
      }
      const wanted = total ?? (this.#partialLength < HEADER_BYTES ? HEADER_BYTES : ESCAPE_HEADER_BYTES);
      const available = this.#chunk.length - this.#offset;
      if (available === 0) return false;
      this.#append(Math.min(wanted - this.#partialLength, available), wanted);
    }
  }

  /** Appends `count` bytes of the chunk to the partial frame, whose final length is `total`. */
  #append(count: number, total: number): void {
    if (this.#partialLength === 0) this.partialFrames++;
    const length = this.#partialLength + count;
    if (length > this.#partial.length) {
      // Four times the received length and not the announced one: a header of 4 bytes must not cost 1 MiB. Not zeroed, since
      // only written bytes are returned.
      const room = Math.min(total, Math.max(MIN_PARTIAL_BYTES, 4 * length));
      const size = Math.max(length, room);
      // Only the last one goes to the caller: those before it are used again.
      const grown = size < total ? bufferPool.acquire(size) : Buffer.allocUnsafeSlow(size);
      grown.set(this.#partial.subarray(0, this.#partialLength));
      bufferPool.release(this.#partial);
      this.#partial = grown;
    }
    this.#partial.set(this.#chunk.subarray(this.#offset, this.#offset + count), this.#partialLength);
    this.#partialLength = length;
    this.#offset += count;
    if (this.#offset === this.#chunk.length) {
      this.#chunk = EMPTY;
      this.#offset = 0;
    }
  }

  #tooLarge(length: number | bigint, header: number): FrameError {
    return this.#fail(
      "frame_too_large",
      `frame of ${length} bytes is over the limit of ${this.limit}`,
      header,
    );
  }

  #fail(code: FrameErrorCode, message: string, header?: number): FrameError {
    this.#error = new FrameError(code, message, { peerMessage: message });
    this.#error.header = header;
    this.#chunk = this.#source = this.#partial = EMPTY;
    this.#offset = this.#partialLength = 0;
    return this.#error;
  }
}

/**
 * The header at `offset`, as a signed number: below 0 unless it is the length of a payload. Unsigned numbers would turn all
 * offsets into floating-point numbers in the engine, which costs a tenth of a message (measured with Bun 1.4.5 by
 * scripts/bench.ts).
 */
function readHeader(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!;
}

/** True when the bytes from `start` to `end` have the header of a frame with them as its payload before them. */
export function hasHeader(bytes: Uint8Array, start: number, end: number): boolean {
  return start >= HEADER_BYTES && readHeader(bytes, start - HEADER_BYTES) === end - start;
}

/**
 * Writes the header of a frame of `length` bytes at `offset` of `target`.
 *
 * @throws {RangeError} when `length` has more than 31 bits: the escape is never written.
 */
export function writeHeader(target: Uint8Array, offset: number, length: number): void {
  if (length >= CONTROL_BIT) throw new RangeError(`a frame holds at most 2147483647 bytes, not ${length}`);
  writeUint32(target, offset, length);
}

/**
 * Writes the header of a control frame of `length` bytes at `offset` of `target`.
 *
 * @throws {RangeError} when `length` has more than 16 bits.
 */
export function writeControlHeader(target: Uint8Array, offset: number, length: number): void {
  if (length > 0xffff) throw new RangeError(`a control frame holds at most 65535 bytes, not ${length}`);
  writeUint32(target, offset, (CONTROL_BIT | length) >>> 0);
}

function writeUint32(target: Uint8Array, offset: number, value: number): void {
  target[offset] = value >>> 24;
  target[offset + 1] = value >>> 16;
  target[offset + 2] = value >>> 8;
  target[offset + 3] = value;
}
