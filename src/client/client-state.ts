// The files that a client keeps between two runs: its last login, its tokens, and the servers that it trusts. cli/connect reads and
// changes them.
//
//     last.json           {"host":"127.0.0.1","port":13131,"user":"ann"}                       the prompts' defaults
//     tokens.json         {"version":1,"tokens":[{"server":"127.0.0.1:13131","user":"ann","token":"prly_…","expires":"…"}]}
//     known-servers.json  {"version":1,"servers":[{"server":"127.0.0.1:13131","pin":"sha256/…","since":"…"}]}
//     terminals.json      {"version":1,"servers":[{"server":"127.0.0.1:13131","since":"…"}]}           whose programs may draw here

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

/** `host:port`. A file may have another spelling of the same address. */
const ServerName = v.pipe(v.string(), v.transform(respellServer));

const Stored = v.object({
  server: ServerName,
  user: v.string(),
  token: v.string(),
  expires: v.pipe(v.string(), v.isoTimestamp()),
  /** True when the token was issued over TLS: then it is not used without TLS. */
  encrypted: v.optional(v.boolean()),
  /** `hello.server` of the server that issued the token, if it had one. */
  issuer: v.optional(v.string()),
});
export type StoredToken = v.InferOutput<typeof Stored>;

const Tokens = v.object({ version: v.literal(1), tokens: v.array(Stored) });

const Servers = v.object({
  version: v.literal(1),
  servers: v.array(v.object({ server: ServerName, pin: v.string(), since: v.string() })),
});
export type KnownServer = v.InferOutput<typeof Servers>["servers"][number];

const Terminals = v.object({
  version: v.literal(1),
  servers: v.array(v.object({ server: ServerName, since: v.string() })),
});

export class ClientState {
  readonly #folder: DataFolder;

  constructor(folder: DataFolder) {
    this.#folder = folder;
  }

  /** True when the data folder exists. */
  get exists(): boolean {
    return this.#folder.exists;
  }

