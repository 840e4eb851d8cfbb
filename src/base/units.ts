// Parses and formats durations and sizes, as flags have them (`30s`, `64kb`) and as sentences have them (`30 s`, `64 KiB`).

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** The longest delay of a timer, in milliseconds. A longer one would end at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

type Units = readonly (readonly [name: string, worth: number])[];

const DURATION_UNITS: Units = [
  ["ms", 1],
  ["s", SECOND],
  ["m", MINUTE],
  ["h", HOUR],
  ["d", DAY],
];
const SIZE_UNITS: Units = [
  ["b", 1],
  ["kb", KIB],
  ["mb", MIB],
  ["gb", GIB],
];

/** `500ms 30s 5m 2h 7d` in milliseconds; undefined when `text` is not a duration. */
export function parseDuration(text: string): number | undefined {
  return parseWithUnit(text, DURATION_UNITS, undefined);
}

/** `4096 64kb 1mb` in bytes (1 kb = 1024 bytes); undefined when `text` is not a size. */
export function parseSize(text: string): number | undefined {
  return parseWithUnit(text, SIZE_UNITS, 1);
}

/** @param bare the factor for a number without a unit; undefined when a unit is required. */
function parseWithUnit(text: string, units: Units, bare: number | undefined): number | undefined {
  const [, number, name] = /^(\d{1,12}(?:\.\d{1,3})?)([a-z]*)$/.exec(text.toLowerCase()) ?? [];
  const worth = name === "" ? bare : units.find(([unit]) => unit === name)?.[1];
  if (worth === undefined) return undefined;
  const value = Math.round(Number(number) * worth);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** Milliseconds as a flag takes them: `250ms`, `60s` rather than `1m`, `2m`. */
export function writeDuration(ms: number): string {
  return writeWithUnit(ms, DURATION_UNITS, (worth) => worth <= SECOND || ms >= 2 * worth);
}

/** Bytes as a flag takes them: `64kb`, `1mb`. */
export function writeSize(bytes: number): string {
  return writeWithUnit(bytes, SIZE_UNITS, (worth) => bytes >= worth);
}

/** In the largest unit that is `usual` and makes a whole number. */
function writeWithUnit(value: number, units: Units, usual: (worth: number) => boolean): string {
  const [name, worth] = units.findLast(([, worth]) => value % worth === 0 && usual(worth)) ?? ["", 1];
  return `${value / worth}${name}`;
}

/** Milliseconds as a sentence has them: `3 s`, `250 ms`, `2 min`. */
export function sayDuration(ms: number): string {
  if (ms < SECOND) return `${Math.round(ms)} ms`;
  if (ms < 2 * MINUTE) return `${Math.round(ms / 100) / 10} s`;
  return `${Math.round(ms / MINUTE)} min`;
}

/** Bytes as a sentence has them: `256 B`, `64 KiB`, `1 MiB`. */
export function saySize(bytes: number): string {
  if (bytes < KIB) return `${bytes} B`;
  return bytes < MIB ? `${bytes / KIB} KiB` : `${bytes / MIB} MiB`;
}
