// `--config FILE`: a TOML file whose keys are the long names of flags. Its values become arguments, as parse.ts makes them of
// the command line; from there on all checks are the same.
//
//     port = 4000                    "4000"
//     strict-port = true             true
//     tls = false                    no-tls: true
//     penalties = false              "off"
//     allow = ["10.0.0.0/8"]         ["10.0.0.0/8"]
//     log = "server.log"             the path of the file's folder, and server.log

import { dirname, resolve } from "node:path";
import { messageOf, usageError } from "../base/errors.ts";
import { MAX_CONFIG_BYTES } from "../base/limits.ts";
import { saySize } from "../base/units.ts";
import { FileError } from "../files/file-error.ts";
import { readPublicFile } from "../files/private-file.ts";
import { meant } from "./suggestion.ts";

/** What this file needs to know of a flag or positional of the command. */
export interface Setting {
  type?: string | undefined;
  valueHint?: string | undefined;
  options?: readonly string[] | undefined;
  multiple?: boolean;
  rest?: boolean;
}

type Value = string | true | string[];

/** How an error names the value of a key. */
export function keyLabel(path: string, key: string): string {
  return `${path}: ${key}`;
}

/**
 * Reads the arguments that a file sets.
 *
 * @param settings the definitions of the command's arguments.
 * @param help the hint for an unknown key.
 * @throws {ParleyError} `usage`, naming the file and the line or the key.
 */
export async function readConfigFile(
  path: string,
  settings: Readonly<Record<string, Setting>>,
  help: string,
): Promise<Record<string, Value>> {
  const table = await parse(path, read(path));
  const known = Object.keys(settings).filter((name) => isKey(name, settings[name]));
  const values: Record<string, Value> = {};
  for (const [key, value] of Object.entries(table)) {
    if (key === "config") throw usageError(`${path}: a configuration file cannot name another one`);
    if (!known.includes(key)) {
      const hint = isTable(value) ? "write all keys at the top level, without tables" : undefined;
      throw usageError(`${path}: unknown key ${key}`, hint ?? meant(key, known, help));
    }
    const [name, given] = valueOf(keyLabel(path, key), key, value, settings);
    if (given !== undefined) values[name] = atFile(path, name, settings[name], given);
  }
  return values;
}

function read(path: string): string {
  let text: string | undefined;
  try {
    text = readPublicFile(path);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw usageError(`--config: ${error.message}`, error.hint);
  }
  if (text === undefined) throw usageError(`--config: cannot read ${path}: there is no such file`);
  if (Buffer.byteLength(text) > MAX_CONFIG_BYTES) {
    throw usageError(`--config: ${path} is longer than ${saySize(MAX_CONFIG_BYTES)}`);
  }
  return text;
}

/** The keys and values of a TOML text. @throws {ParleyError} `usage`. */
async function parse(path: string, text: string): Promise<object> {
  try {
    return Bun.TOML.parse(text);
  } catch (error) {
    const reason = messageOf(error).replace(/^TOML Parse error: /, "");
    throw usageError(
      `${path}${await lineOfError(text)}: ${reason}`,
      "write the file as TOML, for example: port = 4000",
    );
  }
}

/** Where TOML is wrong: `:LINE`. Only an import says that (measured with Bun 1.4.5); empty when it does not. */
async function lineOfError(text: string): Promise<string> {
  try {
    await import(`data:application/toml,${encodeURIComponent(text)}`, { with: { type: "toml" } });
  } catch (error) {
    if (error instanceof BuildMessage && error.position !== null) return `:${error.position.line}`;
  }
  return "";
}

function isKey(name: string, setting: Setting | undefined): boolean {
  return name !== "config" && (setting?.type !== "positional" || setting.rest === true);
}

function isTable(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The argument that a key sets, and its value; undefined: the same as without the key. */
function valueOf(
  label: string,
  key: string,
  value: unknown,
  settings: Readonly<Record<string, Setting>>,
): [name: string, value: Value | undefined] {
  const { type, options, multiple = false, rest = false } = settings[key] ?? {};
  if (type === "boolean") {
    if (typeof value !== "boolean") throw usageError(`${label}: expected true or false`);
    if (value) return [key, true];
    // No text may read as if it switched TLS off, and leave it on.
    return Object.hasOwn(settings, `no-${key}`) ? [`no-${key}`, true] : [key, undefined];
  }
  if (multiple || rest) {
    const items: unknown[] = Array.isArray(value) ? value : [value];
    if (items.length === 0) throw usageError(`${label}: needs at least one value`);
    return [key, items.map((item) => textOf(label, item))];
  }
  if (typeof value === "boolean" && options?.includes("on") === true) return [key, value ? "on" : "off"];
  const text = textOf(label, value);
  if (text === "") throw usageError(`${label}: needs a value`);
  return [key, text];
}

function textOf(label: string, value: unknown): string {
  if (typeof value === "number") return String(value);
  if (typeof value !== "string") throw usageError(`${label}: expected a string or a number`);
  // No argument can have one, and no system call takes it.
  if (value.includes("\0")) throw usageError(`${label}: the string contains a NUL character`);
  return value;
}

/** Makes a path absolute: in the file it is relative to the file's folder. */
function atFile(path: string, key: string, setting: Setting | undefined, value: Value): Value {
  const folder = dirname(resolve(path));
  if (setting?.rest === true && Array.isArray(value)) {
    const [program = "", ...args] = value;
    return [program.includes("/") ? resolve(folder, program) : program, ...args];
  }
  const isPath = setting?.valueHint === "FILE" || setting?.valueHint === "DIR";
  if (!isPath || typeof value !== "string") return value;
  if (value.startsWith("~")) {
    throw usageError(
      `${keyLabel(path, key)}: ${JSON.stringify(value)} starts with ~`,
      "write the whole path: only a shell expands ~",
    );
  }
  return resolve(folder, value);
}
