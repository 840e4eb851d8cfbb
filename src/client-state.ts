// What a client remembers between conversations: where it was last, its session tokens, and the servers it trusts.
//
//     last.json           {"host":"127.0.0.1","port":13131,"user":"ann"}                       the prompts' defaults
//     tokens.json         {"version":1,"tokens":[{"server":"127.0.0.1:13131","user":"ann","token":"prly_…","expires":"…"}]}
//     known-servers.json  {"version":1,"servers":[{"server":"127.0.0.1:13131","pin":"sha256/…","since":"…"}]}

import * as v from "valibot";
import type { DataFolder } from "./files/data-folder.ts";
import { LockedFile } from "./files/locked-file.ts";
import { ParleyError } from "./errors.ts";
import { FileError } from "./files/file-error.ts";
import type { FileVersion } from "./files/private-file.ts";

const Last = v.object({
  host: v.optional(v.string()),
  port: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65535))),
  user: v.optional(v.string()),
});
export type Last = v.InferOutput<typeof Last>;

const Stored = v.object({
  /** `host:port`. */
  server: v.string(),
  user: v.string(),
  token: v.string(),
  expires: v.pipe(v.string(), v.isoTimestamp()),
  /** Issued over TLS: it is not shown in plain text. */
  encrypted: v.optional(v.boolean()),
});
export type StoredToken = v.InferOutput<typeof Stored>;

const Tokens = v.object({ version: v.literal(1), tokens: v.array(Stored) });

const Servers = v.object({
  version: v.literal(1),
  servers: v.array(v.object({ server: v.string(), pin: v.string(), since: v.string() })),
});

export class ClientState {
  readonly #last: LockedFile;
  readonly #tokens: LockedFile;
  readonly #servers: LockedFile;

  constructor(folder: DataFolder) {
    this.#last = new LockedFile(folder.last);
    this.#tokens = new LockedFile(folder.tokens);
    this.#servers = new LockedFile(folder.knownServers);
  }

  /** Nothing when the file is damaged or cannot be read: these are defaults of questions, and are written anew with the next login. */
  last(): Last {
    try {
      return this.#parseLast(this.#last.read());
    } catch (error) {
      if (error instanceof FileError) return {};
      throw error;
    }
  }

  /** Remembers host and port, and the user where there is one: else the one before stays. */
  async remember(last: Last): Promise<void> {
    await this.#last.update((current) => {
      const updated = `${JSON.stringify({ ...last, user: last.user ?? this.#parseLast(current).user })}\n`;
      return current.text === updated ? null : updated;
    });
  }

  #parseLast({ text }: FileVersion): Last {
    const last = v.safeParse(v.pipe(v.string(), v.parseJson(), Last), text ?? "");
    return last.success ? last.output : {};
  }

  /** Every token, those past their time left out. */
  tokens(): StoredToken[] {
    return parseTokens(this.#tokens.read().text, this.#tokens.path).filter(
      ({ expires }) => Date.parse(expires) > Date.now(),
    );
  }

  /** The token for `user` at `server`; without a user the only one there, or that of whoever was there last. */
  findToken(server: string, user: string | undefined): StoredToken | undefined {
    const here = this.tokens().filter((stored) => stored.server === server);
    if (user === undefined && here.length === 1) return here[0];
    const name = (user ?? this.last().user)?.normalize("NFKC").toLowerCase();
    return here.find((stored) => stored.user === name);
  }

  async saveToken(added: StoredToken): Promise<void> {
    await this.#change((tokens) => [...tokens.filter((stored) => !isSame(stored, added)), added]);
  }

  async forgetToken(gone: StoredToken): Promise<void> {
    await this.#change((tokens) => tokens.filter((stored) => stored.token !== gone.token));
  }

  /** The pin that `server` is trusted by. @throws {FileError} `corrupt`: then nobody is trusted. */
  findPin(server: string): string | undefined {
    return this.#known(this.#servers.read().text).find((known) => known.server === server)?.pin;
  }

  /**
   * Trusts `server` by `pin` from now on, and by no other.
   *
   * @param expected the pin that it was trusted by when that was decided; undefined: by none.
   * @throws {ParleyError} `failed` when another process has trusted another key meanwhile.
   */
  async savePin(server: string, pin: string, expected: string | undefined): Promise<void> {
    await this.#servers.update(({ text }) => {
      const all = this.#known(text);
      const present = all.find((known) => known.server === server)?.pin;
      if (present === pin) return null;
      if (present !== expected) throw pinChanged(server, pin, present);
      const others = all.filter((known) => known.server !== server);
      const servers = [...others, { server, pin, since: new Date().toISOString() }];
      return `${JSON.stringify({ version: 1, servers }, null, 2)}\n`;
    });
  }

  #known(text: string | null): v.InferOutput<typeof Servers>["servers"] {
    if (text === null) return [];
    const hint = "mend it by hand; without it every server would be met as for the first time";
    return parse(Servers, text, this.#servers.path, hint).servers;
  }

  async #change(change: (tokens: StoredToken[]) => StoredToken[]): Promise<void> {
    await this.#tokens.update(({ text }) => formatTokens(change(parseTokens(text, this.#tokens.path))));
  }
}

function pinChanged(server: string, pin: string, present: string | undefined): ParleyError {
  const now = present === undefined ? "it is not known any more" : `it is known by ${present} now`;
  return new ParleyError("failed", `${server} was not trusted by ${pin}: ${now}`, {
    hint: "another parley process changed that meanwhile: compare the keys with what the server prints",
  });
}

function isSame(a: StoredToken, b: StoredToken): boolean {
  return a.server === b.server && a.user === b.user;
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
