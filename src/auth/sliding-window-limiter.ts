// Limits the events of each source in any window of time. The number of remembered sources is bounded, too.

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

  /** The milliseconds until the next event of `source`; undefined when it may happen now. */
  retryAfter(source: string, now: number): number | undefined {
    const times = this.#recent(source, now);
    return times.length < this.#max ? undefined : (times[0] ?? now) + this.#windowMs - now;
  }

  /** Records an event of `source`, unless it must wait. Returns {@link retryAfter}. */
  take(source: string, now: number): number | undefined {
    const wait = this.retryAfter(source, now);
    if (wait === undefined) this.record(source, now);
    return wait;
  }

  /** Removes the event that was recorded at `now`, when its purpose has failed. */
  giveBack(source: string, now: number): void {
    const times = this.#times.get(source);
    const index = times?.indexOf(now) ?? -1;
    if (index >= 0) times?.splice(index, 1);
  }

  /** Records an event of `source`, also above the limit. */
  record(source: string, now: number): void {
    this.#times.set(source, [...this.#recent(source, now), now].slice(-this.#max));
  }

  /** Forgets all events of `source`. */
  reset(source: string): void {
    this.#times.delete(source);
  }

  /** The number of events of `source` within the window. */
  count(source: string, now: number): number {
    return this.#recent(source, now).length;
  }

  #recent(source: string, now: number): number[] {
    return (this.#times.get(source) ?? []).filter((at) => now - at < this.#windowMs);
  }
}
