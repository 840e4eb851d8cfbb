// The event loop, shared: whoever goes on without end, and never has to wait, lets the others have a turn all the same.

import { SERVICE_SHARE_MS } from "./limits.ts";

/** Resolves when everybody else has had a turn of the event loop. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** What one may take of it at a time: {@link SERVICE_SHARE_MS}. */
export class TimeSlice {
  #since = 0;

  /** Undefined while some of it is left; otherwise resolves with the next one. */
  yieldIfExpired(): Promise<void> | undefined {
    if (performance.now() - this.#since < SERVICE_SHARE_MS) return undefined;
    return nextTurn().then(() => void (this.#since = performance.now()));
  }
}
