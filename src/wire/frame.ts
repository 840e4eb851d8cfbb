// Splits bytes into frames, and writes the headers of frames: a 4-byte big-endian number, then the payload. Bare frames may have
// another header (decimal.ts).
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
// States of a decoder: between two frames; inside a frame that comes in pieces (`#partial`); failed, after which `take` always
// throws.

import { ParleyError } from "../base/errors.ts";
import { FramePieces, PartialFrame } from "./partial-frame.ts";
import { ReceivedMessage } from "./received-message.ts";

/** How the header of a frame says the length of its payload. A connection has one framing from its first byte on. */
export interface Framing {
  /** As `--framing` names it. */
  readonly name: string;
  /** Bytes before the payload of every frame that parley writes. */
  readonly headerBytes: number;
  /** Longest payload that parley writes. */
  readonly maxPayloadBytes: number;
  /** The length of the payload whose header is at `offset`; below 0 when that is no header of a payload. */
  readonly read: (bytes: Uint8Array, offset: number) => number;
  /** Writes the header of a payload at `offset` of `target`. @throws {RangeError} when the payload is too long for a header. */
  readonly write: (target: Uint8Array, offset: number, length: number) => void;
  /** What is wrong with the invalid header at `offset`. */
  readonly explain: (bytes: Uint8Array, offset: number) => string;
}

/** Bytes before the payload of a {@link UINT32} frame that parley writes. */
export const HEADER_BYTES = 4;
/** The longest header of any framing. */
export const MAX_HEADER_BYTES = 20;
/** Headers as {@link readHeader} returns them. */
const ESCAPE = -1;
const CONTROL_START = -(2 ** 31);
const CONTROL_MASK = 0xffff0000;
const ESCAPE_HEADER_BYTES = 12;
const CONTROL_BIT = 0x80000000;
/** Longest payload that parley writes. */
export const MAX_PAYLOAD_BYTES = CONTROL_BIT - 1;
const EMPTY = new Uint8Array(0);
/** Stands for the source of a frame that is in several pieces. */
const IN_PIECES = new Uint8Array(0);
/** Longest control payload that is copied, see {@link FrameDecoder.payload}. */
const MAX_COPIED_BYTES = 64;

export type FrameErrorCode = "bad_length" | "frame_too_large" | "frame_cut";

/** The peer broke the framing. The decoder has failed, and the stream cannot be read on. */
export class FrameError extends ParleyError<FrameErrorCode> {
  override name = "FrameError";
  /** The first four bytes of the invalid header; undefined when it is shorter, or a header was not the cause. */
  header: number | undefined;
}

/** The kind of TLS record that begins with the invalid header; undefined when it is no TLS record. */
export function tlsRecord(error: FrameError): "hello" | "alert" | undefined {
  // Content type, then version 3.x: RFC 8446 §5.1.
  const start = (error.header ?? 0) >>> 8;
  if (start >= 0x160300 && start <= 0x160304) return "hello";
  return start >= 0x150300 && start <= 0x150304 ? "alert" : undefined;
}

/** True when the invalid header looks like decimal digits, or spaces before them. */
export function beginsWithDigits({ header }: FrameError): boolean {
  if (header === undefined) return false;
  const bytes = [header >>> 24, (header >>> 16) & 0xff, (header >>> 8) & 0xff, header & 0xff];
  return bytes.every((byte) => byte === 0x20 || (byte >= 0x30 && byte <= 0x39));
}

