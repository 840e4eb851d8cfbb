// Bounds what the messages of one session make for all sessions: after much output it waits for a turn of the event loop, in
// which that is written; after output for clients that fall behind, until they have caught up or are dropped.

import type { ByteBudget } from "../base/byte-budget.ts";
import { TURN_OUTPUT_BYTES } from "../base/limits.ts";
import { nextTurn } from "../base/yield.ts";
import type { SlowReaders } from "./slow-readers.ts";

export class OutputTurn {
  readonly #budget: ByteBudget;
  readonly #slowReaders: SlowReaders;
  /** Bytes that messages of this turn have queued. */
  #bytes = 0;

  constructor(budget: ByteBudget, slowReaders: SlowReaders) {
    this.#budget = budget;
    this.#slowReaders = slowReaders;
  }

  /** Bytes of output ever queued, for all sessions. */
  get queued(): number {
    return this.#budget.queued;
  }

  /** A message has queued `count` bytes: what the next one waits for, or undefined. */
  add(count: number): Promise<void> | undefined {
    this.#bytes += count;
    const slow = this.#slowReaders.whenNone();
    if (slow === undefined && this.#bytes <= TURN_OUTPUT_BYTES) return undefined;
    this.#bytes = 0;
    return slow ?? nextTurn();
  }

  /** The other sessions have their turn. */
  ended(): void {
    this.#bytes = 0;
  }
}
