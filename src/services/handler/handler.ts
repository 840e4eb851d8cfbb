// The service of a user's module, in TypeScript or JavaScript, which is loaded at run time. `parley serve --handler FILE` makes
// one. It reloads the file on SIGHUP, and with --watch when the file changes. Sessions continue: their next message goes to the
// new code.
//
//     loaded ── reload ──→ loaded with the new code; with the old code when the file does not load, or its `start` hook fails
//
// An error of a hook ends its session, and the log has the place in the user's file.

import { realpathSync, statSync, type Stats } from "node:fs";
import { basename, resolve, sep } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ParleyError, reasonOf, systemCode } from "../../base/errors.ts";
import { HANDLER_LOAD_MS, HANDLER_STOP_MS } from "../../base/limits.ts";
import { shellQuote } from "../../base/shell-quote.ts";
import { adopt, carryState, codeOf, isPlain, type ClassHooks, type Code } from "./code.ts";
import { firstLine, frameOf, namesFile, placeOf, unplaced } from "./error-location.ts";
import { importAnew, inspect, isOddPath, settled, versionsOf, type Versions } from "./modules.ts";
import {
  MisuseError,
  SessionClosedError,
  type Message,
  type Service,
  type ServiceHost,
  type Session,
  type SessionHooks,
} from "../service.ts";

/** `unusable`: the file does not load as a handler. `threw`: a hook has thrown. `hint` has the lines of code around the error. */
export class HandlerError extends ParleyError<"unusable" | "threw"> {
  override name = "HandlerError";
  /** `file:line:column` of what a hook has thrown; undefined when it is unknown. */
  place?: string | undefined;
}

export class Handler implements Service {
  /** The file, absolute. */
  readonly path: string;
  #code: Code | undefined;
  /** The server, with the timers of the present code; undefined before the start and after the stop. */
  #host: ServiceHost | undefined;
  /** The promise of the first `start` hook, until it is settled: sessions open after it. */
  #starting: PromiseWithResolvers<void> | undefined;
  /** Settled when no new code is being started: one `start` hook runs at a time. */
  #switched: Promise<void> = Promise.resolve();
  /** The number of the load that began last. */
  #lastLoad = 0;
  /** The number of the load that `#code` came from. */
  #currentLoad = 0;
  /** The versions before the last load of the files that it consists of, or that keep it from loading. */
  #files: Versions = new Map();
  readonly #loadMs: number;

  private constructor(path: string, loadMs: number) {
    this.path = path;
    this.#loadMs = loadMs;
  }

