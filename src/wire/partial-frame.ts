// A frame that no single chunk held.
//
//     chunk, chunk, … → PartialFrame ─┬─→ one block     a short frame
//                                     └─→ FramePieces   a long one: its chunks as they came, and blocks for the small ones
//
// A long frame is gathered when a service asks for its bytes, and not when it is only sent on. Measured with Bun 1.4.5: to gather
// 1 MiB in new memory costs a quarter of its echo.

/** From this length on, header included, a frame stays in pieces. */
const MIN_PIECES_BYTES = 256 * 1024;
/** Bytes of a long frame stay in their chunk when they are so many, and so large a part of its memory; others are copied. */
const MIN_KEPT_BYTES = 16 * 1024;
const MIN_KEPT_PART = 1 / 4;
/** The first block of a frame. It has room for every header. */
const MIN_BLOCK_BYTES = 512;
/** Memory for each received byte. Not for each announced one: a header of 4 bytes must not cost 1 MiB. */
const MEMORY_PER_BYTE = 4;

const { copy } = Buffer.prototype;
const NO_BLOCK = new Uint8Array(0);

/** A whole frame in several pieces of memory, which nothing changes. */
export class FramePieces {
  /** The pieces in order; the first one holds the header and more. */
  readonly list: readonly Uint8Array[];
  /** Where the payload begins in the first piece. */
  readonly start: number;
  /** The bytes of the frame, header included. */
  readonly length: number;
  /** Memory that the pieces keep, in bytes. */
  readonly allocated: number;

  constructor(list: readonly Uint8Array[], start: number, length: number, allocated: number) {
    this.list = list;
    this.start = start;
    this.length = length;
    this.allocated = allocated;
  }

  /** The payload in memory of its own. */
  gather(): Uint8Array {
    return Buffer.concat(this.list).subarray(this.start);
  }

  /** Copies the payload to `target`. */
  copyTo(target: Uint8Array, offset: number): void {
    let to = offset;
    for (const [index, piece] of this.list.entries()) {
      const bytes = index === 0 ? piece.subarray(this.start) : piece;
      target.set(bytes, to);
      to += bytes.length;
    }
  }
}

export class PartialFrame {
  /** Received bytes, header included. */
  length = 0;
  /** Memory in use, in bytes. */
  allocated = 0;
  /** Pieces that are complete. */
  readonly #pieces: Uint8Array[] = [];
  /** The last piece, which has room for more. */
  #block = NO_BLOCK;
  #blockLength = 0;

  /** Memory that begins with the header, as far as that was received. */
  get begin(): Uint8Array {
    return this.#pieces[0] ?? this.#block;
  }

  /**
   * Adds the bytes from `start` to `end` of a chunk.
   *
   * @param total the length of the frame, header included; undefined while the header is not complete, which the first block holds.
   */
  append(chunk: Uint8Array, start: number, end: number, total = MIN_BLOCK_BYTES): void {
    const filled = Math.min(end, start + this.#block.length - this.#blockLength);
    this.#fill(chunk, start, filled);
    if (filled === end) return;
    const count = end - filled;
    if (total < MIN_PIECES_BYTES) this.#grow(count, total);
    else if (count < MIN_KEPT_BYTES || count < MIN_KEPT_PART * chunk.buffer.byteLength)
      this.#addBlock(count, total);
    else return this.#keep(chunk.subarray(filled, end));
    this.#fill(chunk, filled, end);
  }

  #fill(chunk: Uint8Array, start: number, end: number): void {
    copy.call(chunk, this.#block, this.#blockLength, start, end);
    this.#blockLength += end - start;
    this.length += end - start;
  }

  /** Moves a short frame to a block with room for `count` more bytes. */
  #grow(count: number, total: number): void {
    const old = this.#block;
    const received = this.length + count;
    this.allocated = Math.min(total, Math.max(MIN_BLOCK_BYTES, MEMORY_PER_BYTE * received));
    this.#block = Buffer.allocUnsafeSlow(this.allocated); // only written bytes are returned
    copy.call(old, this.#block, 0, 0, this.#blockLength);
  }

  /** Adds a block with room for `count` bytes to a long frame. */
  #addBlock(count: number, total: number): void {
    this.#endBlock();
    const left = MEMORY_PER_BYTE * (this.length + count) - this.allocated;
    const size = Math.min(total - this.length, Math.max(count, MIN_BLOCK_BYTES, left));
    this.#block = Buffer.allocUnsafeSlow(size);
    this.allocated += size;
  }

  #keep(piece: Uint8Array): void {
    this.#endBlock();
    this.#pieces.push(piece);
    this.length += piece.length;
    this.allocated += piece.buffer.byteLength;
  }

  #endBlock(): void {
    if (this.#blockLength > 0) this.#pieces.push(this.#block.subarray(0, this.#blockLength));
    this.#block = NO_BLOCK;
    this.#blockLength = 0;
  }

  /** The frame, once it is complete: in one piece, or in several. @param start the length of the header. */
  end(start: number): Uint8Array | FramePieces {
    if (this.#pieces.length === 0) return this.#block;
    this.#endBlock();
    return new FramePieces(this.#pieces, start, this.length, this.allocated);
  }
}
