// At most so many events of each source in any window of time. The number of sources that are remembered is bounded, too.

import { BoundedMap } from "../base/bounded-map.ts";
import { MAX_PENALISED_SOURCES } from "../base/limits.ts";

export class SlidingWindowLimiter {
  readonly #max: number;
  readonly #windowMs: number;
  /** The times of each source's last events, oldest first. */
  readonly #times = new BoundedMap<string, number[]>(MAX_PENALISED_SOURCES);

  constructor(max: number, windowMs: number) {
    this.#max = max;
    this.#windowMs = windowMs;
  }

  /** How long `source` has to wait for its next event, in milliseconds; undefined when that may be now. */
  retryAfter(source: string, now: number): number | undefined {
    const times = this.#recent(source, now);
    return times.length < this.#max ? undefined : (times[0] ?? now) + this.#windowMs - now;
  }

  /** Records an event of `source`, unless it has to wait: see {@link retryAfter}, which this returns. */
  take(source: string, now: number): number | undefined {
    const wait = this.retryAfter(source, now);
    if (wait === undefined) this.record(source, now);
    return wait;
  }

  /** Removes the event that was recorded at `now`: what it was for has failed. */
  giveBack(source: string, now: number): void {
    const times = this.#times.get(source);
    const index = times?.indexOf(now) ?? -1;
    if (index >= 0) times?.splice(index, 1);
  }

  /** Records an event of `source`, however many it has had. */
  record(source: string, now: number): void {
    this.#times.set(source, [...this.#recent(source, now), now].slice(-this.#max));
  }

  /** Forgets all events of `source`. */
  reset(source: string): void {
    this.#times.delete(source);
  }

  /** How many events `source` has had within the window. */
  count(source: string, now: number): number {
    return this.#recent(source, now).length;
  }

  #recent(source: string, now: number): number[] {
    return (this.#times.get(source) ?? []).filter((at) => now - at < this.#windowMs);
  }
}