  /** Loads a handler file. @throws {HandlerError} `unusable`. */
  static async load(file: string, loadMs = HANDLER_LOAD_MS): Promise<Handler> {
    const handler = new Handler(resolve(file), loadMs);
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
    const { files, flaw, oddImport } = await inspect(this.path);
    // Forget files that it does not import any more, once it compiles.
    const isInUse = (file: string) => files.length === 0 || flaw !== undefined || files.includes(file);
    this.#setFiles(
      number,
      [...known].filter(([file]) => isInUse(file)),
      files,
    );
    if (oddImport !== undefined) checkModulePath(oddImport);
    const loaded =
      flaw === undefined
        ? await importAnew(this.path, this.#files.keys(), this.#loadMs)
        : { failure: flaw, files };
    if (number < this.#currentLoad) return;
    if ("failure" in loaded) {
      this.#setFiles(number, this.#files, loaded.files);
      throw unusable("load", this.path, loaded.failure);
    }
    const code = codeOf(loaded.module);
    if (code === undefined) {
      throw new HandlerError("unusable", `${this.path} has no message hook as its default export`, {
        hint: "write: export default { message(session, message) { session.send(message) } }",
      });
    }
    if (code.state !== undefined && !isPlain(code.state)) {
      throw new HandlerError("unusable", `${this.path} exports a state that is not a plain object`, {
        hint: "write: export const state = { … }, and put maps and lists into it",
      });
    }
    const switched = this.#switched.then(() => this.#use(code, number));
    this.#switched = switched.catch(() => undefined);
    await switched;
  }

  /** Starts new code, and then stops the old one. @throws {HandlerError} `unusable`: its `start` hook has failed. */
  async #use(code: Code, number: number): Promise<void> {
    if (number < this.#currentLoad) return;
    if (this.#code?.state !== undefined && code.state !== undefined) carryState(this.#code.state, code.state);
    const old = this.#host;
    if (old !== undefined) {
      const next = old.fork();
      try {
        await settled(serverHooksOf(code)?.start?.(next), this.#loadMs, "its start hook");
      } catch (error) {
        next.end();
        throw unusable("start", this.path, error, this.#files);
      }
      void this.#stopCode(next);
    }
    this.#currentLoad = number;
    this.#code = code;
    this.#started(this.#starting);
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

  get code(): Code {
    if (this.#code === undefined) throw new TypeError("the handler was not loaded");
    return this.#code;
  }

  /** The pending promise of the `start` hook. */
  get starting(): Promise<void> | undefined {
    return this.#starting?.promise;
  }

  // --- as a service ---

  /** Calls the `start` hook. @throws {HandlerError} `unusable`. */
  start(server: ServiceHost): void {
    const host = server.fork();
    let pending: unknown;
    try {
      pending = serverHooksOf(this.code)?.start?.(host);
    } catch (error) {
      host.end();
      throw unusable("start", this.path, error, this.#files);
    }
    this.#host = host;
    if (!(pending instanceof Promise)) return;
    const starting = Promise.withResolvers<void>();
    this.#starting = starting;
    void pending.catch((error: unknown) => host.fail(error)).then(() => this.#started(starting));
  }

  /** Lets the sessions open that wait. */
  #started(starting: PromiseWithResolvers<void> | undefined): void {
    starting?.resolve();
    if (this.#starting === starting) this.#starting = undefined;
  }

  /** Calls the `stop` hook, and waits for its promise for a while. */
  async stop(now: boolean): Promise<void> {
    const stopped = this.#switched.then(() => this.#stopCode());
    if (!now) await Promise.race([stopped, delay(HANDLER_STOP_MS, undefined, { ref: false })]);
  }

  hooksOf(): SessionHooks {
    return new HandlerSession(this);
  }

  message(): never {
    throw new TypeError("the hooks of a handler belong to a session");
  }

  isCauseOf(error: unknown): boolean {
    // Parley awaits its promises, and throws errors that have a stack.
    return (
      error instanceof MisuseError ||
      !namesFile(error) ||
      placeOf(error, this.path, this.#files) !== undefined
    );
  }

  /** @param hook the hook that has failed. */
  explain(error: unknown, hook?: string): Error {
    return asHandlerError(error, this.path, this.#files, hook);
  }

  /** Stops the timers of the present code, and calls its `stop` hook. @param next what starts its later timers. */
  async #stopCode(next?: ServiceHost): Promise<void> {
    const host = this.#host;
    if (host === undefined) return;
    const hooks = serverHooksOf(this.code);
    this.#host = next;
    host.end(next);
    try {
      await hooks?.stop?.(host);
    } catch (error) {
      host.fail(error);
    }
  }
}

function serverHooksOf({ hooks, type }: Code) {
  return hooks ?? type;
}

/** The hooks of one session: those of the present code. */
class HandlerSession implements SessionHooks {
  readonly #handler: Handler;
  /** The code that it was called with last. */
  #code: Code | undefined;
  /** The object of the session, where the code is a class. */
  #object: ClassHooks | undefined;

  constructor(handler: Handler) {
    this.#handler = handler;
  }

  message(session: Session, message: Message): void | Promise<void> {
    try {
      if (this.#handler.code !== this.#code) this.#objectFor(session);
      const pending =
        this.#object === undefined
          ? this.#code?.hooks?.message(session, message)
          : this.#object.message(message);
      return pending === undefined ? undefined : this.#explain(pending, "message");
    } catch (error) {
      throw this.#handler.explain(error, "message");
    }
  }

  open(session: Session): Promise<void> | undefined {
    const { starting } = this.#handler;
    const open = () => this.#call(session, "open");
    return starting === undefined ? open() : starting.then(open);
  }

  end(session: Session): void | Promise<void> {
    if (!this.#has(session, "end")) return session.finish();
    return this.#call(session, "end");
  }

  close(session: Session): Promise<void> | undefined {
    return this.#call(session, "close");
  }

  detached(session: Session): Promise<void> | undefined {
    return this.#call(session, "detached");
  }

  attached(session: Session): Promise<void> | undefined {
    return this.#call(session, "attached");
  }

  /** The object of the session; undefined where the code is no class. Made when it is first asked for with that code. */
  #objectFor(session: Session): ClassHooks | undefined {
    const { code } = this.#handler;
    if (code === this.#code) return this.#object;
    this.#code = code;
    const { type } = code;
    if (type === undefined) this.#object = undefined;
    else if (this.#object === undefined) this.#object = new type(session);
    else adopt(this.#object, type);
    return this.#object;
  }

  #has(session: Session, hook: "end"): boolean {
    try {
      return (this.#objectFor(session) ?? this.#handler.code.hooks)?.[hook] !== undefined;
    } catch (error) {
      throw this.#handler.explain(error);
    }
  }

  /** Calls a hook. `message` does without, since it is called often. @throws {HandlerError} `threw`. */
  #call(
    session: Session,
    hook: "open" | "end" | "close" | "detached" | "attached",
  ): Promise<void> | undefined {
    try {
      const object = this.#objectFor(session);
      return this.#explain(
        object === undefined ? this.#handler.code.hooks?.[hook]?.(session) : object[hook]?.(),
        hook,
      );
    } catch (error) {
      throw this.#handler.explain(error, hook);
    }
  }

  /** A promise that a hook returned, with its error in words; undefined for any other value, which a user's hook may return. */
  #explain(pending: unknown, hook: string): Promise<void> | undefined {
    if (!(pending instanceof Promise)) return undefined;
    return pending.then(
      () => undefined,
      (error: unknown) => {
        throw this.#handler.explain(error, hook);
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
 * Checks that Bun can load a module from `paths`: the path that was given, and the one after symbolic links.
 *
 * @throws {HandlerError} `unusable`.
 */
export function checkModulePath(...paths: string[]): void {
  const path = paths.find(isOddPath);
  if (path === undefined) return;
  const name = path.split(sep).find(isOddPath) ?? path;
  const [what, action] =
    name === basename(path)
      ? ["file", "rename the file"]
      : ["folder", "rename the folder, or move the file out of it; a symbolic link to it does not help"];
  const character = name.includes("?") ? "a question mark" : "a backslash";
  throw new HandlerError(
    "unusable",
    `cannot load ${path}: the ${what} ${name} has ${character} in its name, and Bun would look for another file`,
    { hint: action },
  );
}

function unusable(verb: "load" | "start", path: string, failure: unknown, files?: Versions): HandlerError {
  const place = placeOf(failure, path, files) ?? path;
  return new HandlerError("unusable", `cannot ${verb} ${place}: ${firstLine(failure)}`, {
    hint: frameOf(failure),
    cause: failure,
  });
}

function asHandlerError(error: unknown, path: string, files: Versions, hook?: string): Error {
  // Errors of parley are no faults of the handler: text that is not UTF-8, or a session that is closed.
  if (error instanceof ParleyError || (error instanceof Error && SessionClosedError.is(error))) return error;
  const place = placeOf(error, path, files);
  // `return session.send(42)` leaves no frame of its function on the stack.
  const inHook = hook === undefined ? "" : `, in the ${hook} hook`;
  const where = place === undefined ? inHook : `, at ${place}`;
  const hint = (namesFile(error) ? frameOf(error) : undefined) ?? unplaced(error);
  const failure = new HandlerError("threw", `${firstLine(error)}${where}`, { hint, cause: error });
  failure.place = place;
  return failure;
}
