// The exit code of every error. Those of a conversation's end are decided in connect/outcome.ts.

import type { ParleyError } from "../base/errors.ts";

/** The codes of errors for a signal: 128 and the signal's number. */
const SIGNAL_CODES: ReadonlyMap<string, number> = new Map([
  ["hung_up", 129],
  ["interrupted", 130],
  ["terminated", 143],
]);

/** The exit codes of error codes; any other is 1. */
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

/** Has a signal ended the command? Then its sender knows, and nothing is printed. */
export function isBySignal({ code }: ParleyError<string>): boolean {
  return SIGNAL_CODES.has(code);
}
