// Splits the bytes of a pipe into lines of bounded length. A line may span chunks, and the last one may lack its newline.

import { ParleyError } from "./errors.ts";

export const NEWLINE = 0x0a;
export const NUL = 0;
const CARRIAGE_RETURN = 0x0d;

/** What limits the length of a line, for the error. */
export interface LineLimit {
  name: string;
  /** What raises it. */
  raise: string;
}

export const SERVERS_LIMIT: LineLimit = {
  name: "the server's limit",
  raise: "raise --max-frame of the server",
};

export class LineSplitter {
  readonly #delimiter: number;
  readonly #maxBytes: number;
  readonly #limit: LineLimit;
  #pieces: Uint8Array[] = [];
  #length = 0;
  #count = 0;

  /** Lines end with the byte `delimiter`. A carriage return before a newline is removed, too. */
  constructor(delimiter: number, maxBytes: number, limit = SERVERS_LIMIT) {
    this.#delimiter = delimiter;
    this.#maxBytes = maxBytes;
    this.#limit = limit;
  }

  /**
   * The lines that `chunk` completes, without their ends.
   *
   * @throws {ParleyError} `failed` when a line is longer than the limit, after the lines before it were returned.
   */
  *push(chunk: Uint8Array): Generator<Uint8Array> {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(this.#delimiter, start);
      this.#keep(chunk.subarray(start, end === -1 ? chunk.length : end));
      if (end === -1) return;
      yield this.#take(this.#delimiter === NEWLINE);
      start = end + 1;
    }
  }

  /** The bytes after the last delimiter; undefined when there are none. */
  end(): Uint8Array | undefined {
    return this.#length === 0 ? undefined : this.#take(false);
  }

  #keep(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#pieces.push(piece);
    this.#length += piece.length;
    if (this.#length <= this.#maxBytes + 1) return; // one may still be a carriage return
    throw this.#tooLong();
  }

  #take(dropReturn: boolean): Uint8Array {
    const line = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces);
    const bare = dropReturn && line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line;
    if (bare.length > this.#maxBytes) throw this.#tooLong();
    this.#count++;
    this.#pieces = [];
    this.#length = 0;
    return bare;
  }

  #tooLong(): ParleyError {
    return new ParleyError(
      "failed",
      `line ${this.#count + 1} is longer than ${this.#maxBytes} bytes, ${this.#limit.name} for a message`,
      { hint: `use --raw to send bytes without lines, or ${this.#limit.raise}` },
    );
  }
}

/** `chunk` in pieces of `size` bytes, the last one shorter. They share its memory. */
export function* pieces(chunk: Uint8Array, size: number): Generator<Uint8Array> {
  for (let start = 0; start < chunk.length; start += size) yield chunk.subarray(start, start + size);
}
