// Limits the lines of equal events: the first few of a minute are logged one by one, the rest as one line with their number and
// the number of their sources. Otherwise a flood of connections would fill the disk. server/login-handler.ts logs through it.

import { LOG_SUMMARY_MS } from "../base/limits.ts";
import type { LogEvent, LogFields, Logger } from "./log.ts";

export interface Entry {
  level: "info" | "warn";
  event: LogEvent;
  /** Entries with equal events and kinds are equal. */
  kind: LogFields;
  /** The address that caused it. A summary has their number. */
  source: string;
  /** Further fields of a line of its own. */
  fields: LogFields;
}

interface Summary {
  entry: Entry;
  seen: number;
  /** The sources of those that got no line of their own. */
  sources: Set<string>;
}

const MAX_SOURCES = 1000;
/** Kinds that are counted separately until the next summary. A kind may name its source, and a flood has very many. */
const MAX_KINDS = 256;

export class RateLimitedLog {
  readonly #log: Logger;
  readonly #burst: number;
  readonly #summaries = new Map<string, Summary>();
  /** Calls of `logIfQuiet` since the last summary whose result was not called. */
  #unfinished = 0;
  #timer: Timer | undefined;

  /** @param burst the number of equal events that are logged one by one until the next summary. */
  constructor(log: Logger, burst: number) {
    this.#log = log;
    this.#burst = burst;
  }

  log(entry: Entry): void {
    const { level, event, kind, source, fields } = entry;
    const summary = this.#summaryOf(entry);
    this.#start();
    if (++summary.seen <= this.#burst) this.#log[level](event, { ...fields, ...kind });
    else {
      this.#log.suppressed?.(event, { ...fields, ...kind });
      if (summary.sources.size < MAX_SOURCES) summary.sources.add(source);
    }
  }

  /**
   * Logs the begin of something that may come to nothing, such as a connection without a login: at once, or during a flood only
   * when it succeeds.
   *
   * @returns a function to call on success.
   */
  logIfQuiet(event: LogEvent, fields: LogFields): () => void {
    this.#start();
    const isFlooded = this.#unfinished >= 2 * this.#burst;
    if (!isFlooded) this.#log.info(event, fields);
    this.#unfinished++;
    return () => {
      if (this.#unfinished > 0) this.#unfinished--;
      if (isFlooded) this.#log.info(event, fields);
    };
  }

  /** Logs the summaries, and begins a new period. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#unfinished = 0;
    for (const { entry, seen, sources } of this.#summaries.values()) {
      const similar = seen - this.#burst;
      if (similar <= 0) continue;
      const [source] = sources;
      const from = sources.size === 1 ? { source } : { sources: sources.size };
      this.#log[entry.level](entry.event, { similar, ...entry.kind, ...from });
    }
    this.#summaries.clear();
  }

  /** The summary of entries equal to `entry`. Beyond {@link MAX_KINDS} it is one for all kinds of the event. */
  #summaryOf(entry: Entry): Summary {
    const { event, kind } = entry;
    const exact = `${event} ${Object.values(kind).join(" ")}`;
    const isCrowded = this.#summaries.size >= MAX_KINDS && !this.#summaries.has(exact);
    const key = isCrowded ? event : exact;
    const summary = this.#summaries.get(key) ?? {
      entry: isCrowded ? { ...entry, kind: {} } : entry,
      seen: 0,
      sources: new Set(),
    };
    this.#summaries.set(key, summary);
    return summary;
  }

  #start(): void {
    this.#timer ??= setTimeout(() => this.flush(), LOG_SUMMARY_MS).unref();
  }
}
