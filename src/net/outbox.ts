// Output that the kernel would not take yet, in order: a list of blocks.
//
// Bun buffers nothing: `write` says how much the kernel took, and the rest is lost unless somebody keeps it. Bounded by
// its owner, which watches `length`. Blocks rather than one growing run: a peer that does not read costs what it has not
// read and one block, never twice that while it is copied.

const BLOCK_BYTES = 64 * 1024;
/** The first block of a queue, which is mostly short. */
const FIRST_BYTES = 1024;
/** Shared by all that are empty, as most are; never added to. */
const NONE: Buffer[] = [];

export class Outbox {
  #blocks: Buffer[] = NONE;
  /** Where the first block's bytes begin, and the last one's end. */
  #start = 0;
  #end = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** The first queued bytes, some of them at least when there are any; valid until the next call. */
  get first(): Uint8Array {
    const [block] = this.#blocks;
    if (block === undefined) return new Uint8Array(0);
    return block.subarray(this.#start, this.#blocks.length === 1 ? this.#end : block.length);
  }

  /** Makes room for `count` bytes at the end, in one piece, and returns where they go. */
  reserve(count: number): { target: Buffer; offset: number } {
    const last = this.#blocks.at(-1);
    this.#length += count;
    if (last !== undefined && this.#end + count <= last.length) {
      const offset = this.#end;
      this.#end += count;
      return { target: last, offset };
    }
    // What is left of the last block stays empty: cut it off, so that every block but the last is full.
    if (last !== undefined) this.#blocks[this.#blocks.length - 1] = last.subarray(0, this.#end);
    const size = this.#blocks.length === 0 ? FIRST_BYTES : BLOCK_BYTES;
    const target = Buffer.allocUnsafeSlow(Math.max(size, count));
    if (this.#blocks === NONE) this.#blocks = [target];
    else this.#blocks.push(target);
    this.#end = count;
    return { target, offset: 0 };
  }

  append(bytes: Uint8Array): void {
    const { target, offset } = this.reserve(bytes.length);
    target.set(bytes, offset);
  }

  /** Forgets the first `count` bytes, all within {@link first}: they are the kernel's now. */
  consume(count: number): void {
    this.#length -= count;
    this.#start += count;
    const [block] = this.#blocks;
    const end = this.#blocks.length === 1 ? this.#end : (block?.length ?? 0);
    if (this.#start < end) return;
    this.#blocks.shift();
    this.#start = 0;
    if (this.#blocks.length === 0) this.clear();
  }

  /** An empty outbox holds no memory. */
  clear(): void {
    this.#blocks = NONE;
    this.#start = this.#end = this.#length = 0;
  }
}
