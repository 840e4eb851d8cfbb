// Sources that misbehave wait, as sshd's PerSourcePenalties: each offence adds its time, nothing happens below a
// threshold, and then nobody from there is let in until the time is over.
//
// Bounded: in a full table the source that was penalised longest ago makes room, so that a flood of sources can at most
// let some of itself off.

import {
  MAX_PENALISED_SOURCES,
  PENALTY_MAX_MS,
  PENALTY_MS,
  PENALTY_THRESHOLD_MS,
  type PenaltyReason,
} from "../base/limits.ts";

interface Penalty {
  /** When it is over, in the caller's milliseconds. */
  until: number;
  /** Has it passed the threshold? Then it holds until it is over. */
  active: boolean;
}

export class Penalties {
  readonly #entries = new Map<string, Penalty>();

  get size(): number {
    return this.#entries.size;
  }

  add(source: string, offence: PenaltyReason, now: number): void {
    const entry = this.#entries.get(source);
    const isOver = entry === undefined || entry.until <= now;
    const until = Math.min((isOver ? now : entry.until) + PENALTY_MS[offence], now + PENALTY_MAX_MS);
    const active = (!isOver && entry.active) || until - now >= PENALTY_THRESHOLD_MS;
    // To the end of the map: the first one is always the one that was touched longest ago.
    this.#entries.delete(source);
    if (this.#entries.size >= MAX_PENALISED_SOURCES) {
      const [oldest] = this.#entries.keys();
      if (oldest !== undefined) this.#entries.delete(oldest);
    }
    this.#entries.set(source, { until, active });
  }

  /** How long `source` has still to wait, in milliseconds; undefined when it may come in. */
  remaining(source: string, now: number): number | undefined {
    const entry = this.#entries.get(source);
    if (entry === undefined) return undefined;
    if (entry.until > now) return entry.active ? entry.until - now : undefined;
    this.#entries.delete(source);
    return undefined;
  }

  /** A successful login: everything is forgiven. */
  forgive(source: string): void {
    this.#entries.delete(source);
  }
}
