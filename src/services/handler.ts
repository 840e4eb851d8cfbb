// A user's module as a service: TypeScript or JavaScript, loaded at run time with what it imports, loaded again when it
// changes. Conversations stay; the next message goes to the new code.
//
// A module that does not load leaves the old code at work. What its hooks throw ends their own conversation, and the log
// says where in the user's file it happened.

import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, resolve, sep } from "node:path";
import { messageOf, ParleyError } from "../errors.ts";
import { shellQuote } from "../shell-quote.ts";
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
  files: readonly string[] = [];

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

function isOwn(file: string): boolean {
  return file.startsWith(sep) && !file.startsWith("/$bunfs");
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

function firstLine(error: unknown): string {
  const first = firstOf(error);
  const missing = missingOf(first);
  if (missing !== undefined) return `there is no ${missing.isFile ? "module" : "package"} ${missing.name}`;
  const name = first instanceof Error && first.name !== "BuildMessage" ? `${first.name}: ` : "";
  return `${name}${messageOf(first).split("\n", 1)[0] ?? ""}`;
}

/** `file:line:column` in the user's own code, where it can be told. */
function placeOf(error: unknown, path: string): string | undefined {
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
function frameOf(error: unknown): string | undefined {
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
