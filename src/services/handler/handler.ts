// A user's module as a service: TypeScript or JavaScript, loaded at run time with what it imports, loaded again when it
// changes. Conversations stay; the next message goes to the new code.
//
// A module that does not load leaves the old code at work. What its hooks throw ends their own conversation, and the log
// says where in the user's file it happened.

import { realpathSync, statSync, type Stats } from "node:fs";
import { resolve } from "node:path";
import { ParleyError, reasonOf, systemCode } from "../../base/errors.ts";
import { shellQuote } from "../../base/shell-quote.ts";
import { firstLine, frameOf, placeOf } from "./error-location.ts";
import { importAnew, inspect, versionsOf, type Versions } from "./modules.ts";
import { SessionClosedError, type Session, type Service } from "../service.ts";

/** `unusable`: the module does not load, or is none. `threw`: a hook did. `hint` holds the lines of code around it. */
export class HandlerError extends ParleyError<"unusable" | "threw"> {
  override name = "HandlerError";
}

export class Handler implements Service {
  /** Absolute. */
  readonly path: string;
  #hooks: Service | undefined;
  /** Loads that were begun, and the number of the one whose hooks are at work. */
  #begun = 0;
  #adopted = 0;
  /** The files that it is made of, or would be, as they were before the last load began. */
  #files: Versions = new Map();

  private constructor(path: string) {
    this.path = path;
  }

  /** @throws {HandlerError} `unusable`. */
  static async load(file: string): Promise<Handler> {
    const handler = new Handler(resolve(file));
    await handler.reload();
    return handler;
  }

  /**
   * Takes up what the file says now; one that takes longer to load than a later one is not taken up any more.
   *
   * @throws {HandlerError} `unusable`; then everything is as before.
   */
  async reload(): Promise<void> {
    const number = ++this.#begun;
    const known = this.versions;
    this.#files = known;
    checkFile(this.path);
    const { files, flaw } = await inspect(this.path);
    // Of one that is whole, files that it is no longer made of are forgotten.
    const isOfNow = (file: string) => files.length === 0 || flaw !== undefined || files.includes(file);
    this.#note(
      number,
      [...known].filter(([file]) => isOfNow(file)),
      files,
    );
    const loaded =
      flaw === undefined ? await importAnew(this.path, this.#files.keys()) : { failure: flaw, files };
    if (number < this.#adopted) return;
    if ("failure" in loaded) {
      this.#note(number, this.#files, loaded.files);
      throw unusable(this.path, loaded.failure);
    }
    const hooks = hooksOf(loaded.module["default"]);
    if (hooks === undefined) {
      throw new HandlerError("unusable", `${this.path} has no message hook as its default export`, {
        hint: "export default { message(session, payload) { session.send(payload) } }, or the function alone",
      });
    }
    this.#adopted = number;
    this.#hooks = hooks;
  }

  #note(number: number, known: Iterable<[string, string]>, more: Iterable<string>): void {
    if (number === this.#begun) this.#files = new Map([...versionsOf(more), ...known]);
  }

  /** The files that it is made of, or would be, as they are now. */
  get versions(): Versions {
    return versionsOf(new Set([this.path, ...this.#files.keys()]));
  }

  /** Those files as they were when it was loaded last, or could not be. */
  get loaded(): Versions {
    return this.#files;
  }

  get #now(): Service {
    if (this.#hooks === undefined) throw new TypeError("the handler was not loaded");
    return this.#hooks;
  }

  open(session: Session): void | Promise<void> {
    try {
      return this.#watch(this.#now.open?.(session));
    } catch (error) {
      throw asHandlerError(error, this.path);
    }
  }

  message(session: Session, payload: Uint8Array): void | Promise<void> {
    try {
      const pending = this.#now.message(session, payload);
      return pending === undefined ? undefined : this.#watch(pending);
    } catch (error) {
      throw asHandlerError(error, this.path);
    }
  }

  end(session: Session): void | Promise<void> {
    if (this.#now.end === undefined) return session.finish();
    try {
      return this.#watch(this.#now.end(session));
    } catch (error) {
      throw asHandlerError(error, this.path);
    }
  }

  close(session: Session): void | Promise<void> {
    try {
      return this.#watch(this.#now.close?.(session));
    } catch (error) {
      throw asHandlerError(error, this.path);
    }
  }

  /** What a hook returned, when it is worth waiting for. A hook may return anything: it is not ours. */
  #watch(pending: unknown): Promise<void> | undefined {
    if (!(pending instanceof Promise)) return undefined;
    return pending.then(
      () => undefined,
      (error: unknown) => {
        throw asHandlerError(error, this.path);
      },
    );
  }
}

/** Of what is no file Bun only says that it cannot find it, under a name that means nothing to anybody. */
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
      { hint: isMissing ? `write a first one with: parley serve --init ${shellQuote(path)}` : undefined },
    );
  }
  if (stats.isFile()) return checkModulePath(path, target);
  throw new HandlerError("unusable", `${path} is not a plain file`, {
    hint: "a handler is a file of TypeScript or JavaScript",
  });
}

/**
 * Can a module be loaded from `paths`: where it is named, and where it is? Bun cuts a path at a question mark and reads a
 * backslash as a slash, for what the module imports too: it would run another file, or none (measured with 1.4.5).
 *
 * @throws {HandlerError} `unusable`.
 */
export function checkModulePath(...paths: string[]): void {
  for (const path of paths) {
    const odd = /[?\\]/.exec(path)?.[0];
    if (odd === undefined) continue;
    throw new HandlerError("unusable", `no module can be loaded from ${path}: it has ${odd} in it`, {
      hint: "give the file, or the folder it is in, another name",
    });
  }
}

function unusable(path: string, failure: unknown): HandlerError {
  const place = placeOf(failure, path) ?? path;
  return new HandlerError("unusable", `${place} does not load: ${firstLine(failure)}`, {
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
  // Ours go their own way: text that is none, for one, is the peer's fault; and that nobody hears it is nobody's.
  if (error instanceof ParleyError || (error instanceof Error && SessionClosedError.is(error))) return error;
  const place = placeOf(error, path);
  const where = place === undefined ? "" : `, at ${place}`;
  return new HandlerError("threw", `${firstLine(error)}${where}`, { hint: frameOf(error), cause: error });
}
