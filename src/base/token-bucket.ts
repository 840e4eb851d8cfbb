// Limits a rate over time, with a reserve for bursts.
//
// Spending more than the reserve makes a debt, which time pays off. The spender waits for that, and is not refused. The debt is at
// most the reserve's size, so that no wait is longer than the time in which an empty reserve fills.

export class TokenBucket {
  readonly #perSecond: number;
  readonly #size: number;
  #level: number;
  /** When the level was last updated, in the caller's milliseconds. */
  #at = -Infinity;

  /**
   * @param perSecond the amount that a second adds.
   * @param size the reserve, full at first.
   */
  constructor(perSecond: number, size: number) {
    this.#perSecond = perSecond;
    this.#size = this.#level = size;
  }

  /** Spends `count`, and returns the milliseconds until the debt is paid off: 0 without a debt. */
  spend(count: number, now: number): number {
    const earned = ((now - this.#at) / 1000) * this.#perSecond;
    this.#at = now;
    this.#level = Math.max(-this.#size, Math.min(this.#size, this.#level + earned) - count);
    return Math.max(0, (-this.#level / this.#perSecond) * 1000);
  }
}
