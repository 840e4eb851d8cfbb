// What users.json says, as values: read strictly, written readably, nothing unknown lost.
//
//     {"version":1,"rev":7,"server":"<random>",
//      "users":  {"ann":{"password":"$argon2id$…","created":"…","changed":"…","disabled":null}},
//      "tokens": {"<id>":{"user":"ann","key":"<base64 SHA-256>","created":"…","used":"…","expires":"…"}},
//      "hosts":  {"127.0.0.1":{"name":"Ann","first":"…","last":"…"}}}
//
// Names become keys of a Map, never of an object: `constructor` and `__proto__` are nobody here.

import * as v from "valibot";
import { FileError } from "../files/file-error.ts";
import { messageOf } from "../errors.ts";
import { normalizeName } from "./name.ts";

const VERSION = 1;
const Instant = v.pipe(v.string(), v.isoTimestamp());

const User = v.looseObject({
  /** PHC string of argon2id. */
  password: v.string(),
  created: Instant,
  /** When the password last changed in a way that ends conversations; absent: never. */
  changed: v.optional(Instant),
  disabled: v.nullable(v.looseObject({ since: Instant, reason: v.optional(v.string()) })),
  last_login: v.optional(Instant),
});
const Token = v.looseObject({
  user: v.string(),
  /** base64 of SHA-256 of the secret: all that is stored of it. */
  key: v.pipe(v.string(), v.base64(), v.length(44)),
  created: Instant,
  used: Instant,
  expires: Instant,
  /** Where it was issued to. */
  peer: v.optional(v.string()),
  /** How it was issued. */
  via: v.optional(v.picklist(["tls", "plain"])),
});
const Host = v.looseObject({ name: v.string(), first: Instant, last: Instant });
const Entries = v.record(v.string(), v.unknown());
const File = v.looseObject({
  version: v.number(),
  rev: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  server: v.optional(v.pipe(v.string(), v.regex(/^[\w-]{8,64}$/))),
  users: v.optional(v.custom<Record<string, unknown>>(isObject, "not an object")),
  tokens: v.optional(v.custom<Record<string, unknown>>(isObject, "not an object")),
  hosts: v.optional(v.custom<Record<string, unknown>>(isObject, "not an object")),
});

export type User = v.InferOutput<typeof User>;
export type Token = v.InferOutput<typeof Token>;
export type Host = v.InferOutput<typeof Host>;

/** The whole store. Records are replaced, never changed in place: an older document stays what it was. */
export interface Document {
  rev: number;
  /** Public and random: clients keep their tokens for the server that says the same. Made with the first token. */
  server: string | undefined;
  /** By normalised name. */
  users: Map<string, User>;
  /** Another object once somebody's hash is another: what is worked out from all of them need not be each login anew. */
  hashes: object;
  /** By public id. */
  tokens: Map<string, Token>;
  /** By address. */
  hosts: Map<string, Host>;
  /** Members that this version does not know, kept as they are. */
  rest: Record<string, unknown>;
}

export function emptyDocument(): Document {
  return {
    rev: 0,
    server: undefined,
    users: new Map(),
    hashes: {},
    tokens: new Map(),
    hosts: new Map(),
    rest: {},
  };
}

export function copyDocument(document: Document): Document {
  return {
    rev: document.rev,
    server: document.server,
    users: new Map(document.users),
    hashes: document.hashes,
    tokens: new Map(document.tokens),
    hosts: new Map(document.hosts),
    rest: document.rest,
  };
}

/** @throws {FileError} `corrupt`, naming `path` and the member that is wrong; an empty text is corrupt too. */
export function parseDocument(text: string, path: string): Document {
  const corrupt = (what: string, cause?: unknown) =>
    new FileError("corrupt", `${path} is damaged: ${what}`, {
      hint: "nothing was changed: mend it by hand, or restore a copy",
      cause,
    });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    // The words without what they quote: that may be a secret, and they go to the log.
    const words = messageOf(error).replace(/"[^"]*"?/g, "…");
    throw corrupt(text === "" ? "it is empty" : words, error);
  }
  const header = v.safeParse(v.object({ version: v.number() }), json);
  if (header.success && header.output.version !== VERSION) {
    throw new FileError(
      "corrupt",
      `${path} has version ${header.output.version}, this parley knows ${VERSION}`,
      {
        hint: "use the parley that wrote it",
      },
    );
  }
  if (!v.is(File, json))
    throw corrupt(issueText("", v.safeParse(File, json, { abortEarly: true }).issues?.[0]));
  // What was checked is kept as it was read: valibot's own output leaves out members with names like `constructor`.
  const { version: _, rev, server, users = {}, tokens = {}, hosts = {}, ...rest } = json;
  const table = <S extends v.GenericSchema>(
    name: string,
    record: Record<string, unknown>,
    schema: S,
    isKey: (key: string) => boolean,
  ) => {
    const map = new Map<string, v.InferInput<S>>();
    for (const [key, value] of Object.entries(record)) {
      if (!isKey(key)) throw corrupt(`${name} has the impossible key ${JSON.stringify(key)}`);
      if (!v.is(schema, value)) {
        throw corrupt(
          issueText(`${name}.${key}`, v.safeParse(schema, value, { abortEarly: true }).issues?.[0]),
        );
      }
      map.set(key, value);
    }
    return map;
  };
  return {
    rev,
    server,
    users: table("users", users, User, (key) => normalizeName(key) === key),
    hashes: {},
    tokens: table("tokens", tokens, Token, (key) => /^[0-9A-Za-z]{8}$/.test(key)),
    hosts: table("hosts", hosts, Host, (key) => /^[0-9A-Fa-f.:%a-z]{2,64}$/.test(key)),
    rest,
  };
}

/** One user's record, from elsewhere; undefined when it is none. Its dates default to now. */
export function parseUser(value: object, now: Date): User | undefined {
  const user = v.safeParse(User, { created: now.toISOString(), disabled: null, ...value });
  return user.success ? user.output : undefined;
}

/** The file's text, indented so that a person can read and mend it. */
export function formatDocument(document: Document): string {
  const { rev, server, users, tokens, hosts, rest } = document;
  const file = {
    version: VERSION,
    rev,
    server,
    users: Object.fromEntries(users),
    tokens: Object.fromEntries(tokens),
    hosts: Object.fromEntries(hosts),
    ...rest,
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}

function isObject(value: unknown): boolean {
  return v.is(Entries, value) && !Array.isArray(value);
}

function issueText(where: string, issue: v.BaseIssue<unknown> | undefined): string {
  const dotted = issue === undefined ? null : v.getDotPath(issue);
  const path = [where, dotted].filter((part) => part !== null && part !== "").join(".");
  const isMissing = path !== "" && issue?.received === "undefined";
  const expected = issue?.expected ?? "unknown";
  return `${path === "" ? "the whole" : path} should be ${isMissing ? "there" : expected === "unknown" ? "an object" : expected}`;
}
