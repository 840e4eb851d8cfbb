// The user's modules: which files a handler is made of, and loading them anew.
//
// Bun keeps a module that failed, under its name, until the process ends. So the files are looked at by Bun's bundler
// first, which runs nothing: what cannot be compiled or linked is never imported. What throws as it runs is taken out of
// Bun's registry by name before the next try, and with it every file that the handler is made of.

import { existsSync, statSync } from "node:fs";
import { dirname, resolve, sep } from "node:path";
import { isOwn } from "./error-location.ts";

/** Files of the user's, each with a stamp that tells one version from the next; empty when there is none. */
export type Versions = ReadonlyMap<string, string>;

/** `files` as they are now. */
export function versionsOf(files: Iterable<string>): Versions {
  return new Map([...files].map((file) => [file, stampOf(file)]));
}

function stampOf(file: string): string {
  try {
    const { ino, size, mtimeMs } = statSync(file);
    return `${ino}:${size}:${mtimeMs}`;
  } catch {
    return ""; // whatever the reason: it cannot be loaded, and that it can be again is a change
  }
}

/** A module's exports, or what stands in the way of them. */
export type Loaded = { module: Record<string, unknown> } | { failure: unknown; files: string[] };

let loads = 0;

/** Loads the module at `path` anew, and with it the user's `files` that it is made of. */
export async function importAnew(path: string, files: Iterable<string>): Promise<Loaded> {
  for (const file of [...ownModules(), ...files]) delete require.cache[file];
  try {
    // A name of its own each time: of two loads at once neither gets the other's module.
    return { module: (await import(`${path}?load=${++loads}`)) as Record<string, unknown> };
  } catch (error) {
    return { failure: error, files: filesNamedBy(error) };
  }
}

/**
 * Looks at the module at `path`, and runs nothing: the files that it is made of, where all can be found; `flaw`: what Bun
 * says of a file that does not compile or link.
 */
export async function inspect(path: string): Promise<{ files: string[]; flaw?: unknown }> {
  const build = await Bun.build({
    entrypoints: [path],
    target: "bun",
    packages: "external",
    throw: false,
    metafile: true,
  });
  const { inputs } = build.metafile ?? {};
  // What is not there may be imported in vain: the module itself decides what that means, when it runs.
  const flaw = build.logs.find(({ name, level }) => name === "BuildMessage" && level === "error");
  const files = Object.keys(inputs ?? {}).map((file) => resolve(file));
  return { files: flaw === undefined ? files : filesNamedBy(flaw), flaw };
}

/** Files that an error speaks of: once they change, loading is worth another try. */
function filesNamedBy(error: unknown): string[] {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  if (typeof first !== "object" || first === null) return [];
  if ("position" in first && typeof first.position === "object" && first.position !== null) {
    const { file } = first.position as { file?: unknown };
    return typeof file === "string" && isOwn(file) ? [file] : [];
  }
  if (!("specifier" in first && "referrer" in first)) return [];
  const missing = resolve(dirname(String(first.referrer)), String(first.specifier));
  // Where it would be, with one of the endings that Bun tries.
  return existsSync(dirname(missing)) ? ["", ".ts", ".tsx", ".js", ".json"].map((end) => missing + end) : [];
}

/** What is loaded of the user's own: neither the executable's modules nor packages. */
function ownModules(): string[] {
  return Object.keys(require.cache).filter(
    (file) => isOwn(file) && !file.includes(`${sep}node_modules${sep}`),
  );
}
