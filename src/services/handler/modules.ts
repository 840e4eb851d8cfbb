// Loads the user's modules again and again, and finds the files that a handler consists of. handler.ts calls it.
//
// Bun keeps a module that has failed, under its name, until the process ends. So Bun's bundler inspects the files first, which
// runs no code: a file that cannot be compiled or linked is never imported. Before each import, every file of the handler is
// removed from Bun's registry, so that a module that threw while it ran can be loaded again.

import { existsSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";
import { sayDuration } from "../../base/units.ts";
import { ParleyError } from "../../base/errors.ts";
import { isUserFile } from "./error-location.ts";

/** Files of the user's, each with a stamp that changes with its content; an empty stamp when it cannot be read. */
export type Versions = ReadonlyMap<string, string>;

/** The present versions of `files`. */
export function versionsOf(files: Iterable<string>): Versions {
  return new Map([...files].map((file) => [file, stampOf(file)]));
}

function stampOf(file: string): string {
  try {
    const { ino, size, mtimeMs } = statSync(file);
    return `${ino}:${size}:${mtimeMs}`;
  } catch {
    return ""; // for any reason: when the file can be read again, that is a change
  }
}

/** A module's exports, or the reason why it did not load and the files that the reason names. */
export type Loaded = { module: Record<string, unknown> } | { failure: unknown; files: string[] };

let loads = 0;

/**
 * Loads the module at `path` again, and with it the user's `files` that it imports.
 *
 * @param loadMs how long its top level may take.
 */
export async function importAnew(path: string, files: Iterable<string>, loadMs: number): Promise<Loaded> {
  for (const file of [...userModules(), ...files]) delete require.cache[file];
  try {
    // A new name each time, so that two loads at once do not share a module.
    const loading = import(`${path}?load=${++loads}`) as Promise<Record<string, unknown>>;
    return { module: await settled(loading, loadMs, "its top level") };
  } catch (error) {
    return { failure: error, files: filesNamedBy(error) };
  }
}

/** What `pending` resolves with. @throws {Error} that begins with `what`, when that takes longer than `ms`. */
export async function settled<Value>(
  pending: Value | Promise<Value>,
  ms: number,
  what: string,
): Promise<Value> {
  if (!(pending instanceof Promise)) return pending;
  const late = Promise.withResolvers<never>();
  const words = `${what} has not finished within ${sayDuration(ms)}: an await in it waits`;
  const timer = setTimeout(() => late.reject(new ParleyError("timeout", words)), ms);
  try {
    return await Promise.race([pending, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** What is in a handler, without running it. */
export interface Inspected {
  /** Its files; with a flaw those that the flaw names. */
  files: string[];
  /** Bun's error for a file that does not compile or link. */
  flaw?: unknown;
  /** The first import of a file whose path is {@link isOddPath odd}. */
  oddImport?: string;
}

/**
 * True for a path that Bun cannot load a module from, also as the target of a symbolic link: it cuts a path at a question mark and
 * reads a backslash as a slash, and would run another file, if there is one. Neither `/proc/self/fd` nor a plugin of Bun's helps: the
 * first is resolved, and the second is not asked for `./file` and for packages (measured with Bun 1.4.5).
 */
export function isOddPath(path: string): boolean {
  return /[?\\]/.test(path);
}

/** Finds the files of the module at `path` without running them. */
export async function inspect(path: string): Promise<Inspected> {
  let oddImport: string | undefined;
  const build = await Bun.build({
    entrypoints: [path],
    target: "bun",
    packages: "external",
    throw: false,
    metafile: true,
    plugins: [
      {
        name: "odd paths",
        setup: (builder) =>
          void builder.onResolve({ filter: /^\.{0,2}\// }, ({ path: name, importer }) => {
            oddImport ??= oddTarget(resolve(dirname(importer), name));
            return undefined; // it is resolved as ever
          }),
      },
    ],
  });
  if (oddImport !== undefined) return { files: [oddImport], oddImport };
  const { inputs } = build.metafile ?? {};
  // A missing import is no flaw: the module may handle that when it runs.
  const flaw = build.logs.find(({ name, level }) => name === "BuildMessage" && level === "error");
  const files = Object.keys(inputs ?? {}).map((file) => resolve(file));
  return { files: flaw === undefined ? files : filesNamedBy(flaw), flaw };
}

/** The file that an import means, if its path is odd. An import may have a query, as in `./file.ts?1`. */
function oddTarget(file: string): string | undefined {
  if (isOddPath(basename(file)) && existsSync(file)) return file;
  try {
    const target = join(realpathSync(dirname(file)), basename(file));
    return isOddPath(dirname(target)) ? target : undefined;
  } catch {
    return undefined; // no such folder: Bun says so
  }
}

/** The files that an error names: once one of them changes, loading may succeed. */
function filesNamedBy(error: unknown): string[] {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  if (typeof first !== "object" || first === null) return [];
  if ("position" in first && typeof first.position === "object" && first.position !== null) {
    const { file } = first.position as { file?: unknown };
    return typeof file === "string" && isUserFile(file) ? [file] : [];
  }
  if (!("specifier" in first && "referrer" in first)) return [];
  const missing = resolve(dirname(String(first.referrer)), String(first.specifier));
  // The paths that Bun would try.
  return existsSync(dirname(missing)) ? ["", ".ts", ".tsx", ".js", ".json"].map((end) => missing + end) : [];
}

/** The loaded modules of the user's, without packages. */
function userModules(): string[] {
  return Object.keys(require.cache).filter(
    (file) => isUserFile(file) && !file.includes(`${sep}node_modules${sep}`),
  );
}
