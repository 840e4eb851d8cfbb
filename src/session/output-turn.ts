// Bounds the output that messages of one session cause for all sessions. After much output the session waits for a turn of the
// event loop, in which the output is written. After output for clients that fall behind it waits until they have caught up or are
// dropped.

import type { ByteBudget } from "../base/byte-budget.ts";
import { TURN_OUTPUT_BYTES } from "../base/limits.ts";
import { nextTurn } from "../base/yield.ts";
import type { SlowReaders } from "./slow-readers.ts";

export class OutputTurn {
  readonly #budget: ByteBudget;
  readonly #slowReaders: SlowReaders;
  /** Bytes of output from the messages of this turn. */
  #bytes = 0;

  constructor(budget: ByteBudget, slowReaders: SlowReaders) {
    this.#budget = budget;
    this.#slowReaders = slowReaders;
  }

  /** Bytes of output queued for all sessions since the start. */
  get queued(): number {
    return this.#budget.queued;
  }

  /** Counts `count` bytes of output of a message. Returns the promise that the next message waits for, or undefined. */
  add(count: number): Promise<void> | undefined {
    this.#bytes += count;
    const slow = this.#slowReaders.whenNone();
    if (slow === undefined && this.#bytes <= TURN_OUTPUT_BYTES) return undefined;
    this.#bytes = 0;
    return slow ?? nextTurn();
  }

  /** Waits for the turn of the other sessions. */
  ended(): void {
    this.#bytes = 0;
  }
}
