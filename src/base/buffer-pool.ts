// Reuses memory for bytes that live longer than one turn of the event loop. New memory must be mapped, zeroed and collected each
// time, which costs more than the work on it (measured with Bun 1.4.5 by scripts/bench.ts).

/** From 4 KiB to 2 MiB, four sizes to a power of two: at most a quarter of a block is wasted. */
const MIN_BITS = 12;
const MAX_BITS = 20;
/** Memory kept for later use, in bytes: 50 frames of 256 KiB at once. */
const MAX_FREE_BYTES = 16 * 1024 * 1024;
/** How long free memory is kept while no memory is requested, in milliseconds. */
const KEEP_MS = 10_000;

class BufferPool {
  readonly #free = new Map<number, Uint8Array[]>();
  readonly #made = new WeakSet<Uint8Array>();
  #bytes = 0;
  #isInUse = false;
  #timer: Timer | undefined;

  /** At least `count` bytes, not zeroed. */
  acquire(count: number): Uint8Array {
    this.#isInUse = true;
    const size = sizeFor(count);
    const free = this.#free.get(size)?.pop();
    if (free !== undefined) {
      this.#bytes -= size;
      return free;
    }
    const block = Buffer.allocUnsafeSlow(size);
    if (size < 2 ** (MAX_BITS + 1)) this.#made.add(block);
    return block;
  }

  /** Takes back a block of `acquire` to which no reference is left. Other memory is left to the collector. */
  release(block: Uint8Array): void {
    if (!this.#made.has(block) || this.#bytes + block.length > MAX_FREE_BYTES) return;
    this.#bytes += block.length;
    const free = this.#free.get(block.length);
    if (free === undefined) this.#free.set(block.length, [block]);
    else free.push(block);
    this.#timer ??= setInterval(() => this.#trim(), KEEP_MS).unref();
  }

  /** Frees the memory when none was requested since the last call. */
  #trim(): void {
    if (this.#isInUse) return void (this.#isInUse = false);
    this.#free.clear();
    this.#bytes = 0;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

function sizeFor(count: number): number {
  const bits = Math.max(MIN_BITS, 31 - Math.clz32(Math.max(1, count - 1)));
  if (bits > MAX_BITS) return count;
  const step = 2 ** (bits - 2);
  return Math.max(2 ** MIN_BITS, Math.ceil(count / step) * step);
}

/** One pool for the process, since connections are short-lived. */
export const bufferPool = new BufferPool();
