// How often each event of the log has happened, written or not: what `--metrics` tells.

import type { LogEvent, LogFields, Logger } from "./log.ts";

/** The fields that tell kinds of an event apart, the first that there is; each has few values. */
const KINDS: Readonly<Partial<Record<LogEvent, readonly string[]>>> = {
  "logged-in": ["method"],
  "login-refused": ["code"],
  refused: ["code"],
  dropped: ["code"],
  disconnected: ["bye", "code"],
};

export interface Count {
  event: LogEvent;
  /** "" where there is one kind. */
  kind: string;
  count: number;
}

export class EventCounter implements Iterable<Count> {
  /** By event, and by its kind. */
  readonly #counts = new Map<LogEvent, Map<string, Count>>();

  *[Symbol.iterator](): Iterator<Count> {
    for (const kinds of this.#counts.values()) yield* kinds.values();
  }

  /** `log`, with all that goes to it counted. */
  countingLogger(log: Logger): Logger {
    const counted = (level: "debug" | "info" | "warn" | "error") => (event: LogEvent, fields?: LogFields) => {
      this.#add(event, fields);
      log[level](event, fields);
    };
    return {
      debug: counted("debug"),
      info: counted("info"),
      warn: counted("warn"),
      error: counted("error"),
      suppressed: (event, fields) => this.#add(event, fields),
    };
  }

  #add(event: LogEvent, fields: LogFields = {}): void {
    if (fields["similar"] !== undefined) return; // a sum of what was counted one by one
    const field = KINDS[event]?.find((name) => fields[name] !== undefined);
    const kind = field === undefined ? "" : String(fields[field]);
    const kinds = this.#counts.get(event) ?? new Map<string, Count>();
    this.#counts.set(event, kinds);
    const known = kinds.get(kind);
    if (known === undefined) kinds.set(kind, { event, kind, count: 1 });
    else known.count++;
  }
}
