// A user's module as a service: TypeScript or JavaScript, loaded at run time with what it imports, loaded again when it
// changes. Conversations stay; the next message goes to the new code.
//
// A module that does not load leaves the old code at work. What its hooks throw ends their own conversation, and the log
// says where in the user's file it happened.

import { existsSync } from "node:fs";
import { dirname, resolve, sep } from "node:path";
import { messageOf, ParleyError } from "../errors.ts";
import type { Conversation, Service } from "./service.ts";

/** `unusable`: the module does not load, or is none. `threw`: a hook did. `hint` holds the lines of code around it. */
export class HandlerError extends ParleyError<"unusable" | "threw"> {
  override name = "HandlerError";
}

export class Handler implements Service {
  /** Absolute. */
  readonly path: string;
  #hooks: Service;

  private constructor(path: string, hooks: Service) {
    this.path = path;
    this.#hooks = hooks;
  }

  /** @throws {HandlerError} `unusable`. */
  static async load(file: string): Promise<Handler> {
    const path = resolve(file);
    if (!existsSync(path)) {
      throw new HandlerError("unusable", `there is no file ${path}`, {
        hint: `write a first one with: parley serve --init ${file}`,
      });
    }
    return new Handler(path, await importHooks(path));
  }

  /** Takes up what the file says now. @throws {HandlerError} `unusable`; then everything is as before. */
  async reload(): Promise<void> {
    this.#hooks = await importHooks(this.path);
  }

  /** The user's files that are loaded: this one, and what it imports. */
  get files(): string[] {
    return loadedFiles().filter((file) => file === this.path || file.startsWith(dirname(this.path) + sep));
  }

  open(session: Conversation): void | Promise<void> {
    try {
      return this.#watch(this.#hooks.open?.(session));
    } catch (error) {
      throw asHandlerError(error);
    }
  }

  message(session: Conversation, payload: Uint8Array): void | Promise<void> {
    try {
      const pending = this.#hooks.message(session, payload);
      return pending === undefined ? undefined : this.#watch(pending);
    } catch (error) {
      throw asHandlerError(error);
    }
  }

  end(session: Conversation): void | Promise<void> {
    if (this.#hooks.end === undefined) return session.finish();
    try {
      return this.#watch(this.#hooks.end(session));
    } catch (error) {
      throw asHandlerError(error);
    }
  }

  close(session: Conversation): void {
    try {
      const pending: unknown = this.#hooks.close?.(session);
      if (pending instanceof Promise) this.#watch(pending)?.catch(() => undefined); // nobody is left to be told
    } catch (error) {
      throw asHandlerError(error);
    }
  }

  /** What a hook returned, when it is worth waiting for. A hook may return anything: it is not ours. */
  #watch(pending: unknown): Promise<void> | undefined {
    if (!(pending instanceof Promise)) return undefined;
    return pending.then(
      () => undefined,
      (error: unknown) => {
        throw asHandlerError(error);
      },
    );
  }
}

/** What Bun keeps of modules; those inside the executable begin with its own root. */
function loadedFiles(): string[] {
  return Object.keys(require.cache).filter((file) => file.startsWith(sep) && !file.startsWith("/$bunfs"));
}

async function importHooks(path: string): Promise<Service> {
  // Bun's `require.cache` holds ES modules too: forgetting them is what makes `import` read the files again (measured).
  for (const file of loadedFiles())
    if (!file.includes(`${sep}node_modules${sep}`)) delete require.cache[file];
  let module: Record<string, unknown>;
  try {
    module = (await import(path)) as Record<string, unknown>;
  } catch (error) {
    throw new HandlerError("unusable", `${path} does not load: ${firstLine(error)}`, {
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
  if (typeof exported === "function") return { message: exported as Service["message"] };
  if (typeof exported !== "object" || exported === null || !("message" in exported)) return undefined;
  return typeof exported.message === "function" ? (exported as Service) : undefined;
}

function asHandlerError(error: unknown): Error {
  // Ours go their own way: text that is none, for one, is the peer's fault.
  if (error instanceof ParleyError) return error;
  return new HandlerError("threw", firstLine(error), { hint: frameOf(error), cause: error });
}

function firstLine(error: unknown): string {
  const [first] = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
  const name = first instanceof Error && first.name !== "BuildMessage" ? `${first.name}: ` : "";
  return `${name}${messageOf(first).split("\n", 1)[0] ?? ""}`;
}

/** The lines of code around an error, with file and line, as Bun shows them. */
function frameOf(error: unknown): string {
  return Bun.inspect(error, { colors: false }).trim();
}
