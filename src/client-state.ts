// What a client remembers between conversations: where it was last, its session tokens, and the servers it trusts.
//
//     last.json           {"host":"127.0.0.1","port":13131,"user":"ann"}                       the prompts' defaults
//     tokens.json         {"version":1,"tokens":[{"server":"127.0.0.1:13131","user":"ann","token":"prly_…","expires":"…"}]}
//     known-servers.json  {"version":1,"servers":[{"server":"127.0.0.1:13131","pin":"sha256/…","since":"…"}]}

import * as v from "valibot";
import type { DataFolder } from "./files/data-folder.ts";
import { JsonFile } from "./files/json-file.ts";
import { FileError } from "./files/private-file.ts";

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
  readonly #last: JsonFile;
  readonly #tokens: JsonFile;
  readonly #servers: JsonFile;

  constructor(folder: DataFolder) {
    this.#last = new JsonFile(folder.last);
    this.#tokens = new JsonFile(folder.tokens);
    this.#servers = new JsonFile(folder.knownServers);
  }

  /** Nothing when the file is damaged: these are defaults of questions, and are written anew with the next login. */
  last(): Last {
    try {
      const { text } = this.#last.read();
      return text === null ? {} : parse(Last, text, this.#last.path);
    } catch (error) {
      if (error instanceof FileError) return {};
      throw error;
    }
  }

  async remember(last: Last): Promise<void> {
    await this.#last.update(({ text }) => {
      const updated = `${JSON.stringify(last)}\n`;
      return text === updated ? null : updated;
    });
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

  /** Trusts `server` by `pin`, and by no other. */
  async savePin(server: string, pin: string): Promise<void> {
    await this.#servers.update(({ text }) => {
      const others = this.#known(text).filter((known) => known.server !== server);
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