  /**
   * The last login, for the defaults of questions. Empty when there was none, and also when the file is damaged or cannot be
   * read: the next login writes it again.
   */
  last(): Last {
    try {
      return parseLast(this.#read("last")?.text);
    } catch (error) {
      if (error instanceof FileError) return {};
      throw error;
    }
  }

  /** Writes the last login. Without a user in `last` the file keeps the user that it has. */
  async remember(last: Last): Promise<void> {
    await this.#file("last").update(({ text }) => {
      const updated = `${JSON.stringify({ ...last, user: last.user ?? parseLast(text).user })}\n`;
      return text === updated ? null : updated;
    });
  }

  /** All tokens that have not expired. @throws {FileError} `corrupt`. */
  tokens(): StoredToken[] {
    const text = this.#read("tokens")?.text ?? null;
    if (text === null) return [];
    return parseTokens(text, this.#path("tokens")).filter(({ expires }) => Date.parse(expires) > Date.now());
  }

  /** Adds a token, and removes the one that it replaces; of too many of one server the oldest. @throws {FileError} as LockedFile. */
  async saveToken(added: StoredToken): Promise<void> {
    await this.#changeTokens((tokens) => {
      const kept = tokens.filter((stored) => !replaces(added, stored));
      const ofServer = kept.filter(({ server }) => server === added.server);
      const surplus = new Set(ofServer.slice(0, Math.max(0, ofServer.length - MAX_SERVER_TOKENS + 1)));
      return [...kept.filter((stored) => !surplus.has(stored)), added];
    });
  }

  /** Removes a token. @throws {FileError} as LockedFile. */
  async forgetToken({ token }: StoredToken): Promise<void> {
    await this.#changeTokens((tokens) => tokens.filter((stored) => stored.token !== token));
  }

  /** The pin of `server`; undefined for an unknown server. @throws {FileError} `corrupt`: then no server is trusted. */
  findPin(server: string): string | undefined {
    return this.findServer(server)?.pin;
  }

  /** The pin of `server` and when it was accepted; undefined for an unknown server. @throws {FileError} `corrupt`. */
  findServer(server: string): KnownServer | undefined {
    return latest(this.#parseServers(this.#read("knownServers")?.text ?? null), server);
  }

  /** The servers with a pin. @throws {FileError} `corrupt`. */
  servers(): KnownServer[] {
    return this.#parseServers(this.#read("knownServers")?.text ?? null);
  }

  /**
   * Makes `pin` the only pin of `server`.
   *
   * @param expected the pin of the server when the user decided; undefined for an unknown server.
   * @throws {ParleyError} `failed` when another process has changed that pin meanwhile.
   */
  async savePin(server: string, pin: string, expected: string | undefined): Promise<void> {
    await this.#file("knownServers").update(({ text }) => {
      const all = this.#parseServers(text);
      const present = latest(all, server)?.pin;
      if (present === pin) return null;
      if (present !== expected) throw pinChanged(server, pin, present);
      const others = all.filter((known) => known.server !== server);
      return formatServers([...others, { server, pin, since: new Date().toISOString() }]);
    });
  }

  /** Removes the pin of `server`; false when there is none. @throws {FileError} `corrupt`, or as LockedFile. */
  async forgetPin(server: string): Promise<boolean> {
    let wasKnown = false;
    if (!this.#folder.exists) return false;
    await this.#file("knownServers").update(({ text }) => {
      const all = this.#parseServers(text);
      const others = all.filter((known) => known.server !== server);
      wasKnown = others.length < all.length;
      return wasKnown ? formatServers(others) : null;
    });
    return wasKnown;
  }

  /** True when the program of `server` may draw on a terminal. @throws {FileError} `corrupt`. */
  mayDraw(server: string): boolean {
    return this.#parseTerminals(this.#read("terminals")?.text ?? null).some(
      (known) => known.server === server,
    );
  }

  /** Lets the program of `server` draw on a terminal. @throws {FileError} as LockedFile. */
  async allowDrawing(server: string): Promise<void> {
    await this.#file("terminals").update(({ text }) => {
      const all = this.#parseTerminals(text);
      if (all.some((known) => known.server === server)) return null;
      return formatServers([...all, { server, since: new Date().toISOString() }]);
    });
  }

  /** Takes that permission back; false when there is none. @throws {FileError} `corrupt`, or as LockedFile. */
  async forbidDrawing(server: string): Promise<boolean> {
    let wasAllowed = false;
    if (!this.#folder.exists) return false;
    await this.#file("terminals").update(({ text }) => {
      const all = this.#parseTerminals(text);
      const others = all.filter((known) => known.server !== server);
      wasAllowed = others.length < all.length;
      return wasAllowed ? formatServers(others) : null;
    });
    return wasAllowed;
  }

  #parseTerminals(text: string | null): { server: string; since: string }[] {
    if (text === null) return [];
    const hint = "remove it: you are asked again for each server";
    return parse(Terminals, text, this.#path("terminals"), hint).servers;
  }

  #parseServers(text: string | null): KnownServer[] {
    if (text === null) return [];
    const hint = "repair it by hand; if you remove it, every server is unknown again";
    return parse(Servers, text, this.#path("knownServers"), hint).servers;
  }

  async #changeTokens(change: (tokens: StoredToken[]) => StoredToken[]): Promise<void> {
    const file = this.#file("tokens");
    await file.update(({ text }) => formatTokens(change(parseTokens(text, file.path))));
  }

  /** The content of a file; undefined without a data folder. */
  #read(name: FileName): FileVersion | undefined {
    return this.#folder.exists ? new LockedFile(this.#path(name)).read() : undefined;
  }

  /** A file to be changed, in a data folder that is created if needed. @throws {FileError} when it cannot be created. */
  #file(name: FileName): LockedFile {
    this.#folder.make();
    return new LockedFile(this.#path(name));
  }

  #path(name: FileName): string {
    return this.#folder[name];
  }
}

/** Tokens of one server that are kept: each login may bring one of another user and another issuer. */
const MAX_SERVER_TOKENS = 100;

type FileName = "last" | "tokens" | "knownServers" | "terminals";

function parseLast(text: string | null | undefined): Last {
  const last = v.safeParse(v.pipe(v.string(), v.parseJson(), Last), text ?? "");
  return last.success ? last.output : {};
}

function pinChanged(server: string, pin: string, present: string | undefined): ParleyError {
  const now = present === undefined ? "it is no longer known" : `its pin is now ${present}`;
  return new ParleyError("pin_changed", `cannot trust ${server} with ${pin}: ${now}`, {
    hint: "compare the pin with the one that the server prints: another parley process changed it",
  });
}

/** The entry of `server`. An older file may have several, under different spellings: the one accepted last counts. */
function latest(all: readonly KnownServer[], server: string): KnownServer | undefined {
  return all.findLast((known) => known.server === server);
}

function formatServers(servers: readonly { server: string; since: string }[]): string {
  return `${JSON.stringify({ version: 1, servers }, null, 2)}\n`;
}

/** True when `added` replaces `stored`. Several servers may have had the same address: each issuer's token is kept. */
function replaces(added: StoredToken, { token, server, user, issuer }: StoredToken): boolean {
  return added.token === token || (added.server === server && added.user === user && added.issuer === issuer);
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
  hint = "remove it, and log in with your password: it holds only session tokens",
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
