// What a client remembers between conversations: where it was last, its session tokens, and the servers it trusts.
//
//     last.json           {"host":"127.0.0.1","port":13131,"user":"ann"}                       the prompts' defaults
//     tokens.json         {"version":1,"tokens":[{"server":"127.0.0.1:13131","user":"ann","token":"prly_…","expires":"…"}]}
//     known-servers.json  {"version":1,"servers":[{"server":"127.0.0.1:13131","pin":"sha256/…","since":"…"}]}

import * as v from "valibot";
import { respellServer } from "../base/address.ts";
import type { DataFolder } from "../files/data-folder.ts";
import { LockedFile } from "../files/locked-file.ts";
import { ParleyError } from "../base/errors.ts";
import { FileError } from "../files/file-error.ts";
import type { FileVersion } from "../files/private-file.ts";

const Last = v.object({
  host: v.optional(v.string()),
  port: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65535))),
  user: v.optional(v.string()),
});
export type Last = v.InferOutput<typeof Last>;

/** `host:port`, in whichever spelling it was written. */
const ServerName = v.pipe(v.string(), v.transform(respellServer));

const Stored = v.object({
  server: ServerName,
  user: v.string(),
  token: v.string(),
  expires: v.pipe(v.string(), v.isoTimestamp()),
  /** Issued over TLS: it is not shown in plain text. */
  encrypted: v.optional(v.boolean()),
  /** Which server issued it, as `hello.server` says; absent: it did not say. */
  issuer: v.optional(v.string()),
});
export type StoredToken = v.InferOutput<typeof Stored>;

const Tokens = v.object({ version: v.literal(1), tokens: v.array(Stored) });

const Servers = v.object({
  version: v.literal(1),
  servers: v.array(v.object({ server: ServerName, pin: v.string(), since: v.string() })),
});
export type KnownServer = v.InferOutput<typeof Servers>["servers"][number];

export class ClientState {
  readonly #folder: DataFolder;

  constructor(folder: DataFolder) {
    this.#folder = folder;
  }

  /** Is there a place for it already? */
  get exists(): boolean {
    return this.#folder.exists;
  }

  /** Nothing when the file is damaged or cannot be read: these are defaults of questions, and are written anew with the next login. */
  last(): Last {
    try {
      return parseLast(this.#read("last")?.text);
    } catch (error) {
      if (error instanceof FileError) return {};
      throw error;
    }
  }

  /** Remembers host and port, and the user where there is one: else the one before stays. */
  async remember(last: Last): Promise<void> {
    await this.#file("last").update(({ text }) => {
      const updated = `${JSON.stringify({ ...last, user: last.user ?? parseLast(text).user })}\n`;
      return text === updated ? null : updated;
    });
  }

  /** Every token, those past their time left out. */
  tokens(): StoredToken[] {
    const text = this.#read("tokens")?.text ?? null;
    if (text === null) return [];
    return parseTokens(text, this.#path("tokens")).filter(({ expires }) => Date.parse(expires) > Date.now());
  }

  async saveToken(added: StoredToken): Promise<void> {
    await this.#changeTokens((tokens) => [...tokens.filter((stored) => !isReplaced(stored, added)), added]);
  }

  async forgetToken(gone: StoredToken): Promise<void> {
    await this.#changeTokens((tokens) => tokens.filter((stored) => stored.token !== gone.token));
  }

  /** The pin that `server` is trusted by. @throws {FileError} `corrupt`: then nobody is trusted. */
  findPin(server: string): string | undefined {
    return this.findServer(server)?.pin;
  }

  /** What `server` is trusted by, and since when. @throws {FileError} `corrupt`. */
  findServer(server: string): KnownServer | undefined {
    return latest(this.#known(this.#read("knownServers")?.text ?? null), server);
  }

  /**
   * Trusts `server` by `pin` from now on, and by no other.
   *
   * @param expected the pin that it was trusted by when that was decided; undefined: by none.
   * @throws {ParleyError} `failed` when another process has trusted another key meanwhile.
   */
  async savePin(server: string, pin: string, expected: string | undefined): Promise<void> {
    await this.#file("knownServers").update(({ text }) => {
      const all = this.#known(text);
      const present = latest(all, server)?.pin;
      if (present === pin) return null;
      if (present !== expected) throw pinChanged(server, pin, present);
      const others = all.filter((known) => known.server !== server);
      return formatServers([...others, { server, pin, since: new Date().toISOString() }]);
    });
  }

  /** Trusts `server` by no key any more; false when it was trusted by none. @throws {FileError} as {@link savePin}. */
  async forgetPin(server: string): Promise<boolean> {
    let wasKnown = false;
    if (!this.#folder.exists) return false;
    await this.#file("knownServers").update(({ text }) => {
      const all = this.#known(text);
      const others = all.filter((known) => known.server !== server);
      wasKnown = others.length < all.length;
      return wasKnown ? formatServers(others) : null;
    });
    return wasKnown;
  }

  #known(text: string | null): KnownServer[] {
    if (text === null) return [];
    const hint = "mend it by hand; without it every server would be met as for the first time";
    return parse(Servers, text, this.#path("knownServers"), hint).servers;
  }

  async #changeTokens(change: (tokens: StoredToken[]) => StoredToken[]): Promise<void> {
    const file = this.#file("tokens");
    await file.update(({ text }) => formatTokens(change(parseTokens(text, file.path))));
  }

  /** Undefined where nothing was ever kept. */
  #read(name: FileName): FileVersion | undefined {
    return this.#folder.exists ? new LockedFile(this.#path(name)).read() : undefined;
  }

  /** To be written. @throws {FileError} when there is no folder for it, and none can be made. */
  #file(name: FileName): LockedFile {
    this.#folder.make();
    return new LockedFile(this.#path(name));
  }

  #path(name: FileName): string {
    return this.#folder[name];
  }
}

type FileName = "last" | "tokens" | "knownServers";

function parseLast(text: string | null | undefined): Last {
  const last = v.safeParse(v.pipe(v.string(), v.parseJson(), Last), text ?? "");
  return last.success ? last.output : {};
}

function pinChanged(server: string, pin: string, present: string | undefined): ParleyError {
  const now = present === undefined ? "it is not known any more" : `it is known by ${present} now`;
  return new ParleyError("failed", `${server} was not trusted by ${pin}: ${now}`, {
    hint: "another parley process changed that meanwhile: compare the keys with what the server prints",
  });
}

/** One server may stand there in several spellings, from before they were one: the key accepted last counts. */
function latest(all: readonly KnownServer[], server: string): KnownServer | undefined {
  return all.findLast((known) => known.server === server);
}

function formatServers(servers: readonly KnownServer[]): string {
  return `${JSON.stringify({ version: 1, servers }, null, 2)}\n`;
}

/** Each server that was ever at an address has its own; the same token is kept once. */
function isReplaced(a: StoredToken, b: StoredToken): boolean {
  return a.token === b.token || (a.server === b.server && a.user === b.user && a.issuer === b.issuer);
}

function parseTokens(text: string | null, path: string): StoredToken[] {
  return text === null ? [] : parse(Tokens, text, path).tokens;
}

function formatTokens(tokens: StoredToken[]): string {
  return `${JSON.stringify({ version: 1, tokens }, null, 2)}\n`;
}

function parse<S extends v.GenericSchema>(
  schema: S,
  text: string,
  path: string,
  hint = "it holds only what a client remembers: remove it, and log in with your password",
): v.InferOutput<S> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  const result = v.safeParse(schema, json);
  if (result.success) return result.output;
  throw new FileError("corrupt", `${path} is damaged`, { hint });
}
