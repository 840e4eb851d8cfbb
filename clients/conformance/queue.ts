// What has come and was not taken yet; a reader waits for the next one, for a limited time.

/** How long a client may take for a step, in milliseconds. */
export const PATIENCE_MS = 10_000;

export class Queue<T> {
  readonly #items: T[] = [];
  #wake: (() => void) | undefined;
  #end: Error | undefined;

  push(item: T): void {
    this.#items.push(item);
    this.#wake?.();
  }

  /** Nothing more comes. */
  end(reason: Error): void {
    this.#end ??= reason;
    this.#wake?.();
  }

  /** What has come, which a reader does not find any more. */
  rest(): T[] {
    return this.#items.splice(0);
  }

  /** The next one, which stays. @throws {Error} when there is none: the reason of the end, or `silence` after a while. */
  async peek(silence: string): Promise<T> {
    const until = performance.now() + PATIENCE_MS;
    while (this.#items.length === 0) {
      if (this.#end !== undefined) throw this.#end;
      const left = until - performance.now();
      if (left <= 0) throw new Error(`${silence} within ${PATIENCE_MS / 1000} s`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#items[0]!;
  }

  /** Removes the next one. */
  drop(): void {
    this.#items.shift();
  }

  async next(silence: string): Promise<T> {
    const item = await this.peek(silence);
    this.drop();
    return item;
  }
}
