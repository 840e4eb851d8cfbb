// Everything that a store holds, as lines of JSON: `parley users export --all` prints them, `import --all` takes them.
//
//     {"kind":"accounts","version":1,"server":"<random>","users":1,"tokens":1,"hosts":1}     how many lines of each kind follow
//     {"kind":"user","key":"ann","record":{"id":"…","password":"$argon2id$…","created":"…","disabled":null}}
//     {"kind":"token","key":"<id>","record":{"user":"ann","key":"…","created":"…","used":"…","expires":"…"}}
//     {"kind":"host","key":"192.0.2.7","record":{"name":"Ann","first":"…","last":"…"}}
//
// Records are as in users.json, with the members that this version does not know. Users come first, then tokens, then addresses,
// each sorted by key: equal stores have equal lines.

import { AccountError } from "./accounts.ts";
import {
  foldedName,
  isServerName,
  jsonFlaw,
  KINDS,
  recordFlaw,
  type Document,
  type Host,
  type Kind,
  type Token,
  type User,
} from "./document.ts";
import { escapeJson } from "../base/escape.ts";
import { ParleyError } from "../base/errors.ts";
import { plural } from "../base/plural.ts";

const VERSION = 1;
/** Lines that are formatted at once. */
const LINES_IN_SLICE = 200;

/** What one record of each kind is called. */
export const WORDS = { users: "user", tokens: "token", hosts: "host" } as const satisfies Record<
  Kind,
  string
>;
const KIND_OF: ReadonlyMap<unknown, Kind> = new Map(KINDS.map((kind) => [WORDS[kind], kind]));

interface EntryOf<K extends Kind, Value> {
  kind: K;
  key: string;
  record: Value;
  /** The number of its line. */
  line: number;
}

export type Entry = EntryOf<"users", User> | EntryOf<"tokens", Token> | EntryOf<"hosts", Host>;

export interface Archive {
  server: string | undefined;
  /** Users, tokens, addresses, in this order. */
  entries: readonly Entry[];
  /** By name. */
  users: ReadonlyMap<string, User>;
}

/** The lines, in slices. They are those of the moment of the first slice, whatever changes after it. */
export function* formatArchive(document: Readonly<Document>): Generator<string> {
  const { server } = document;
  const sorted = KINDS.map((kind) => ({ kind, records: sortedRecords(document, kind) }));
  const counts = Object.fromEntries(sorted.map(({ kind, records }) => [kind, records.length]));
  yield `${escapeJson({ kind: "accounts", version: VERSION, server, ...counts })}\n`;
  for (const { kind, records } of sorted) {
    for (let from = 0; from < records.length; from += LINES_IN_SLICE) {
      const slice = records.slice(from, from + LINES_IN_SLICE);
      yield slice.map(([key, record]) => `${escapeJson({ kind: WORDS[kind], key, record })}\n`).join("");
    }
  }
}

