// Puts an archive (archive.ts) into a store: in one change where the store takes one, otherwise in several. Users come before their
// tokens, so that no change leaves a token without its user.

import { AccountError, credentialStamp, replaceUser } from "./accounts.ts";
import { amended, nothingImported, WORDS, type Archive, type Entry } from "./archive.ts";
import { foldedName, KINDS, type Document, type Host, type Kind } from "./document.ts";
import { ParleyError } from "../base/errors.ts";
import { plural } from "../base/plural.ts";
import type { Store } from "./store.ts";

/** What happens to an entry whose key, or whose name of an address, is in the store already. */
export type Existing = "refuse" | "skip" | "replace";

export type Tally = Record<Kind, number> & { skipped: number; replaced: number };

/**
 * Imports all entries. Where a store needs several changes and a later one fails, the error says how much was imported.
 *
 * @throws {ParleyError} `exists`, `unknown`; `failed` for another server. @throws as `Store.change`.
 */
export async function importArchive(store: Store, archive: Archive, existing: Existing): Promise<Tally> {
  const importer = new Importer(archive, existing);
  const all = archive.entries.length;
  const total: Tally = { users: 0, tokens: 0, hosts: 0, skipped: 0, replaced: 0 };
  let from = 0;
  try {
    importer.check(store.document, 0, all);
    do {
      const { end, tally } = await store.change((draft) => importer.add(draft, from, store.recordsInChange));
      from = end;
      for (const name of Object.keys(total) as (keyof Tally)[]) total[name] += tally[name];
    } while (from < all);
  } catch (error) {
    if (!(error instanceof ParleyError)) throw error;
    if (from > 0) throw partly(error, from, all, existing);
    if (!(error instanceof AccountError) && error.code !== "failed") throw error;
    throw amended(error, nothingImported);
  }
  return total;
}

function partly(
  error: ParleyError<string>,
  done: number,
  all: number,
  existing: Existing,
): ParleyError<string> {
  const again = existing === "replace" ? "the same command" : "the same command with --skip-existing";
  return amended(
    error,
    (message) => `${message}: ${done} of ${plural(all, "record")} were imported`,
    `${again} continues${error.hint === undefined ? "" : `; ${error.hint}`}`,
  );
}

class Importer {
  readonly #archive: Archive;
  readonly #existing: Existing;

  constructor(archive: Archive, existing: Existing) {
    this.#archive = archive;
    this.#existing = existing;
  }

  /** Adds the entries from `from` on, as many as touch at most `limit` records; returns where it has stopped. */
  add(draft: Document, from: number, limit: number): { end: number; tally: Tally } {
    const end = this.#endOf(draft, from, limit);
    this.check(draft, from, end);
    const tally: Tally = { users: 0, tokens: 0, hosts: 0, skipped: 0, replaced: 0 };
    if (this.#archive.server !== undefined) draft.server ??= this.#archive.server;
    for (const entry of this.#archive.entries.slice(from, end)) tally[this.#put(draft, entry)]++;
    return { end, tally };
  }

  /** @throws {AccountError} when an entry from `from` to `end` cannot be added. @throws {ParleyError} `failed` for another server. */
  check(document: Readonly<Document>, from: number, end: number): void {
    const { server, entries, users } = this.#archive;
    const slice = entries.slice(from, end);
    const own = document.server;
    if (server !== undefined && own !== undefined && server !== own && hasTokens(entries))
      throw otherServer();
    const added = new Set(slice.flatMap(({ kind, key }) => (kind === "users" ? key : [])));
    for (const { kind, key, record, line } of slice) {
      if (kind !== "tokens" || added.has(record.user) || document.users.has(record.user)) continue;
      const why = users.has(record.user)
        ? "who was removed meanwhile"
        : "who is neither here nor in the store";
      throw new AccountError("unknown", `line ${line}: token ${key} is of user ${record.user}, ${why}`);
    }
    const taken = this.#existing === "refuse" ? slice.filter((entry) => isTaken(document, entry)) : [];
    if (taken.length > 0) throw alreadyThere(taken);
  }

  #endOf(draft: Document, from: number, limit: number): number {
    const { entries } = this.#archive;
    if (limit === Infinity) return entries.length;
    let end = from;
    for (let left = limit; end < entries.length; end++) {
      left -= recordsOf(draft, entries[end]!);
      if (left < 0 && end > from) break;
    }
    return end;
  }

  #put(draft: Document, entry: Entry): keyof Tally {
    const taken = isTaken(draft, entry);
    if (this.#existing === "skip" && (taken || this.#isOfAnother(draft, entry))) return "skipped";
    if (entry.kind === "users") replaceUser(draft, entry.key, entry.record);
    else if (entry.kind === "tokens") draft.tokens.set(entry.key, entry.record);
    else putHost(draft, entry.key, entry.record);
    return taken ? "replaced" : entry.kind;
  }

  /** True for a token of a user whose name belongs to another account in the store, or who has another password there. */
  #isOfAnother(draft: Document, { kind, record }: Entry): boolean {
    if (kind !== "tokens") return false;
    const theirs = this.#archive.users.get(record.user);
    const own = draft.users.get(record.user);
    return theirs !== undefined && own !== undefined && credentialStamp(theirs) !== credentialStamp(own);
  }
}

