/** Where any number of waiters wait for one thing to happen, again and again. */
export class Condition {
  #promise: Promise<void> | undefined;
  #open: (() => void) | undefined;

  /** Is somebody waiting? */
  get hasWaiters(): boolean {
    return this.#promise !== undefined;
  }

  /** Resolves when the gate is opened next. */
  wait(): Promise<void> {
    return (this.#promise ??= new Promise((resolve) => (this.#open = resolve)));
  }

  notifyAll(): void {
    const open = this.#open;
    this.#promise = this.#open = undefined;
    open?.();
  }
}
