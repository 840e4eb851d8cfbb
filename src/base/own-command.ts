// Commands of parley that a hint or a notice shows, to be copied.

import { shellQuote } from "./shell-quote.ts";

let dataFlag = "";

/** Adds `--data` to every later {@link ownCommand}. @param folder as the command line of this process names it; undefined: it does not. */
export function repeatDataFlag(folder: string | undefined): void {
  dataFlag = folder === undefined ? "" : ` --data ${shellQuote(folder)}`;
}

/** A command that reads or changes the files in the data folder of this process. */
export function ownCommand(words: string, program = "parley"): string {
  return `${program} ${words}${dataFlag}`;
}
