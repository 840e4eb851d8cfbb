// The exit code of an error: the product's promise, with those of src/cli/connect/outcome.ts.

import type { ParleyError } from "../base/errors.ts";

/** What a signal has ended: 128 and the signal's number. */
const SIGNAL_CODES: ReadonlyMap<string, number> = new Map([
  ["hung_up", 129],
  ["interrupted", 130],
  ["terminated", 143],
]);

/** The codes of every error class that are not 1. */
const EXIT_CODES: ReadonlyMap<string, number> = new Map([
  ["usage", 2],
  ["login_refused", 3],
  ["timeout", 4],
  ["turned_away", 5],
  ["unconfirmed", 6],
  ...SIGNAL_CODES,
]);

export function exitCodeOf({ code }: ParleyError<string>): number {
  return EXIT_CODES.get(code) ?? 1;
}

/** Has a signal ended the command? Its sender knows, so that nothing need be printed. */
export function isBySignal({ code }: ParleyError<string>): boolean {
  return SIGNAL_CODES.has(code);
}
