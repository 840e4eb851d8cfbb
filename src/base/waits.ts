// Waits that have a condition and a deadline each. The conditions are asked when they may have changed, and at no other time. (A
// `Condition` is an event: all its waiters go on at once.)

interface Waiter {
  isMet(): boolean;
  settle(isMet: boolean): void;
}

export class Waits {
  readonly #waiters = new Set<Waiter>();

  /**
   * Resolves with true when `isMet` returns true, which is asked at once and at each {@link check}; with false at the deadline.
   *
   * @param deadline by `performance.now`.
   */
  until(isMet: () => boolean, deadline: number): Promise<boolean> {
    if (isMet()) return Promise.resolve(true);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const settle = (value: boolean) => {
      clearTimeout(timer);
      this.#waiters.delete(waiter);
      resolve(value);
    };
    const timer = setTimeout(settle, Math.max(0, deadline - performance.now()), false);
    const waiter: Waiter = { isMet, settle };
    this.#waiters.add(waiter);
    return promise;
  }

  /** Asks the conditions of all waiters. */
  check(): void {
    for (const waiter of this.#waiters) if (waiter.isMet()) waiter.settle(true);
  }
}
