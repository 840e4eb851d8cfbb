// So many in so long from each source, and no more. Bounded in the sources it remembers.

import { MAX_PENALISED_SOURCES } from "../base/limits.ts";

export class SlidingWindowLimiter {
  readonly #max: number;
  readonly #windowMs: number;
  /** When each source had its last ones, oldest first. */
  readonly #taken = new Map<string, number[]>();

  constructor(max: number, windowMs: number) {
    this.#max = max;
    this.#windowMs = windowMs;
  }

  /**
   * Takes one for `source`, at `now`; undefined, or how long it has to wait for the next one, in milliseconds, and then
   * none is taken. What came to nothing is given back.
   */
  take(source: string, now: number): number | undefined {
    const taken = this.#recent(source, now);
    if (taken.length >= this.#max) return (taken[0] ?? now) + this.#windowMs - now;
    this.record(source, now);
    return undefined;
  }

  /** Gives back what `source` took at `now`. */
  giveBack(source: string, now: number): void {
    const taken = this.#taken.get(source);
    const index = taken?.indexOf(now) ?? -1;
    if (index >= 0) taken?.splice(index, 1);
  }

  /** `source` has had one more, however many it has had. */
  record(source: string, now: number): void {
    const taken = this.#recent(source, now);
    // To the end of the map: the first one is always the one that was counted longest ago.
    this.#taken.delete(source);
    if (this.#taken.size >= MAX_PENALISED_SOURCES) {
      const [oldest] = this.#taken.keys();
      if (oldest !== undefined) this.#taken.delete(oldest);
    }
    this.#taken.set(source, [...taken, now].slice(-this.#max));
  }

  /** A source that is forgiven may have all again. */
  reset(source: string): void {
    this.#taken.delete(source);
  }

  /** How many `source` has had lately. */
  count(source: string, now: number): number {
    return this.#recent(source, now).length;
  }

  #recent(source: string, now: number): number[] {
    return (this.#taken.get(source) ?? []).filter((at) => now - at < this.#windowMs);
  }
}
