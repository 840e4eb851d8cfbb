// What was probably meant by a name that does not exist.

import { closest, distance } from "fastest-levenshtein";

/** The known name that is close to `given`, as a question; otherwise `help`. */
export function meant(given: string, known: string[], help: string): string {
  if (known.length === 0) return help;
  const guess = closest(given, known);
  return distance(given, guess) <= Math.max(2, given.length / 3) ? `did you mean ${guess}?` : help;
}
