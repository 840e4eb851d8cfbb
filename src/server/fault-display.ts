// Shows errors of a handler on the operator's terminal, with the lines of code around them. An error that comes again and again
// is shown a few times in a minute, so that it does not hide the others; the log has more of them.

import { SlidingWindowLimiter } from "../auth/sliding-window-limiter.ts";
import { LOG_SUMMARY_MS, MAX_SHOWN_EQUAL_FAULTS, MAX_SHOWN_FAULTS } from "../base/limits.ts";
import type { HandlerError } from "../services/handler/handler.ts";

export class FaultDisplay {
  readonly #tell: (...lines: string[]) => void;
  readonly #all = new SlidingWindowLimiter(MAX_SHOWN_FAULTS, LOG_SUMMARY_MS);
  /** Those of each place in the code. */
  readonly #equal = new SlidingWindowLimiter(MAX_SHOWN_EQUAL_FAULTS, LOG_SUMMARY_MS);

  constructor(tell: (...lines: string[]) => void) {
    this.#tell = tell;
  }

  /** @param outcome what the error has ended. */
  show(error: HandlerError, outcome: string): void {
    const now = performance.now();
    const place = error.place ?? Bun.hash(error.message).toString();
    if (this.#equal.take(place, now) !== undefined || this.#all.take("all", now) !== undefined) return;
    this.#tell(`error in the handler: ${outcome}`, ...(error.hint ?? error.message).split("\n"));
    if (this.#all.retryAfter("all", now) !== undefined)
      this.#tell("further errors within a minute are only in the log");
    else if (this.#equal.retryAfter(place, now) !== undefined)
      this.#tell("this error is only in the log when it comes again within a minute");
  }
}
