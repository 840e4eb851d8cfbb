// What went wrong in a user's module, in words: what Bun throws as it loads and what a hook throws, with the place in the
// user's own files.

import { readFileSync } from "node:fs";
import { dirname, resolve, sep } from "node:path";
import { messageOf } from "../../base/errors.ts";

/** Is it a file of the user's, and no module of the executable? */
export function isOwn(file: string): boolean {
  return file.startsWith(sep) && !file.startsWith("/$bunfs");
}

/** What went wrong, on one line. */
export function firstLine(error: unknown): string {
  const first = firstOf(error);
  const missing = missingOf(first);
  if (missing !== undefined) return `there is no ${missing.isFile ? "module" : "package"} ${missing.name}`;
  const name = first instanceof Error && first.name !== "BuildMessage" ? `${first.name}: ` : "";
  return `${name}${messageOf(first).split("\n", 1)[0] ?? ""}`;
}

/** `file:line:column` in the user's own code, where it can be told. */
export function placeOf(error: unknown, path: string): string | undefined {
  const first = firstOf(error);
  if (typeof first !== "object" || first === null) return undefined;
  const missing = missingOf(first);
  if (missing !== undefined) return missing.place;
  if ("position" in first && typeof first.position === "object" && first.position !== null) {
    const { file, line, column } = first.position as Record<string, unknown>;
    if (typeof file === "string") return `${file}:${String(line)}:${String(column)}`;
  }
  if (!("stack" in first)) return undefined;
  const places = withoutLoad(String(first.stack)).matchAll(/(?:\(|^\s*at )(\/.*?:\d+:\d+)\)?$/gm);
  return [...places].map(([, place = ""]) => place).find((place) => place.startsWith(dirname(path)));
}

/** The lines of code around an error, with file and line, as Bun shows them; where there are none, undefined. */
export function frameOf(error: unknown): string | undefined {
  const first = firstOf(error);
  const missing = missingOf(first);
  if (missing !== undefined) return missing.hint;
  // Our own calls say nothing to whoever wrote the handler.
  const lines = withoutLoad(Bun.inspect(first, { colors: false }).trim())
    .split("\n")
    .filter((line) => !/^\s+at .*\(src\//.test(line));
  return lines.length > 1 ? lines.join("\n") : undefined;
}

interface Missing {
  name: string;
  isFile: boolean;
  place: string;
  hint: string;
}

/** What is imported and not there. Of such an error Bun tells the file, and not the line. */
function missingOf(error: unknown): Missing | undefined {
  if (!(error instanceof Error) || error.name !== "ResolveMessage") return undefined;
  const { specifier: name, referrer } = error as Error & { specifier: string; referrer: string };
  const file = withoutLoad(referrer);
  if (!isOwn(file)) return undefined;
  const isFile = /^[./]/.test(name);
  return {
    name,
    isFile,
    place: `${file}${lineOf(file, name)}`,
    hint: isFile
      ? `it would be ${resolve(dirname(file), name)}`
      : `packages are looked for in node_modules, in ${dirname(file)} and above`,
  };
}

/** `:line` of the first that has `name` in quotes. */
function lineOf(file: string, name: string): string {
  try {
    const lines = readFileSync(file, "utf8").split("\n");
    const index = lines.findIndex((line) => line.includes(`'${name}'`) || line.includes(`"${name}"`));
    return index < 0 ? "" : `:${index + 1}`;
  } catch {
    return ""; // gone meanwhile
  }
}

/** Without what makes the name of a module new each time it is loaded. */
function withoutLoad(text: string): string {
  return text.replaceAll(/\?load=\d+/g, "");
}

/** A file with several mistakes is told by its first one. */
function firstOf(error: unknown): unknown {
  return error instanceof AggregateError ? (error.errors as unknown[])[0] : error;
}
