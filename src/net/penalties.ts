// Penalties for sources that misbehave, as sshd's PerSourcePenalties: each offence adds its time. Below a threshold they have no
// effect. Above it no connection of the source is accepted until its time is over.
//
// The number of sources is bounded. In a full table the source with the oldest offence makes room, so that a flood from many
// sources can only free sources of the flood.

import { BoundedMap } from "../base/bounded-map.ts";
import {
  LOOPBACK_PENALTY_MAX_MS,
  LOOPBACK_PENALTY_SHARE,
  MAX_PENALISED_SOURCES,
  PENALTY_MAX_MS,
  PENALTY_MS,
  PENALTY_THRESHOLD_MS,
  type PenaltyReason,
} from "../base/limits.ts";

/** The costs of offences. */
export interface PenaltyRule {
  /** The part of {@link PENALTY_MS} that counts. */
  share: number;
  thresholdMs: number;
  maxMs: number;
}

const USUAL_PENALTIES: PenaltyRule = { share: 1, thresholdMs: PENALTY_THRESHOLD_MS, maxMs: PENALTY_MAX_MS };
export const LOOPBACK_PENALTIES: PenaltyRule = {
  share: LOOPBACK_PENALTY_SHARE,
  thresholdMs: LOOPBACK_PENALTY_MAX_MS,
  maxMs: LOOPBACK_PENALTY_MAX_MS,
};

interface Penalty {
  /** The end of the penalty, by the caller's clock, in milliseconds. */
  until: number;
  /** True once the penalty has passed the threshold; it then holds until its end. */
  active: boolean;
}

export class Penalties {
  readonly #entries = new BoundedMap<string, Penalty>(MAX_PENALISED_SOURCES);

  get size(): number {
    return this.#entries.size;
  }

  add(source: string, offence: PenaltyReason, now: number, rule = USUAL_PENALTIES): void {
    const entry = this.#entries.get(source);
    const isOver = entry === undefined || entry.until <= now;
    const sum = (isOver ? now : entry.until) + PENALTY_MS[offence] * rule.share;
    const until = Math.min(sum, now + rule.maxMs);
    const active = (!isOver && entry.active) || until - now >= rule.thresholdMs;
    this.#entries.set(source, { until, active });
  }

  /** The milliseconds that `source` must still wait; undefined when it may connect. */
  remaining(source: string, now: number): number | undefined {
    const entry = this.#entries.get(source);
    if (entry === undefined) return undefined;
    if (entry.until > now) return entry.active ? entry.until - now : undefined;
    this.#entries.delete(source);
    return undefined;
  }

  /** Removes all penalties of `source`, after a successful login. */
  forgive(source: string): void {
    this.#entries.delete(source);
  }
}
