// A user's module as a service: TypeScript or JavaScript, loaded at run time with what it imports, loaded again when it
// changes. Conversations stay; the next message goes to the new code.
//
// A module that does not load leaves the old code at work. What its hooks throw ends their own conversation, and the log
// says where in the user's file it happened.

import { existsSync, statSync } from "node:fs";
import { resolve, sep } from "node:path";
import { ParleyError } from "../errors.ts";
import { shellQuote } from "../shell-quote.ts";
import { firstLine, frameOf, isOwn, placeOf } from "./handler-fault.ts";
import { ConversationOver, type Conversation, type Service } from "./service.ts";

/** `unusable`: the module does not load, or is none. `threw`: a hook did. `hint` holds the lines of code around it. */
export class HandlerError extends ParleyError<"unusable" | "threw"> {
  override name = "HandlerError";
}

export class Handler implements Service {
  /** Absolute. */
  readonly path: string;
  #hooks: Service;
  #loading: Promise<void> = Promise.resolve();
  /** The user's files that were loaded last: this one, and what it imports. */
  files: readonly string[];

  private constructor(path: string, hooks: Service) {
    this.path = path;
    this.#hooks = hooks;
    this.files = ownFiles();
  }

  /** @throws {HandlerError} `unusable`. */
  static async load(file: string): Promise<Handler> {
    const path = resolve(file);
    return new Handler(path, await importHooks(path));
  }

  /** Takes up what the file says now. @throws {HandlerError} `unusable`; then everything is as before. */
  reload(): Promise<void> {
    // One after the other: a slow load of an older text must not come last.
    const loading = this.#loading.then(async () => {
      this.#hooks = await importHooks(this.path);
      this.files = ownFiles();
    });
    this.#loading = loading.catch(() => undefined);
    return loading;
  }

  open(session: Conversation): void | Promise<void> {
    try {
      return this.#watch(this.#hooks.open?.(session));
    } catch (error) {
      throw asHandlerError(error, this.path);
    }
  }

  message(session: Conversation, payload: Uint8Array): void | Promise<void> {
    try {
      const pending = this.#hooks.message(session, payload);
      return pending === undefined ? undefined : this.#watch(pending);
    } catch (error) {
      throw asHandlerError(error, this.path);
    }
  }

  end(session: Conversation): void | Promise<void> {
    if (this.#hooks.end === undefined) return session.finish();
    try {
      return this.#watch(this.#hooks.end(session));
    } catch (error) {
      throw asHandlerError(error, this.path);
    }
  }

  close(session: Conversation): void | Promise<void> {
    try {
      return this.#watch(this.#hooks.close?.(session));
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

/** What is loaded of the user's own: neither the executable's modules nor packages. */
function ownFiles(): string[] {
  return Object.keys(require.cache).filter(
    (file) => isOwn(file) && !file.includes(`${sep}node_modules${sep}`),
  );
}

/** Of what is no file Bun only says that it cannot find it, under a name that means nothing to anybody. */
function checkFile(path: string): void {
  if (!existsSync(path)) {
    throw new HandlerError("unusable", `there is no file ${path}`, {
      hint: `write a first one with: parley serve --init ${shellQuote(path)}`,
    });
  }
  if (statSync(path).isFile()) return;
  throw new HandlerError("unusable", `${path} is not a plain file`, {
    hint: "a handler is a file of TypeScript or JavaScript",
  });
}

let loads = 0;

async function importHooks(path: string): Promise<Service> {
  checkFile(path);
  // Bun's `require.cache` holds ES modules too: forgetting them is what makes `import` read the files again (measured).
  for (const file of ownFiles()) delete require.cache[file];
  let module: Record<string, unknown>;
  try {
    // A name of its own each time: Bun keeps a module that failed under its name for ever (measured).
    module = (await import(`${path}?load=${++loads}`)) as Record<string, unknown>;
  } catch (error) {
    throw new HandlerError("unusable", `${placeOf(error, path) ?? path} does not load: ${firstLine(error)}`, {
      hint: frameOf(error),
      cause: error,
    });
  }
  const hooks = hooksOf(module["default"]);
  if (hooks !== undefined) return hooks;
  throw new HandlerError("unusable", `${path} has no message hook as its default export`, {
    hint: "export default { message(session, payload) { session.send(payload) } }, or the function alone",
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
  if (error instanceof ParleyError || (error instanceof Error && ConversationOver.is(error))) return error;
  const place = placeOf(error, path);
  const where = place === undefined ? "" : `, at ${place}`;
  return new HandlerError("threw", `${firstLine(error)}${where}`, { hint: frameOf(error), cause: error });
}
