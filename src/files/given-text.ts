// Text that a person or a script gives: a file that is named, standard input, arguments, the environment. Strictly UTF-8: of
// bytes that are none, two different passwords would become the same one.

import { readFileSync } from "node:fs";
import { ParleyError, systemCode, usageError } from "../base/errors.ts";
import { Rights } from "../os/rights.ts";
import { whyRefused } from "./file-error.ts";
import { isSpecial } from "./private-file.ts";

/**
 * `bytes` as text, without the byte order mark that some editors put in front.
 *
 * @param name what they are, as the beginning of a sentence.
 * @throws {ParleyError} `failed` when they are not UTF-8.
 */
export function decodeGiven(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new ParleyError("failed", `${name} is not UTF-8 text`, {
      hint: "save it as UTF-8: other bytes would be taken for something that they are not",
      cause: error,
    });
  }
}

/**
 * The text of the file that `flag` names, or of a pipe.
 *
 * @throws {ParleyError} `usage` when it cannot be read, `failed` when it is not UTF-8.
 */
export function readGivenFile(path: string, flag: string): string {
  let bytes: Uint8Array;
  try {
    // What is in another user's folder root reads with the rights of that user.
    const rights = isSpecial(path) ? Rights.own : Rights.over(path);
    bytes = rights.use(() => readFileSync(path));
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    throw usageError(`${flag}: cannot read ${path}: ${whyRefused(error)}`);
  }
  return decodeGiven(bytes, path);
}

/** What of the environment is used as text. */
const OWN_VARIABLES = /^(?:PARLEY_\w+|XDG_STATE_HOME|HOME)=/;

/**
 * Looks at the arguments and at the variables that parley uses as the system has them: Bun puts U+FFFD in the place of what
 * is not UTF-8, and says nothing (measured with 1.4.5).
 *
 * @throws {ParleyError} `usage`, naming the one that is not UTF-8.
 */
export function checkGivenWords(): void {
  for (const word of wordsOf("/proc/self/cmdline")) {
    if (isText(word)) continue;
    const shown = JSON.stringify(new TextDecoder().decode(word));
    throw usageError(
      `an argument is not UTF-8 text: ${shown}`,
      "it would be changed on its way: give it as UTF-8",
    );
  }
  for (const variable of wordsOf("/proc/self/environ")) {
    const name = /^\w+/.exec(variable.toString("latin1"))?.[0];
    if (isText(variable) || !OWN_VARIABLES.test(variable.toString("latin1"))) continue;
    throw usageError(`the value of $${name} is not UTF-8 text`, "set it to UTF-8 text, or unset it");
  }
}

/** Words that end in NUL; none where the system does not tell. */
function wordsOf(path: string): Buffer[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return []; // no /proc
  }
  const words: Buffer[] = [];
  for (let start = 0; start < bytes.length;) {
    const end = bytes.indexOf(0, start);
    words.push(bytes.subarray(start, end === -1 ? bytes.length : end));
    start = end === -1 ? bytes.length : end + 1;
  }
  return words;
}

function isText(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}
