// A payload as a service gets it: where it lies in the chunk that it came in. Its text and its bytes are made when they are asked
// for, and net/writer.ts sends it from where it lies. A long one may lie in several pieces, which are gathered when its bytes are
// asked for. Measured with Bun 1.4.5: this object costs 5 ns, a view of the chunk 30.
//
// A chunk belongs to its messages: Bun makes a new buffer for each read, so that a message may be kept.

import { decodeText, MessageError } from "./codec.ts";
import { FramePieces } from "./partial-frame.ts";

/** They decode UTF-8, and copy, without a view. */
const { utf8Slice, copy } = Buffer.prototype as unknown as {
  utf8Slice: (this: Uint8Array, start: number, end: number) => string;
  copy: (this: Uint8Array, target: Uint8Array, targetStart: number, start: number, end: number) => number;
};

/** Stands for bytes that are made as a copy, since output may still be written from the chunk. */
const SHARED = new Uint8Array(0);
/** The chunk of a message that lies in several pieces. */
const NO_CHUNK = new Uint8Array(0);

export class ReceivedMessage {
  readonly #chunk: Uint8Array;
  readonly #start: number;
  readonly #end: number;
  /** Undefined until the bytes are asked for, {@link SHARED}, or its pieces. Each further field costs time for every message. */
  #bytes: Uint8Array | FramePieces | undefined;

  constructor(chunk: Uint8Array, start = 0, end = chunk.length) {
    this.#chunk = chunk;
    this.#start = start;
    this.#end = end;
  }

  static ofPieces(pieces: FramePieces): ReceivedMessage {
    const message = new ReceivedMessage(NO_CHUNK, pieces.start, pieces.length);
    message.#bytes = pieces;
    return message;
  }

  /** The number of bytes. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** The bytes: the same array each time, which the service may change. */
  get bytes(): Uint8Array {
    if (this.#bytes === undefined) this.#bytes = this.#chunk.subarray(this.#start, this.#end);
    else if (this.#bytes === SHARED)
      this.#bytes = Uint8Array.prototype.slice.call(this.#chunk, this.#start, this.#end);
    else if (this.#bytes instanceof FramePieces) this.#bytes = this.#bytes.gather();
    return this.#bytes;
  }

  /** The text. @throws {MessageError} when the bytes are not UTF-8. */
  text(): string {
    const bytes = this.#bytes;
    if (bytes !== undefined && bytes !== SHARED)
      return decodeText(bytes instanceof FramePieces ? bytes.gather() : bytes);
    const text = utf8Slice.call(this.#chunk, this.#start, this.#end);
    // This character stands for bytes that are not UTF-8, or for itself.
    return text.includes("\uFFFD") ? decodeText(this.#chunk.subarray(this.#start, this.#end)) : text;
  }

  toString(): string {
    return this.text();
  }

  /** The value of its JSON text. @throws {MessageError} when it is none. */
  json(): unknown {
    const text = this.text();
    try {
      return JSON.parse(text);
    } catch (cause) {
      const words = "the message is not JSON";
      throw new MessageError("bad_message", words, { peerMessage: words, cause });
    }
  }

  /** Copies the bytes to `target`, where there is room for them. */
  copyTo(target: Uint8Array, offset: number): void {
    const bytes = this.#bytes;
    if (bytes === undefined || bytes === SHARED)
      copy.call(this.#chunk, target, offset, this.#start, this.#end);
    else if (bytes instanceof FramePieces) bytes.copyTo(target, offset);
    else target.set(bytes, offset);
  }

  // --- for the writer ---

  /** The frame, when it lies in several pieces that the service did not ask for. */
  get pieces(): FramePieces | undefined {
    return this.#bytes instanceof FramePieces ? this.#bytes : undefined;
  }

  /** The chunk, to send the message from it; undefined when there is none, or the service has its bytes and may have changed them. */
  share(): Uint8Array | undefined {
    if (this.#bytes === undefined) this.#bytes = SHARED;
    return this.#bytes === SHARED ? this.#chunk : undefined;
  }

  /** Where the message begins in the chunk. */
  get start(): number {
    return this.#start;
  }

  /** Where the message ends in the chunk. */
  get end(): number {
    return this.#end;
  }
}
