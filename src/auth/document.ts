// The content of users.json as values: parsed strictly, formatted readably, with unknown members kept.
//
//     {"version":1,"rev":7,"server":"<random>",
//      "users":  {"ann":{"id":"<random>","password":"$argon2id$…","created":"…","changed":"…","disabled":null}},
//      "tokens": {"<id>":{"user":"ann","key":"<base64 SHA-256>","created":"…","used":"…","expires":"…"}},
//      "hosts":  {"127.0.0.1":{"name":"Ann","first":"…","last":"…"}}}
//
// Names become keys of a Map, never of an object: `constructor` and `__proto__` are names like any other.

import * as v from "valibot";
import { FileError } from "../files/file-error.ts";
import { messageOf } from "../base/errors.ts";
import { MAX_TAGS } from "../base/limits.ts";
import { hashCost } from "./password.ts";
import { Table, TableDraft, type Records } from "./table.ts";
import { areTags, TAG_RULE } from "./tags.ts";
import { mintUserId } from "./token.ts";
import { normalizeName } from "./username.ts";

/** That of a file with a journal, which older parleys do not know; the other one has none. */
const JOURNALED = 2;
const VERSIONS: readonly number[] = [1, JOURNALED];
/** From so many records on the file has a journal: it is then about 64 KiB long, and a smaller one is written as fast. */
const JOURNALED_RECORDS = 200;
/** Records that are formatted at once: 0.5 ms (measured with Bun 1.4.5). */
const RECORDS_IN_SLICE = 200;
const isTimestamp = v.pipe(v.string(), v.isoTimestamp());

// Each message says what the value should be.
const Text = v.string("a string");
const Instant = v.custom<string>((value) => v.is(isTimestamp, value), "a time such as 2026-01-02T03:04:05Z");
const Members = v.custom<Record<string, unknown>>(isObject, "an object");
const Tags = v.custom<readonly string[]>(areTags, `at most ${MAX_TAGS} different tags: ${TAG_RULE}`);

const User = v.looseObject(
  {
    /**
     * Created with the account: another account of the same name has another id. Absent in an account that an older version
     * has written.
     */
    id: v.optional(Text),
    /** PHC string of argon2id. Another text is kept, but no password matches it. */
    password: Text,
    created: Instant,
    /** When a change of the password last ended sessions; absent: never. */
    changed: v.optional(Instant),
    disabled: v.nullable(v.looseObject({ since: Instant, reason: v.optional(Text) }, "null or an object")),
    last_login: v.optional(Instant),
    /** The words by which a service asks for a role; absent: none. */
    tags: v.optional(Tags),
  },
  "an object",
);
const Token = v.looseObject(
  {
    user: Text,
    /** SHA-256 of the secret, in base64; the secret is not stored. */
    key: v.custom<string>(isDigest, "32 bytes in base64"),
    created: Instant,
    used: Instant,
    expires: Instant,
    /** The address of the client that got it. */
    peer: v.optional(Text),
    /** The transport on which it was issued. */
    via: v.optional(v.picklist(["tls", "plain"], "tls or plain")),
  },
  "an object",
);
const Host = v.looseObject(
  {
    name: Text,
    first: Instant,
    last: Instant,
    /** Absent when the client has chosen the name: such an address may make room in a full table. */
    named_by: v.optional(v.literal("operator", "operator")),
  },
  "an object",
);
const Server = v.pipe(Text, v.regex(/^[\w-]{8,64}$/, "8 to 64 letters and digits"));
const File = v.looseObject(
  {
    version: v.number("a number"),
    rev: v.custom<number>((value) => Number.isSafeInteger(value) && Number(value) >= 0, "a whole number"),
    server: v.optional(Server),
    users: v.optional(Members),
    tokens: v.optional(Members),
    hosts: v.optional(Members),
  },
  "an object",
);

export type User = v.InferOutput<typeof User>;
export type Token = v.InferOutput<typeof Token>;
export type Host = v.InferOutput<typeof Host>;

/** The whole store. Records are replaced, never changed in place. */
export interface Document {
  /** True for a file with a journal. */
  isJournaled: boolean;
  rev: number;
  /** Public and random: clients use a token only for a server with the same text. Created with the first token. */
  server: string | undefined;
  /** By normalised name. */
  users: Records<User>;
  /** By public id; in groups by user. */
  tokens: Records<Token>;
  /** By address; in groups by {@link foldedName}. */
  hosts: Records<Host>;
  /** Members that this version does not know, kept as they are. */
  rest: Record<string, unknown>;
}

