// Floods of equal refusals, summed up: the first few of a minute are logged one by one, the rest as one line that says
// how many there were. A log that fills the disk is an attack too.

import { LOG_SUMMARY_MS } from "./limits.ts";
import type { LogEvent, LogFields, Logger } from "./log.ts";

interface Count {
  level: "info" | "warn";
  event: LogEvent;
  kind: LogFields;
  seen: number;
}

export class FloodLog {
  readonly #log: Logger;
  readonly #burst: number;
  readonly #counts = new Map<string, Count>();
  #flooded = false;
  #timer: Timer | undefined;

  /** @param burst equal events that are logged one by one until the next summary. */
  constructor(log: Logger, burst: number) {
    this.#log = log;
    this.#burst = burst;
  }

  /** Logs an event. `kind` is what makes it equal to others; few kinds exist at a time. */
  note(level: "info" | "warn", event: LogEvent, kind: LogFields, fields: LogFields): void {
    const key = keyOf(event, kind);
    const count = this.#counts.get(key) ?? { level, event, kind, seen: 0 };
    this.#counts.set(key, count);
    this.#timer ??= setTimeout(() => this.flush(), LOG_SUMMARY_MS).unref();
    if (++count.seen <= this.#burst) this.#log[level](event, { ...fields, ...kind });
    else this.#flooded = true;
  }

  /** Is anything being summed up at the moment? */
  get isFlooded(): boolean {
    return this.#flooded;
  }

  /** Says what was left out, and begins anew. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const { level, event, kind, seen } of this.#counts.values()) {
      if (seen > this.#burst) this.#log[level](event, { ...kind, similar: seen - this.#burst });
    }
    this.#counts.clear();
    this.#flooded = false;
  }
}

function keyOf(event: LogEvent, kind: LogFields): string {
  return `${event} ${Object.values(kind).join(" ")}`;
}