/**
 * Splits a byte stream into frames without copying: `push` a chunk, then call `take` until it returns false, or `next` until it
 * returns undefined.
 *
 * A payload lies in its chunk, or in memory of its own when no single chunk held the frame. The caller may keep it, which keeps the
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
  readonly framing: Framing;

  #chunk: Uint8Array = EMPTY;
  #offset = 0;
  /** The frame that is not complete, when its begin was in an earlier chunk. */
  #partial: PartialFrame | undefined;
  /** Where the payload of the last frame lies: in a chunk or a block, from `#start` to `#end`, or {@link IN_PIECES}, in `#pieces`. */
  #source: Uint8Array = EMPTY;
  #pieces: FramePieces | undefined;
  #start = 0;
  #end = 0;
  #error: FrameError | undefined;

  constructor(limit: number, framing = UINT32) {
    this.limit = limit;
    this.framing = framing;
  }

  /** Bytes that were pushed and not taken. */
  get buffered(): number {
    return this.partialLength + this.#chunk.length - this.#offset;
  }

  /** Memory in use, in bytes. */
  get allocated(): number {
    return (this.#partial?.allocated ?? 0) + this.#chunk.length - this.#offset;
  }

  /** Bytes received of a frame that comes in pieces. */
  get partialLength(): number {
    return this.#partial?.length ?? 0;
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
    const { framing } = this;
    if (this.#partial !== undefined) return this.#takePartial(this.#partial);
    const { headerBytes } = framing;
    const chunk = this.#chunk;
    const offset = this.#offset;
    const available = chunk.length - offset;
    if (available < headerBytes) return this.#keepRest(available);
    const header = framing.read(chunk, offset);
    // The fast path: a payload, and all of it in this chunk.
    if (header >= 0 && header <= this.limit && available - headerBytes >= header) {
      this.#source = chunk;
      this.#start = offset + headerBytes;
      this.#offset = this.#end = offset + headerBytes + header;
      this.isControl = false;
      return true;
    }
    const total = this.#measure(chunk, offset, available);
    if (total === undefined || available < total) return this.#keepRest(available, total);
    this.#offset = offset + total;
    return this.#found(chunk, offset + this.#headerBytes(header), offset + total);
  }

  #found(source: Uint8Array, start: number, end: number): true {
    this.#source = source;
    this.#start = start;
    this.#end = end;
    return true;
  }

  /** The payload of the frame that was taken, as a message. */
  get message(): ReceivedMessage {
    return this.#source === IN_PIECES
      ? ReceivedMessage.ofPieces(this.#pieces!)
      : new ReceivedMessage(this.#source, this.#start, this.#end);
  }

  /**
   * The payload of the frame that was taken. That of a short control frame, such as an acknowledgement, is copied: a view would
   * cost three times as much.
   */
  get payload(): Uint8Array {
    const source = this.#source;
    if (source === IN_PIECES) return this.#pieces!.gather();
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
    const { framing } = this;
    if (available < framing.headerBytes) return undefined;
    const header = framing.read(bytes, offset);
    let length = header;
    if (header === ESCAPE) {
      if (available < ESCAPE_HEADER_BYTES) return undefined;
      const long = new DataView(bytes.buffer, bytes.byteOffset + offset).getBigUint64(HEADER_BYTES);
      if (long > BigInt(this.limit)) throw this.#tooLarge(long, bytes, offset);
      length = Number(long);
    } else if (header < 0) {
      if (!this.control || (header & CONTROL_MASK) !== CONTROL_START) {
        throw this.#failAt("bad_length", framing.explain(bytes, offset), bytes, offset);
      }
      this.isControl = true;
      return HEADER_BYTES + (header & 0xffff);
    }
    this.isControl = false;
    if (length > this.limit) throw this.#tooLarge(length, bytes, offset);
    return this.#headerBytes(header) + length;
  }

  #headerBytes(header: number): number {
    return header === ESCAPE ? ESCAPE_HEADER_BYTES : this.framing.headerBytes;
  }

  /** Takes the begin of a frame out of its chunk. */
  #keepRest(available: number, total?: number): false {
    if (available > 0) {
      this.partialFrames++;
      this.#partial = new PartialFrame();
      this.#append(this.#partial, available, total);
    }
    this.#chunk = this.#source = EMPTY;
    this.#pieces = undefined;
    this.#offset = 0;
    return false;
  }

  /** Completes the partial frame from the chunk, header first; false when more bytes are needed. */
  #takePartial(partial: PartialFrame): boolean {
    for (;;) {
      const total = this.#measure(partial.begin, 0, partial.length);
      if (total !== undefined && partial.length >= total) {
        this.#partial = undefined;
        return this.#foundWhole(partial, total);
      }
      const { headerBytes } = this.framing;
      const wanted = total ?? (partial.length < headerBytes ? headerBytes : ESCAPE_HEADER_BYTES);
      const available = this.#chunk.length - this.#offset;
      if (available === 0) return false;
      this.#append(partial, Math.min(wanted - partial.length, available), total);
    }
  }

  #foundWhole(partial: PartialFrame, total: number): true {
    const start = this.#headerBytes(this.framing.read(partial.begin, 0));
    const whole = partial.end(start);
    if (!(whole instanceof FramePieces)) return this.#found(whole, start, total);
    this.#pieces = whole;
    this.#source = IN_PIECES;
    return true;
  }

  /** Adds `count` bytes of the chunk to the partial frame. */
  #append(partial: PartialFrame, count: number, total: number | undefined): void {
    partial.append(this.#chunk, this.#offset, this.#offset + count, total);
    this.#offset += count;
    if (this.#offset === this.#chunk.length) {
      this.#chunk = EMPTY;
      this.#offset = 0;
    }
  }

  #tooLarge(length: number | bigint, bytes: Uint8Array, offset: number): FrameError {
    // Twenty digits may say a number that is not exact here.
    const isExact = length <= Number.MAX_SAFE_INTEGER || typeof length === "bigint";
    const size = isExact ? `${length}` : `more than ${Number.MAX_SAFE_INTEGER}`;
    const message = `frame of ${size} bytes is over the limit of ${this.limit}`;
    return this.#failAt("frame_too_large", message, bytes, offset);
  }

  /** Fails for the header at `offset` of `bytes`. */
  #failAt(code: FrameErrorCode, message: string, bytes: Uint8Array, offset: number): FrameError {
    const error = this.#fail(code, message);
    if (this.framing.headerBytes >= HEADER_BYTES) error.header = readHeader(bytes, offset) >>> 0;
    return error;
  }

  #fail(code: FrameErrorCode, message: string): FrameError {
    this.#error = new FrameError(code, message, { peerMessage: message });
    this.#chunk = this.#source = EMPTY;
    this.#partial = this.#pieces = undefined;
    this.#offset = 0;
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

/** The framing of parley's own protocol, in which control frames and CPython's escape exist. */
export const UINT32: Framing = {
  name: "uint32",
  headerBytes: HEADER_BYTES,
  maxPayloadBytes: MAX_PAYLOAD_BYTES,
  read: readHeader,
  write: writeHeader,
  explain: (bytes, offset) => `invalid frame header ${(readHeader(bytes, offset) >>> 0).toString(16)}`,
};