/** The group of the users whose hashes no password can match. */
export const UNUSABLE = "";

/** The content of the store in memory. */
export interface Replica extends Document {
  /** In groups by the cost of their hashes. */
  users: Table<User>;
  tokens: Table<Token>;
  hosts: Table<Host>;
}

export function emptyDocument(): Replica {
  return { isJournaled: false, rev: 0, server: undefined, ...emptyTables(), rest: {} };
}

function emptyTables(): Pick<Replica, "users" | "tokens" | "hosts"> {
  return {
    users: new Table(({ password }) => {
      const cost = hashCost(password);
      return cost === undefined ? UNUSABLE : `${cost.memoryKib} ${cost.time} ${cost.lanes}`;
    }),
    tokens: new Table(({ user }) => user),
    hosts: new Table<Host>(foldedName),
  };
}

/** The name of an address, as it is compared. */
export function foldedName({ name }: Pick<Host, "name">): string {
  return name.toLowerCase();
}

/** Changes that are not yet made: reads through to the replica, and keeps what is written. */
export class DocumentDraft implements Document {
  isJournaled: boolean;
  rev: number;
  server: string | undefined;
  readonly users: TableDraft<User>;
  readonly tokens: TableDraft<Token>;
  readonly hosts: TableDraft<Host>;
  readonly rest: Record<string, unknown>;
  readonly #replica: Replica;

  constructor(replica: Replica) {
    this.#replica = replica;
    this.isJournaled = replica.isJournaled;
    this.rev = replica.rev;
    this.server = replica.server;
    this.users = new TableDraft(replica.users);
    this.tokens = new TableDraft(replica.tokens);
    this.hosts = new TableDraft(replica.hosts);
    this.rest = replica.rest;
  }

  /** The number of the records that were written or deleted. */
  get changeCount(): number {
    return this.users.changeCount + this.tokens.changeCount + this.hosts.changeCount;
  }

  /** Makes the changes in the replica. The draft has no further use. */
  apply(): void {
    this.#replica.isJournaled = this.isJournaled;
    this.#replica.rev = this.rev;
    this.#replica.server = this.server;
    this.users.apply();
    this.tokens.apply();
    this.hosts.apply();
  }
}

/** The tables of the file. */
export type Kind = "users" | "tokens" | "hosts";
export const KINDS = ["users", "tokens", "hosts"] as const satisfies readonly Kind[];

const RULES: Readonly<Record<Kind, { schema: v.GenericSchema; isKey: (key: string) => boolean }>> = {
  users: { schema: User, isKey: (key) => normalizeName(key) === key },
  tokens: { schema: Token, isKey: (key) => /^[0-9A-Za-z]{8}$/.test(key) },
  hosts: { schema: Host, isKey: (key) => /^[0-9A-Fa-f.:%a-z]{2,64}$/.test(key) },
};

/** The reason why a record cannot stand in that table, as a clause; undefined when it can. */
export function recordFlaw(kind: Kind, key: string, value: unknown): string | undefined {
  const { schema, isKey } = RULES[kind];
  if (!isKey(key)) return `${kind} has the invalid key ${JSON.stringify(key)}`;
  return v.is(schema, value) ? undefined : issueText(`${kind}.${key}`, firstIssue(schema, value));
}

/** True for a text that {@link Document.server} may be. */
export function isServerName(value: unknown): value is string {
  return v.is(Server, value);
}

/** True for a document that is worth a journal. */
export function isLarge({ users, tokens, hosts }: Document): boolean {
  return users.size + tokens.size + hosts.size >= JOURNALED_RECORDS;
}

