// How fast something may happen over time, with a reserve for what comes at once.
//
// What is spent beyond the reserve is a debt that time pays off: who spends waits for that, and nothing is refused. The debt
// is bounded by the reserve's size, so that no wait is longer than the time in which an empty reserve fills.

export class TokenBucket {
  readonly #perSecond: number;
  readonly #size: number;
  #level: number;
  /** When the level was right, in the caller's milliseconds. */
  #at = -Infinity;

  /**
   * @param perSecond how much is paid back in a second.
   * @param size the reserve, full at first.
   */
  constructor(perSecond: number, size: number) {
    this.#perSecond = perSecond;
    this.#size = this.#level = size;
  }

  /** Spends `count`; the milliseconds until the debt is paid off, 0 where there is none. */
  spend(count: number, now: number): number {
    const earned = ((now - this.#at) / 1000) * this.#perSecond;
    this.#at = now;
    this.#level = Math.max(-this.#size, Math.min(this.#size, this.#level + earned) - count);
    return Math.max(0, (-this.#level / this.#perSecond) * 1000);
  }
}
