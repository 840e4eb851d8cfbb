// Limits what clients can write to the log. The first lines of a minute are written at once. The others are counted, and become one
// line for each source. Otherwise a flood, or one client that logs in and leaves, would fill the disk.
//
//     equal lines of one source            10 refusals, 120 of any other event
//     all lines of one source              128 KiB
//     all lines of one event               128 KiB, so that a flood of one kind hides no other
//     program-stderr, beside all of these  64 KiB of one conversation, 128 KiB of one source, 1 MiB in all
//
// The source is the address of the field `peer`. Events that no client can cause are not limited. `parley serve` puts it over the
// log file, so that every line of the server and of its services passes it.

import { addressOf, sourceOf } from "../base/address.ts";
import {
  LOG_SUMMARY_MS,
  MAX_LOG_ALL_STDERR_BYTES,
  MAX_LOG_EVENT_BYTES,
  MAX_LOG_EVENTS,
  MAX_LOG_FIELD_LENGTH,
  MAX_LOG_GROUPS,
  MAX_LOG_REFUSALS,
  MAX_LOG_SOURCE_BYTES,
  MAX_LOG_STDERR_BYTES,
  MAX_LOG_SUMMARIES,
} from "../base/limits.ts";
import { kindOf } from "./event-counter.ts";
import type { LogEvent, LogFields, Logger } from "./log.ts";

/** Events of the operator. Summaries are written before them. */
const UNLIMITED: ReadonlySet<LogEvent> = new Set([
  "listening",
  "metrics-listening",
  "port-taken",
  "users-edited",
  "users-flawed",
  "handler-reloaded",
  "log-lost",
  "stopping",
  "stopped",
]);
const REFUSALS: ReadonlySet<LogEvent> = new Set(["refused", "login-refused", "key-refused", "tls-failed"]);

type Level = keyof Logger;

/** Bytes that may still be written until the next summary. */
interface Allowance {
  bytes: number;
}

/** Equal lines of one source. */
interface Group {
  level: Level;
  event: LogEvent;
  /** The fields that the lines share, for their summary. */
  facts: LogFields;
  /** How many more lines may be written. */
  lines: number;
  /** Lines that were left out. */
  left: number;
  /** Each of them must have bytes left. */
  allowances: readonly Allowance[];
}

export class RateLimitedLog implements Logger {
  readonly #log: Logger & { readonly bytes: number };
  readonly #groups = new Map<string, Group>();
  readonly #allowances = new Map<string, Allowance>();
  /** Set from the first line until the counts start from zero again. */
  #isCounting = false;

  constructor(log: Logger & { readonly bytes: number }) {
    this.#log = log;
  }

  debug(event: LogEvent, fields?: LogFields): void {
    this.#write("debug", event, fields);
  }

  info(event: LogEvent, fields?: LogFields): void {
    this.#write("info", event, fields);
  }

  warn(event: LogEvent, fields?: LogFields): void {
    this.#write("warn", event, fields);
  }

  error(event: LogEvent, fields?: LogFields): void {
    this.#write("error", event, fields);
  }

  /** Writes the summaries of the lines that were left out since the last summaries. */
  flush(): void {
    const groups = [...this.#groups.values()].filter(({ left }) => left > 0);
    for (const ofEvent of Map.groupBy(groups, ({ event }) => event).values()) {
      ofEvent.sort((a, b) => b.left - a.left);
      for (const { level, event, facts, left } of ofEvent.slice(0, MAX_LOG_SUMMARIES)) {
        this.#log[level](event, { similar: left, ...facts });
      }
      const [first, ...others] = ofEvent.slice(MAX_LOG_SUMMARIES);
      if (first === undefined) continue;
      const similar = others.reduce((sum, { left }) => sum + left, first.left);
      const sources = new Set([first, ...others].map(({ facts }) => facts["source"])).size;
      this.#log[first.level](first.event, { similar, sources });
    }
    for (const group of groups) group.left = 0;
  }

  #write(level: Level, event: LogEvent, fields: LogFields = {}): void {
    if (UNLIMITED.has(event)) {
      this.flush();
      return this.#log[level](event, fields);
    }
    if (!this.#isCounting) setTimeout(() => this.#beginAnew(), LOG_SUMMARY_MS).unref();
    this.#isCounting = true;
    const group = this.#groupOf(level, event, fields);
    if (group.lines <= 0 || group.allowances.some(({ bytes }) => bytes <= 0)) return void group.left++;
    const before = this.#log.bytes;
    this.#log[level](event, shorten(fields));
    const written = this.#log.bytes - before;
    group.lines--;
    for (const allowance of group.allowances) allowance.bytes -= written;
  }

  #beginAnew(): void {
    this.flush();
    this.#isCounting = false;
    this.#groups.clear();
    this.#allowances.clear();
  }

  #groupOf(level: Level, event: LogEvent, fields: LogFields): Group {
    const { peer, conn } = fields;
    const source = typeof peer === "string" ? sourceOf(addressOf(peer)) : undefined;
    const kind = kindOf(event, fields);
    const isStderr = event === "program-stderr";
    const exact = `${event} ${kind && fields[kind]} ${source} ${isStderr ? conn : ""}`;
    // Beyond the limit a group is one for all sources.
    const isCrowded = this.#groups.size >= MAX_LOG_GROUPS && !this.#groups.has(exact);
    const key = isCrowded ? event : exact;
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const facts = { conn: isStderr ? conn : undefined, source, ...(kind && { [kind]: fields[kind] }) };
    const group = {
      level,
      event,
      facts: isCrowded ? {} : facts,
      lines: isStderr ? Infinity : REFUSALS.has(event) ? MAX_LOG_REFUSALS : MAX_LOG_EVENTS,
      left: 0,
      allowances: isStderr
        ? [
            { bytes: MAX_LOG_STDERR_BYTES },
            this.#allowance(`stderr ${isCrowded ? "" : source}`, MAX_LOG_SOURCE_BYTES),
            this.#allowance(event, MAX_LOG_ALL_STDERR_BYTES),
          ]
        : [
            this.#allowance(`source ${isCrowded ? "" : source}`, MAX_LOG_SOURCE_BYTES),
            this.#allowance(event, MAX_LOG_EVENT_BYTES),
          ],
    };
    this.#groups.set(key, group);
    return group;
  }

  #allowance(key: string, bytes: number): Allowance {
    const allowance = this.#allowances.get(key) ?? { bytes };
    this.#allowances.set(key, allowance);
    return allowance;
  }
}

/** `fields` with long texts cut off. */
function shorten(fields: LogFields): LogFields {
  const isLong = (value: LogFields[string]) =>
    typeof value === "string" && value.length > MAX_LOG_FIELD_LENGTH;
  if (!Object.values(fields).some(isLong)) return fields;
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) =>
      isLong(value) ? [name, `${String(value).slice(0, MAX_LOG_FIELD_LENGTH)}…`] : [name, value],
    ),
  );
}