/** How many records adding the entry reads and changes. */
function recordsOf({ tokens }: Document, { kind, key }: Entry): number {
  return kind === "users" ? 1 + tokens.groupSize(key) : 2; // a token and its user; an address and its name
}

function isTaken(document: Readonly<Document>, { kind, key, record }: Entry): boolean {
  return document[kind].has(key) || (kind === "hosts" && othersOfName(document, key, record).length > 0);
}

/** Other addresses that have the name. */
function othersOfName({ hosts }: Readonly<Document>, address: string, host: Host): string[] {
  return hosts.inGroup(foldedName(host)).filter((other) => other !== address);
}

/** Stores an address; another one that has its name is forgotten. */
function putHost(draft: Document, address: string, host: Host): void {
  for (const other of othersOfName(draft, address, host)) draft.hosts.delete(other);
  draft.hosts.set(address, host);
}

function hasTokens(entries: readonly Entry[]): boolean {
  return entries.some(({ kind }) => kind === "tokens");
}

function otherServer(): ParleyError {
  return new ParleyError(
    "failed",
    "the tokens are of another server than this store: clients would not use them here",
    {
      hint: "import everything into an empty store, or the users alone: export and import them without --all",
    },
  );
}

/** The error for what is in the store already, by kind. */
function alreadyThere(taken: readonly Entry[]): AccountError {
  const groups = KINDS.map((kind) => ({
    word: WORDS[kind],
    keys: taken.flatMap((entry) => (entry.kind === kind ? entry.key : [])),
  })).filter(({ keys }) => keys.length > 0);
  const what =
    groups.length === 1 ? sentenceOf(groups[0]!) : `${groups.map(partOf).join(", ")} already exist`;
  return new AccountError("exists", what, {
    hint: "keep them with --skip-existing, or replace them, which ends their sessions, with --replace",
  });
}

interface Group {
  word: string;
  keys: readonly string[];
}

function sentenceOf({ word, keys }: Group): string {
  if (keys.length === 1) return `${word} ${keys[0]} already exists`;
  return `${plural(keys.length, word)} already exist (${listed(keys)})`;
}

function partOf({ word, keys }: Group): string {
  // The id of a token says nothing to a person.
  return plural(keys.length, word) + (word === WORDS.tokens ? "" : ` (${listed(keys)})`);
}

/** How many keys are listed. */
const MAX_NAMED = 10;

/** Keys for a sentence: the first of many. */
function listed(keys: readonly string[]): string {
  const more = keys.length - MAX_NAMED;
  return `${keys.slice(0, MAX_NAMED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}
