// How often a client dials at most, whatever the server says and for whatever reason it dials: DIAL_BURST times at once, then once in
// each DIAL_INTERVAL_MS. connect.ts makes one for each client; each dial of that client waits for it.

import { setTimeout as delay } from "node:timers/promises";
import { DIAL_BURST, DIAL_INTERVAL_MS } from "../base/limits.ts";

export class DialLimiter {
  /** The time by which all dials so far would have been made, had there been one in each interval; by `performance.now`. */
  #spacedUntil = -Infinity;

  /** Resolves when another dial may be made, and counts it. */
  async wait(): Promise<void> {
    const pause = this.take(performance.now());
    if (pause > 0) await delay(pause);
  }

  /** Milliseconds after `now` from which on another dial may be made. */
  pause(now: number): number {
    return Math.max(0, this.#spacedUntil - (DIAL_BURST - 1) * DIAL_INTERVAL_MS - now);
  }

  /** A dial that was counted counts no more. */
  giveBack(): void {
    this.#spacedUntil -= DIAL_INTERVAL_MS;
  }

  /** Counts a dial. @returns the milliseconds after `now` in which it may be made. */
  take(now: number): number {
    const at = now + this.pause(now);
    this.#spacedUntil = Math.max(this.#spacedUntil, at) + DIAL_INTERVAL_MS;
    return at - now;
  }
}
