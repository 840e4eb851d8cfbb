/** Where any number of waiters wait for one thing to happen, again and again. */
export class Condition {
  #promise: Promise<void> | undefined;
  #notify: (() => void) | undefined;

  /** Does anything wait? */
  get hasWaiters(): boolean {
    return this.#promise !== undefined;
  }

  /** Resolves at the next {@link notifyAll}. */
  wait(): Promise<void> {
    return (this.#promise ??= new Promise((resolve) => (this.#notify = resolve)));
  }

  notifyAll(): void {
    const notify = this.#notify;
    this.#promise = this.#notify = undefined;
    notify?.();
  }
}