function sortedRecords(document: Readonly<Document>, kind: Kind): [string, object][] {
  return [...(document[kind] as Iterable<[string, object]>)].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** True for a line of {@link formatArchive}; of `parley users export` none has a kind, and each has a name. */
export function isArchiveLine(json: object): boolean {
  return "kind" in json && !("name" in json);
}

/** Reads all lines. @throws {ParleyError} `failed` or `exists`, naming the line: nothing was imported. */
export function parseArchive(lines: Iterable<string>): Archive {
  try {
    return readLines(lines);
  } catch (error) {
    throw error instanceof ParleyError ? amended(error, nothingImported) : error;
  }
}

export function nothingImported(message: string): string {
  return `${message}: nothing was imported`;
}

/** The same error with another message. */
export function amended(
  error: ParleyError<string>,
  amend: (message: string) => string,
  hint = error.hint,
): ParleyError<string> {
  return new ParleyError(error.code, amend(error.message), { hint, cause: error });
}

function readLines(lines: Iterable<string>): Archive {
  let number = 0;
  let header: Header | undefined;
  const reader = new Reader();
  for (const line of lines) {
    number++;
    if (line.trim() === "") continue;
    try {
      const json = parseLine(line);
      if (header === undefined) header = parseHeader(json);
      else reader.take(json, number);
    } catch (error) {
      throw error instanceof ParleyError ? amended(error, (what) => `line ${number}: ${what}`) : error;
    }
  }
  if (header === undefined) throw new ParleyError("failed", "there are no lines");
  reader.expectAll(header);
  return { server: header.server, entries: reader.entries, users: reader.users };
}

interface Header {
  server: string | undefined;
  counts: Record<Kind, number>;
}

/** Takes the lines after the first. */
class Reader {
  readonly entries: Entry[] = [];
  readonly users = new Map<string, User>();
  readonly #keys: Record<Kind, Set<string>> = { users: new Set(), tokens: new Set(), hosts: new Set() };
  readonly #names = new Set<string>();

  take(json: object, line: number): void {
    const { kind: word, key, record } = json as { kind?: unknown; key?: unknown; record?: unknown };
    const kind = KIND_OF.get(word);
    if (kind === undefined) throw wrong("kind should be user, token or host");
    if (typeof key !== "string") throw wrong("key should be a string");
    const flaw = recordFlaw(kind, key, record);
    if (flaw !== undefined) throw wrong(flaw);
    const previous = this.entries.at(-1);
    if (previous !== undefined && KINDS.indexOf(kind) < KINDS.indexOf(previous.kind))
      throw wrong(`a ${WORDS[kind]} stands after a ${WORDS[previous.kind]}`, "keep the order of the export");
    if (this.#keys[kind].has(key)) throw new AccountError("exists", `${WORDS[kind]} ${key} occurs twice`);
    const entry = { kind, key, record, line } as Entry;
    if (entry.kind === "hosts") this.#expectFreeName(entry.record);
    this.#keys[kind].add(key);
    this.entries.push(entry);
    if (entry.kind === "users") this.users.set(key, entry.record);
  }

  #expectFreeName(host: Host): void {
    const name = foldedName(host);
    if (this.#names.has(name))
      throw new AccountError("exists", `another address already has the name ${host.name}`);
    this.#names.add(name);
  }

  /** @throws {ParleyError} `failed` when lines are missing. */
  expectAll({ counts }: Header): void {
    for (const kind of KINDS) {
      const { size } = this.#keys[kind];
      if (size === counts[kind]) continue;
      throw wrong(
        `the first line says ${plural(counts[kind], WORDS[kind])}, and there ${size === 1 ? "is" : "are"} ${size}`,
        "the file is incomplete: export it again; if you have removed lines, correct the first one",
      );
    }
  }
}

function parseLine(line: string): object {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw wrong(jsonFlaw(error));
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw wrong("it should be an object");
  return json;
}

function parseHeader(json: object): Header {
  if (!isArchiveLine(json)) {
    throw wrong("it is not of an export of everything", "import users alone without --all");
  }
  const { kind, version, server, ...rest } = json as Record<string, unknown>;
  if (kind !== "accounts") throw wrong("the first line of the export is missing", "export it again");
  if (version !== VERSION) {
    throw wrong(
      `version should be ${VERSION}`,
      "import it with the version of parley that has exported it, or a newer one",
    );
  }
  if (server !== undefined && !isServerName(server))
    throw wrong("server should be 8 to 64 letters and digits");
  const counts = Object.fromEntries(KINDS.map((name) => [name, Number(rest[name])])) as Record<Kind, number>;
  const missing = KINDS.find((name) => !Number.isSafeInteger(rest[name]));
  if (missing !== undefined) throw wrong(`${missing} should be a number`);
  return { server, counts };
}

function wrong(what: string, hint?: string): ParleyError {
  return new ParleyError("failed", what, { hint });
}
