// Floods of equal events, summed up: the first few of a minute are logged one by one, the rest as one line that says how
// many there were, and from how many places. A log that fills the disk is an attack too.

import { LOG_SUMMARY_MS } from "../base/limits.ts";
import type { LogEvent, LogFields, Logger } from "./log.ts";

export interface Entry {
  level: "info" | "warn";
  event: LogEvent;
  /** What makes it equal to others. */
  kind: LogFields;
  /** Where it came from; counted in the sum. */
  source: string;
  /** What else is told of one that is logged. */
  fields: LogFields;
}

interface Summary {
  entry: Entry;
  seen: number;
  /** Of those that were not logged. */
  sources: Set<string>;
}

const MAX_SOURCES = 1000;
/** Kinds told apart until the next summary: a kind may name its source, and a flood comes from very many. */
const MAX_KINDS = 256;

export class RateLimitedLog {
  readonly #log: Logger;
  readonly #burst: number;
  readonly #summaries = new Map<string, Summary>();
  /** What was begun since the last summary, less what has come to something. */
  #open = 0;
  #timer: Timer | undefined;

  /** @param burst equal events that are logged one by one until the next summary. */
  constructor(log: Logger, burst: number) {
    this.#log = log;
    this.#burst = burst;
  }

  log(note: Entry): void {
    const { level, event, kind, source, fields } = note;
    const sum = this.#summaryOf(note);
    this.#start();
    if (++sum.seen <= this.#burst) this.#log[level](event, { ...fields, ...kind });
    else {
      this.#log.suppressed?.(event, { ...fields, ...kind });
      if (sum.sources.size < MAX_SOURCES) sum.sources.add(source);
    }
  }

  /**
   * Logs something that is worth its line only when it comes to something: at once, or in a flood not before that.
   *
   * @returns what to call when it did.
   */
  logIfQuiet(event: LogEvent, fields: LogFields): () => void {
    this.#start();
    const isFlooded = this.#open >= 2 * this.#burst;
    if (!isFlooded) this.#log.info(event, fields);
    this.#open++;
    return () => {
      if (this.#open > 0) this.#open--;
      if (isFlooded) this.#log.info(event, fields);
    };
  }

  /** Says what was left out, and begins anew. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#open = 0;
    for (const { entry: note, seen, sources } of this.#summaries.values()) {
      const similar = seen - this.#burst;
      if (similar <= 0) continue;
      const [source] = sources;
      const from = sources.size === 1 ? { source } : { sources: sources.size };
      this.#log[note.level](note.event, { similar, ...note.kind, ...from });
    }
    this.#summaries.clear();
  }

  /** The sum of those that are equal to `note`; behind {@link MAX_KINDS} of them, of all of its event. */
  #summaryOf(note: Entry): Summary {
    const { event, kind } = note;
    const exact = `${event} ${Object.values(kind).join(" ")}`;
    const isCrowded = this.#summaries.size >= MAX_KINDS && !this.#summaries.has(exact);
    const key = isCrowded ? event : exact;
    const sum = this.#summaries.get(key) ?? {
      entry: isCrowded ? { ...note, kind: {} } : note,
      seen: 0,
      sources: new Set(),
    };
    this.#summaries.set(key, sum);
    return sum;
  }

  #start(): void {
    this.#timer ??= setTimeout(() => this.flush(), LOG_SUMMARY_MS).unref();
  }
}
