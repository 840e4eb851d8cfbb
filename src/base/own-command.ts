// Commands of parley that a hint or a notice shows, to be copied.

import { shellQuote } from "./shell-quote.ts";

let repeated = "";

/** Adds flags to every later {@link ownCommand}. @param flags as this process has them; undefined: not given. */
export function repeatFlags(flags: Readonly<Record<string, string | undefined>>): void {
  repeated = Object.entries(flags)
    .map(([name, value]) => (value === undefined ? "" : ` --${name} ${shellQuote(value)}`))
    .join("");
}

/** A command that reads or changes the accounts of this process. */
export function ownCommand(words: string, program = "parley"): string {
  return `${program} ${words}${repeated}`;
}
