// Text from the user: a named file, standard input, arguments, the environment. It must be UTF-8: a lax decoder would turn two
// different passwords into the same text. cli.ts, the commands and terminal/ read through this.

import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { ParleyError, systemCode, usageError } from "../base/errors.ts";
import { Rights } from "../os/rights.ts";
import { whyRefused } from "./file-error.ts";
import { isSpecial } from "./private-file.ts";

const NEWLINE = 0x0a;

/**
 * Decodes `bytes`, and drops the byte order mark that some editors write.
 *
 * @param name the source of the bytes, as the beginning of a sentence.
 * @throws {ParleyError} `failed` when they are not UTF-8.
 */
export function decodeGiven(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new ParleyError("failed", `${name} is not UTF-8 text`, {
      hint: "save it as UTF-8",
      cause: error,
    });
  }
}

/**
 * Reads the text of the file or pipe that `flag` names.
 *
 * @throws {ParleyError} `usage` when it cannot be read, `failed` when it is not UTF-8.
 */
export function readGivenFile(path: string, flag: string): string {
  return decodeGiven(readGivenBytes(path, flag), path);
}

/** The text of a file without the newline at its end. @throws as {@link readGivenFile}. */
export function readGivenSecret(path: string, flag: string): string {
  return withoutNewline(readGivenFile(path, flag));
}

export function withoutNewline(text: string): string {
  return text.replace(/\r?\n$/, "");
}

/** The bytes of the file or pipe that `flag` names. @throws {ParleyError} `usage` when it cannot be read. */
export function readGivenBytes(path: string, flag: string): Uint8Array {
  try {
    const rights = isSpecial(path) ? Rights.own : Rights.over(path);
    return rights.use(() => readFileSync(path));
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    throw usageError(`${flag}: cannot read ${path}: ${whyRefused(error)}`);
  }
}

/** The lines of a text that may be too long to be decoded whole. @throws as {@link decodeGiven}. */
export function* givenLines(bytes: Uint8Array, name: string): Generator<string> {
  for (let start = 0; start < bytes.length;) {
    const end = bytes.indexOf(NEWLINE, start);
    yield decodeGiven(bytes.subarray(start, end === -1 ? bytes.length : end), name);
    start = end === -1 ? bytes.length : end + 1;
  }
}

/** The variables that parley uses. */
const OWN_VARIABLES = /^(?:PARLEY_\w+|XDG_STATE_HOME|HOME)=/;

/**
 * Checks the bytes of the arguments and of the variables that parley uses. Bun silently replaces invalid UTF-8 by U+FFFD
 * (measured with Bun 1.4.5).
 *
 * @throws {ParleyError} `usage`, naming the first that is not UTF-8.
 */
export function checkGivenWords(): void {
  for (const word of wordsOf("/proc/self/cmdline")) {
    if (isUtf8(word)) continue;
    const shown = JSON.stringify(new TextDecoder().decode(word));
    throw usageError(`an argument is not UTF-8 text: ${shown}`, "write it as UTF-8");
  }
  for (const variable of wordsOf("/proc/self/environ")) {
    const name = /^\w+/.exec(variable.toString("latin1"))?.[0];
    if (isUtf8(variable) || !OWN_VARIABLES.test(variable.toString("latin1"))) continue;
    throw usageError(`the value of $${name} is not UTF-8 text`, "set it to UTF-8 text, or unset it");
  }
}

/** Reads a file of words that each end in NUL; none on a system without `/proc`. */
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
