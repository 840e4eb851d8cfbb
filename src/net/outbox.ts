// Output that the kernel would not take yet, in order: one growable run of bytes.
//
// Bun buffers nothing: `write` says how much the kernel took, and the rest is lost unless somebody keeps it. Bounded by
// its owner, which watches `length`.

const EMPTY = Buffer.alloc(0);
const MIN_BYTES = 1024;

export class Outbox {
  #bytes: Buffer = EMPTY;
  #start = 0;
  #end = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  /** The queued bytes, valid until the next call. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.#end);
  }

  /** Makes room for `count` bytes at the end and returns where they go: `target` from `offset` on. */
  reserve(count: number): { target: Buffer; offset: number } {
    const length = this.length;
    if (this.#end + count > this.#bytes.length) {
      const target =
        length + count <= this.#bytes.length && this.#start >= length
          ? this.#bytes
          : Buffer.allocUnsafeSlow(Math.max(MIN_BYTES, 2 * length, length + count));
      this.#bytes.copy(target, 0, this.#start, this.#end);
      this.#bytes = target;
      this.#start = 0;
      this.#end = length;
    }
    const offset = this.#end;
    this.#end += count;
    return { target: this.#bytes, offset };
  }

  append(bytes: Uint8Array): void {
    const { target, offset } = this.reserve(bytes.length);
    target.set(bytes, offset);
  }

  /** Forgets the first `count` bytes: they are the kernel's now. An empty outbox holds no memory. */
  consume(count: number): void {
    this.#start += count;
    if (this.#start >= this.#end) this.clear();
  }

  clear(): void {
    this.#bytes = EMPTY;
    this.#start = this.#end = 0;
  }
}
