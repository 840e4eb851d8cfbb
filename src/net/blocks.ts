// Memory that is used over and over, for bytes that live longer than a turn: what is new each time has to be mapped,
// zeroed and collected, which costs more than all that is done with it (measured).

/** Sizes are powers of two, from the first on. */
const MIN_BITS = 12;
const MAX_BITS = 20;
/** Memory kept for later use, in bytes. */
const MAX_FREE_BYTES = 4 * 1024 * 1024;

export class Blocks {
  readonly #free: Uint8Array[][] = Array.from({ length: MAX_BITS + 1 }, () => []);
  #bytes = 0;

  /** At least `count` bytes, not zeroed. */
  take(count: number): Uint8Array {
    const bits = Math.max(MIN_BITS, 32 - Math.clz32(count - 1));
    const block = this.#free[bits]?.pop();
    if (block === undefined) return Buffer.allocUnsafeSlow(bits > MAX_BITS ? count : 2 ** bits);
    this.#bytes -= block.length;
    return block;
  }

  /** Takes back what `take` gave, when nobody looks at it any more; other memory is let go. */
  give(block: Uint8Array): void {
    const bits = 31 - Math.clz32(block.length);
    if (bits < MIN_BITS || bits > MAX_BITS || block.length !== 2 ** bits) return;
    if (this.#bytes + block.length > MAX_FREE_BYTES) return;
    this.#bytes += block.length;
    this.#free[bits]?.push(block);
  }
}

export const blocks = new Blocks();
