// Counts the refusals in a log for each address: refused logins and keys, and connections during a penalty.

import { addressOf, sourceOf } from "../base/address.ts";
import { MAX_LOG_ADDRESSES, MAX_LOG_NAMES } from "../base/limits.ts";
import type { LogLine } from "./log-line.ts";

interface Entry {
  /** Null for lines without an address, and for addresses beyond {@link MAX_LOG_ADDRESSES}. */
  address: string | null;
  /** The sum of the three counts below. */
  count: number;
  logins: number;
  keys: number;
  penalised: number;
  first: string;
  last: string;
  /** Names of users that existed: the log has no other names. */
  names: Set<string>;
}

type Kind = "logins" | "keys" | "penalised";

/** Codes of refused logins that are no sign of an attack. */
const HARMLESS = new Set<unknown>(["session_gone", "busy", "full", "unavailable"]);

/** True for the events that {@link Refusals.add} counts. */
export function isRefusal(event: string): boolean {
  return event === "login-refused" || event === "key-refused" || event === "refused";
}

export class Refusals {
  readonly #byAddress = new Map<string | null, Entry>();

  add(line: LogLine): void {
    const { time, fields } = line;
    const kind = kindOf(line);
    if (kind === undefined) return;
    const { similar, user } = fields;
    const entry = this.#entry(sourceIn(fields), time);
    const count = Number(similar ?? 1);
    entry.count += count;
    entry[kind] += count;
    if (time < entry.first) entry.first = time;
    if (time > entry.last) entry.last = time;
    if (typeof user === "string" && entry.names.size < MAX_LOG_NAMES) entry.names.add(user);
  }

  /** The addresses, the one with most refusals first. */
  rows() {
    return [...this.#byAddress.values()]
      .map((entry) => ({ ...entry, names: [...entry.names] }))
      .sort((a, b) => b.count - a.count || (a.last < b.last ? 1 : -1));
  }

  #entry(source: string | null, time: string): Entry {
    const isCrowded = this.#byAddress.size >= MAX_LOG_ADDRESSES && !this.#byAddress.has(source);
    const address = isCrowded ? null : source;
    const entry = this.#byAddress.get(address) ?? {
      address,
      count: 0,
      logins: 0,
      keys: 0,
      penalised: 0,
      first: time,
      last: time,
      names: new Set<string>(),
    };
    this.#byAddress.set(address, entry);
    return entry;
  }
}

function kindOf({ event, fields: { code } }: LogLine): Kind | undefined {
  if (event === "key-refused") return "keys";
  if (event === "refused") return code === "penalised" ? "penalised" : undefined;
  return event === "login-refused" && !HARMLESS.has(code) ? "logins" : undefined;
}

/** The address of a line, or of a summary. */
function sourceIn({ peer, source }: LogLine["fields"]): string | null {
  if (typeof peer === "string") return sourceOf(addressOf(peer));
  return typeof source === "string" ? source : null;
}
