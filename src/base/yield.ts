// Lets a service that sends without end yield to the other connections.

import { SERVICE_SHARE_MS } from "./limits.ts";

/** Resolves after one turn of the event loop, in which other connections are served. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The time that a service may run before it yields: {@link SERVICE_SHARE_MS}. */
export class TimeSlice {
  #since = 0;

  /** Undefined while some of the slice is left; otherwise resolves when the next slice begins. */
  yieldIfExpired(): Promise<void> | undefined {
    if (performance.now() - this.#since < SERVICE_SHARE_MS) return undefined;
    return nextTurn().then(() => void (this.#since = performance.now()));
  }
}
