// Bounds the output that messages of one session cause for all sessions. After much output the session waits for a turn of the
// event loop, in which the output is written. After output for clients that fall behind it waits until they have caught up or are
// dropped.

import { TURN_OUTPUT_BYTES } from "../base/limits.ts";
import { nextTurn } from "../base/yield.ts";
import type { SlowReaders } from "./slow-readers.ts";

export class OutputTurn {
  readonly #slowReaders: SlowReaders;
  /** Bytes of output from the messages of this turn. */
  #bytes = 0;

  constructor(slowReaders: SlowReaders) {
    this.#slowReaders = slowReaders;
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
