// The service of a user's module, in TypeScript or JavaScript, which is loaded at run time. `parley serve --handler FILE` makes
// one. It reloads the file on SIGHUP, and with --watch when the file changes. Sessions continue: their next message goes to the
// new code.
//
//     loaded ── reload ──→ loaded with the new code; with the old code when the file does not load
//
// An error of a hook ends its session, and the log has the place in the user's file.

import { realpathSync, statSync, type Stats } from "node:fs";
import { resolve } from "node:path";
import { ParleyError, reasonOf, systemCode } from "../../base/errors.ts";
import { shellQuote } from "../../base/shell-quote.ts";
import { firstLine, frameOf, placeOf } from "./error-location.ts";
import { importAnew, inspect, versionsOf, type Versions } from "./modules.ts";
import { SessionClosedError, type Message, type Session, type Service } from "../service.ts";

/** `unusable`: the file does not load as a handler. `threw`: a hook has thrown. `hint` has the lines of code around the error. */
export class HandlerError extends ParleyError<"unusable" | "threw"> {
  override name = "HandlerError";
}

export class Handler implements Service {
  /** The file, absolute. */
  readonly path: string;
  #hooks: Service | undefined;
  /** The number of the load that began last. */
  #lastLoad = 0;
  /** The number of the load that `#hooks` came from. */
  #currentLoad = 0;
  /** The versions before the last load of the files that it consists of, or that keep it from loading. */
  #files: Versions = new Map();

  private constructor(path: string) {
    this.path = path;
  }

  /** Loads a handler file. @throws {HandlerError} `unusable`. */
  static async load(file: string): Promise<Handler> {
    const handler = new Handler(resolve(file));
    await handler.reload();
    return handler;
  }

  /**
   * Loads the file again and uses its new code. A load that takes longer than a later one has no effect.
   *
   * @throws {HandlerError} `unusable`: the old code stays in use.
   */
  async reload(): Promise<void> {
    const number = ++this.#lastLoad;
    const known = this.versions;
    this.#files = known;
    checkFile(this.path);
    const { files, flaw } = await inspect(this.path);
    // Forget files that it does not import any more, once it compiles.
    const isInUse = (file: string) => files.length === 0 || flaw !== undefined || files.includes(file);
    this.#setFiles(
      number,
      [...known].filter(([file]) => isInUse(file)),
      files,
    );
    const loaded =
      flaw === undefined ? await importAnew(this.path, this.#files.keys()) : { failure: flaw, files };
    if (number < this.#currentLoad) return;
    if ("failure" in loaded) {
      this.#setFiles(number, this.#files, loaded.files);
      throw unusable(this.path, loaded.failure);
    }
    const hooks = hooksOf(loaded.module["default"]);
    if (hooks === undefined) {
      throw new HandlerError("unusable", `${this.path} has no message hook as its default export`, {
        hint: "write: export default { message(session, message) { session.send(message) } }",
      });
    }
    this.#currentLoad = number;
    this.#hooks = hooks;
  }

  #setFiles(number: number, known: Iterable<[string, string]>, more: Iterable<string>): void {
    if (number === this.#lastLoad) this.#files = new Map([...versionsOf(more), ...known]);
  }

  /** The present versions of the files that it consists of, or that keep it from loading. */
  get versions(): Versions {
    return versionsOf(new Set([this.path, ...this.#files.keys()]));
  }

  /** The versions of those files at the last load. */
  get loaded(): Versions {
    return this.#files;
  }

  get #current(): Service {
    if (this.#hooks === undefined) throw new TypeError("the handler was not loaded");
    return this.#hooks;
  }

  open(session: Session): void | Promise<void> {
    return this.#call(() => this.#current.open?.(session));
  }

  message(session: Session, message: Message): void | Promise<void> {
    try {
      const pending = this.#current.message(session, message);
      return pending === undefined ? undefined : this.#explain(pending);
    } catch (error) {
      throw asHandlerError(error, this.path);
    }
  }

  end(session: Session): void | Promise<void> {
    if (this.#current.end === undefined) return session.finish();
    return this.#call(() => this.#current.end?.(session));
  }

  close(session: Session): void | Promise<void> {
    return this.#call(() => this.#current.close?.(session));
  }

  /** Calls a hook. `message` does without, since it is called often. @throws {HandlerError} `threw`. */
  #call(hook: () => unknown): Promise<void> | undefined {
    try {
      return this.#explain(hook());
    } catch (error) {
      throw asHandlerError(error, this.path);
    }
  }

  /** A promise that a hook returned, with its error in words; undefined for any other value, which a user's hook may return. */
  #explain(pending: unknown): Promise<void> | undefined {
    if (!(pending instanceof Promise)) return undefined;
    return pending.then(
      () => undefined,
      (error: unknown) => {
        throw asHandlerError(error, this.path);
      },
    );
  }
}

/** Checks that `path` is a regular file. Bun's own error would be unclear. @throws {HandlerError} `unusable`. */
function checkFile(path: string): void {
  let stats: Stats;
  let target: string;
  try {
    stats = statSync(path);
    target = realpathSync(path);
  } catch (error) {
    const isMissing = systemCode(error) === "ENOENT";
    throw new HandlerError(
      "unusable",
      isMissing ? `there is no file ${path}` : `cannot read ${path}: ${reasonOf(error)}`,
      { hint: isMissing ? `create one with: parley serve --init ${shellQuote(path)}` : undefined },
    );
  }
  if (stats.isFile()) return checkModulePath(path, target);
  throw new HandlerError("unusable", `${path} is not a regular file`, {
    hint: "choose a TypeScript or JavaScript file",
  });
}

/**
 * Checks that Bun can load a module from `paths`: the path that was given, and the one after symbolic links. Bun cuts a path at a
 * question mark and reads a backslash as a slash, also for imports, and would run another file (measured with Bun 1.4.5).
 *
 * @throws {HandlerError} `unusable`.
 */
export function checkModulePath(...paths: string[]): void {
  for (const path of paths) {
    const odd = /[?\\]/.exec(path)?.[0];
    if (odd === undefined) continue;
    throw new HandlerError(
      "unusable",
      `cannot load a module from ${path}: the path has the character ${odd}`,
      {
        hint: "rename the file, or the folder that it is in",
      },
    );
  }
}

function unusable(path: string, failure: unknown): HandlerError {
  const place = placeOf(failure, path) ?? path;
  return new HandlerError("unusable", `cannot load ${place}: ${firstLine(failure)}`, {
    hint: frameOf(failure),
    cause: failure,
  });
}

function hooksOf(exported: unknown): Service | undefined {
  if (typeof exported === "function") {
    const isClass = /^class\b/.test(Function.prototype.toString.call(exported));
    return isClass ? undefined : { message: exported as Service["message"] };
  }
  if (typeof exported !== "object" || exported === null || !("message" in exported)) return undefined;
  return typeof exported.message === "function" ? (exported as Service) : undefined;
}

function asHandlerError(error: unknown, path: string): Error {
  // Errors of parley are no faults of the handler: text that is not UTF-8, or a session that is closed.
  if (error instanceof ParleyError || (error instanceof Error && SessionClosedError.is(error))) return error;
  const place = placeOf(error, path);
  const where = place === undefined ? "" : `, at ${place}`;
  return new HandlerError("threw", `${firstLine(error)}${where}`, { hint: frameOf(error), cause: error });
}
