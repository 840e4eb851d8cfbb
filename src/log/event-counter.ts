// Counts the events of the log, written or not. `parley serve` wraps the log with it; server/metrics.ts shows the counts.

import type { LogEvent, LogFields, Logger } from "./log.ts";

/** The fields that may hold the kind of an event: the first one that is present does. Each has few values. */
const KINDS: Readonly<Partial<Record<LogEvent, readonly string[]>>> = {
  "logged-in": ["method"],
  "login-refused": ["code"],
  refused: ["code"],
  dropped: ["code"],
  disconnected: ["bye", "code"],
};

/** The name of the field that holds the kind of an event; undefined for an event without kinds. */
export function kindOf(event: LogEvent, fields: LogFields): string | undefined {
  const names = KINDS[event];
  if (names === undefined) return undefined;
  for (const name of names) if (fields[name] !== undefined) return name;
  return undefined;
}

export interface Count {
  event: LogEvent;
  /** The kind of the event, which is the value of that field; "" for an event without kinds. */
  kind: string;
  count: number;
}

export class EventCounter implements Iterable<Count> {
  readonly #counts = new Map<LogEvent, Map<string, Count>>();

  *[Symbol.iterator](): Iterator<Count> {
    for (const kinds of this.#counts.values()) yield* kinds.values();
  }

  /** A logger that counts each event and passes it to `log`. */
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
    };
  }

  #add(event: LogEvent, fields: LogFields = {}): void {
    const field = kindOf(event, fields);
    const kind = field === undefined ? "" : String(fields[field]);
    const kinds = this.#counts.get(event) ?? new Map<string, Count>();
    this.#counts.set(event, kinds);
    const known = kinds.get(kind);
    if (known === undefined) kinds.set(kind, { event, kind, count: 1 });
    else known.count++;
  }
}
