// Explains the errors of a user's module: those that Bun throws when it loads the module, and those that a hook throws.
// Finds the place in the user's own files. handler.ts and modules.ts call it.

import { readFileSync } from "node:fs";
import { dirname, resolve, sep } from "node:path";
import { messageOf, ParleyError } from "../../base/errors.ts";

/** True for a file of the user's, false for a module of the executable. */
export function isUserFile(file: string): boolean {
  return file.startsWith(sep) && !file.startsWith("/$bunfs");
}

/** The message of an error, on one line. */
export function firstLine(error: unknown): string {
  const first = firstError(error);
  const missing = missingImport(first);
  if (missing !== undefined)
    return `cannot find the ${missing.isFile ? "module" : "package"} ${missing.name}`;
  const isNamed = first instanceof Error && first.name !== "BuildMessage" && !(first instanceof ParleyError);
  const name = isNamed ? `${first.name}: ` : "";
  return `${name}${messageOf(first).split("\n", 1)[0] ?? ""}`;
}

/**
 * The place of an error in the user's own code, as `file:line:column`; undefined when it is unknown.
 *
 * @param path the handler. Its own code is in its folder.
 * @param files other files that belong to it.
 */
export function placeOf(
  error: unknown,
  path: string,
  files: ReadonlyMap<string, unknown> = new Map(),
): string | undefined {
  const first = firstError(error);
  if (typeof first !== "object" || first === null) return undefined;
  const missing = missingImport(first);
  if (missing !== undefined) return missing.place;
  if ("position" in first && typeof first.position === "object" && first.position !== null) {
    const { file, line, column } = first.position as Record<string, unknown>;
    if (typeof file === "string") return `${file}:${String(line)}:${String(column)}`;
  }
  if (!("stack" in first)) return undefined;
  const folder = dirname(path) === sep ? sep : `${dirname(path)}${sep}`;
  // Their names may have line ends in them.
  const own = [...files.keys()].map((file) => RegExp.escape(file)).concat(`${RegExp.escape(folder)}.*?`);
  const frame = new RegExp(`(?:\\(|^\\s*at )((?:${own.join("|")}):\\d+:\\d+)\\)?$`, "gm");
  const places = withoutLoadNumber(String(first.stack)).matchAll(frame);
  return [...places].map(([, place = ""]) => place).find(isUserFile);
}

/** False for what was thrown without a stack, as texts and failures of the system in promises that no code awaits. */
export function namesFile(error: unknown): boolean {
  const first = firstError(error);
  if (typeof first !== "object" || first === null) return false;
  if ("position" in first || missingImport(first) !== undefined) return true;
  return "stack" in first && /(?:\(|\bat )(?:\/|src\/|cli\.ts:).*\d+:\d+\)?$/m.test(String(first.stack));
}

/** What can be said of an error without lines of code. */
export function unplaced(error: unknown): string {
  const first = firstError(error);
  const words = first instanceof Error ? firstLine(first) : Bun.inspect(first, { colors: false });
  const advice = namesFile(first) ? "" : ": await each promise, and throw errors only";
  return `${words}\nits place in the code is unknown${advice}`;
}

/** The lines of code around an error, with file and line, as Bun shows them; undefined when there are none. */
export function frameOf(error: unknown): string | undefined {
  const first = firstError(error);
  if (first instanceof ParleyError) return first.hint;
  const missing = missingImport(first);
  if (missing !== undefined) return missing.hint;
  // Without the calls of parley and Bun, which have no absolute path.
  const lines = withoutLoadNumber(Bun.inspect(first, { colors: false }).trim())
    .split("\n")
    .filter((line) => !/^\s+at (?:(?:.*\()?(?!\/)[^\s()]+:\d+:\d+\)?|.*\(\))$/.test(line));
  return lines.length > 1 ? lines.join("\n") : undefined;
}

interface MissingImport {
  name: string;
  /** True for a file, false for a package. */
  isFile: boolean;
  place: string;
  hint: string;
}

/** The import that could not be found; undefined for another error. Bun reports the importing file, but not the line. */
function missingImport(error: unknown): MissingImport | undefined {
  if (!(error instanceof Error) || error.name !== "ResolveMessage") return undefined;
  const { specifier: name, referrer } = error as Error & { specifier: string; referrer: string };
  const file = withoutLoadNumber(referrer);
  if (!isUserFile(file)) return undefined;
  const isFile = /^[./]/.test(name);
  return {
    name,
    isFile,
    place: `${file}${lineOf(file, name)}`,
    hint: isFile
      ? `create the file, or correct its path: ${resolve(dirname(file), name)}`
      : `install the package: parley looks in node_modules, in ${dirname(file)} and above`,
  };
}

/** `:line` of the first line that has `name` in quotes; empty when there is none. */
function lineOf(file: string, name: string): string {
  try {
    const lines = readFileSync(file, "utf8").split("\n");
    const index = lines.findIndex((line) => line.includes(`'${name}'`) || line.includes(`"${name}"`));
    return index < 0 ? "" : `:${index + 1}`;
  } catch {
    return ""; // gone meanwhile
  }
}

/** Removes the number that makes the name of a module new each time it is loaded. */
function withoutLoadNumber(text: string): string {
  return text.replaceAll(/\?load=\d+/g, "");
}

/** The first of several errors, which Bun throws for a file with several mistakes. */
function firstError(error: unknown): unknown {
  return error instanceof AggregateError ? (error.errors as unknown[])[0] : error;
}