/** @throws {FileError} `corrupt`, naming `path` and the wrong member; an empty text is corrupt, too. */
export function parseDocument(text: string, path: string): Replica {
  const corrupt = (what: string, cause?: unknown) =>
    new FileError("corrupt", `${path} is damaged: ${what}`, {
      hint: "repair it by hand, or restore a copy: nothing was changed",
      cause,
    });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw corrupt(text === "" ? "it is empty" : jsonFlaw(error), error);
  }
  const header = v.safeParse(v.object({ version: v.number() }), json);
  if (header.success && !VERSIONS.includes(header.output.version)) {
    throw new FileError(
      "corrupt",
      `${path} has version ${header.output.version}, this parley supports versions ${VERSIONS.join(" and ")}`,
      {
        hint: "use the version of parley that wrote it",
      },
    );
  }
  if (!v.is(File, json)) throw corrupt(issueText("", firstIssue(File, json)));
  // Keeps the parsed value: valibot's output leaves out members with names such as `constructor`.
  const { version, rev, server, users = {}, tokens = {}, hosts = {}, ...rest } = json;
  const tables = emptyTables();
  for (const [kind, records] of Object.entries({ users, tokens, hosts }) as [
    Kind,
    Record<string, unknown>,
  ][]) {
    const table = tables[kind] as Table<unknown>;
    for (const [key, value] of Object.entries(records)) {
      const flaw = recordFlaw(kind, key, value);
      if (flaw !== undefined) throw corrupt(flaw);
      table.set(key, value);
    }
  }
  return { isJournaled: version === JOURNALED, rev, server, ...tables, rest };
}

/** The reason why a text is not JSON, for the log. Quotes of the text are removed, since they may be secret. */
export function jsonFlaw(error: unknown): string {
  return messageOf(error).replace(/"[^"]*"?/g, "…");
}

/**
 * A user's record from elsewhere, or the reason why it is invalid. It makes a new account with a new id. Its dates default to
 * now; `disabled` may also be true or false.
 */
export function parseUser(value: object, now: Date): User | string {
  const at = now.toISOString();
  const user: Record<string, unknown> = { created: at, disabled: null, ...value, id: mintUserId() };
  if (user["disabled"] === true) user["disabled"] = { since: at };
  if (user["disabled"] === false) user["disabled"] = null;
  return v.is(User, user) ? user : issueText("", firstIssue(User, user));
}

/** A user's record for another store: without the id, since it makes another account there. */
export function exportedUser(user: User): Omit<User, "id"> {
  const { id: _, ...rest } = user;
  return rest;
}

/** The text of the file, indented so that a person can read and edit it. */
export function formatDocument(document: Document): string {
  return [...formatInSlices(document)].join("");
}

/** The text of the file in slices. The document must stay as it is meanwhile. */
export function* formatInSlices(document: Document): Generator<string> {
  const { rev, server, users, tokens, hosts, rest } = document;
  const version = document.isJournaled ? JOURNALED : 1;
  yield JSON.stringify({ version, rev, server }, null, 2).slice(0, -"\n}".length);
  for (const [name, table] of Object.entries({ users, tokens, hosts })) {
    yield `,\n  "${name}": {`;
    let isFirst = true;
    for (const records of inSlices<unknown>(table)) {
      const text = JSON.stringify({ "": records }, null, 2);
      yield (isFirst ? "" : ",") + text.slice('{\n  "": {'.length, -"\n  }\n}".length);
      isFirst = false;
    }
    yield isFirst ? "}" : "\n  }";
  }
  for (const entry of Object.entries(rest)) {
    yield `,${JSON.stringify(Object.fromEntries([entry]), null, 2).slice("{".length, -"\n}".length)}`;
  }
  yield "\n}\n";
}

/** The records as objects of a few each. */
function* inSlices<V>(table: Iterable<[string, V]>): Generator<Record<string, V>> {
  let slice: [string, V][] = [];
  for (const entry of table) {
    if (slice.push(entry) < RECORDS_IN_SLICE) continue;
    yield Object.fromEntries(slice);
    slice = [];
  }
  if (slice.length > 0) yield Object.fromEntries(slice);
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isDigest(value: unknown): boolean {
  return typeof value === "string" && /^[A-Za-z0-9+/]{43}=$/.test(value);
}

function firstIssue(schema: v.GenericSchema, value: unknown): v.BaseIssue<unknown> | undefined {
  return v.safeParse(schema, value, { abortEarly: true }).issues?.[0];
}

function issueText(where: string, issue: v.BaseIssue<unknown> | undefined): string {
  const dotted = issue === undefined ? null : v.getDotPath(issue);
  const path = [where, dotted].filter((part) => part !== null && part !== "").join(".");
  if (path === "") return `it should be ${issue?.message}`;
  return issue?.received === "undefined" ? `${path} is missing` : `${path} should be ${issue?.message}`;
}
