/** Any number of waiters wait for an event that can happen again. */
export class Condition {
  #promise: Promise<void> | undefined;
  #notify: (() => void) | undefined;

  /** True when there are waiters. */
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
