// users.journal, beside a users.json of many records: what has changed since. JSON Lines; a change of the store is one line.
//
//     {"journal":1,"rev":7,"hash":"<base64 SHA-256>","stamp":"…","from":"<…>"}      names the snapshot: users.json at revision 7
//     {"rev":8,"users":{"ann":{…}},"tokens":{"<id>":null},"was":{"users":{"ann":"<digest>"},"tokens":{"<id>":"<digest>"}}}
//
// A snapshot and a journal go through these states. Each arrow is one system call that has happened or has not, so a kill at any
// point leaves one of them.
//
//     whole      version 1, or no journal, or a journal that names another snapshot and has nothing newer
//       │  the journal is replaced by one that names this snapshot (rename)
//     journaled  each change: append a line, fsync. A torn last line is no change: it was never acknowledged, and the next change
//       │        cuts it off
//       │  fold: users.json is replaced by one that has every line (rename)
//     whole      the old lines are in the snapshot already: their revisions are not above its own, so they are skipped
//
// A snapshot with another hash and lines above its revision was edited by hand. `was` has the digest of each record before its
// change: a record of the snapshot that differs from its first `was` was edited, and stays as it is; the other lines hold. A
// snapshot below the revision of the journal's first line is an older one, and is damage.

import { FileError } from "../files/file-error.ts";
import { decode } from "../files/private-file.ts";
import { jsonFlaw, KINDS, recordFlaw, type DocumentDraft, type Kind, type Replica } from "./document.ts";
import type { Table } from "./table.ts";

/** The path of the journal that belongs to the snapshot at `target`. */
export function journalOf(target: string): string {
  return `${target.replace(/\.json$/, "")}.journal`;
}

/** What the first line says of the snapshot. */
export interface Header {
  rev: number;
  /** Of the snapshot's text. */
  hash: string;
  /** Of the snapshot's file. */
  stamp: string;
  /**
   * The hash of the snapshot from which this one was folded, else its own: a process that has either in memory, and this revision, need
   * not read the file.
   */
  from: string;
}

type Records = Record<string, object | null>;

/** One line, after the first. */
export interface Change {
  rev: number;
  server?: string;
  users?: Records;
  tokens?: Records;
  hosts?: Records;
  was: Partial<Record<Kind, Record<string, string | null>>>;
}

/** The hash of a snapshot, from its slices. */
export class SnapshotHash {
  readonly #hasher = new Bun.CryptoHasher("sha256");

  /** Passes the slices on. */
  *over(slices: Iterable<string>): Generator<string> {
    for (const slice of slices) {
      this.#hasher.update(slice);
      yield slice;
    }
  }

  toString(): string {
    return this.#hasher.digest("base64");
  }
}

export function formatHeader({ rev, hash, stamp, from }: Header): string {
  return `${JSON.stringify({ journal: 1, rev, hash, stamp, from })}\n`;
}

/** The line of what `draft` has changed in `replica`. */
export function formatChange(draft: DocumentDraft, replica: Replica): string {
  const change: Change = { rev: draft.rev, was: {} };
  if (draft.server !== replica.server && draft.server !== undefined) change.server = draft.server;
  for (const kind of KINDS) {
    const records = Object.fromEntries<object | null>(draft[kind].changes());
    const keys = Object.keys(records);
    if (keys.length === 0) continue;
    change[kind] = records;
    change.was[kind] = Object.fromEntries(keys.map((key) => [key, digestOf(replica[kind].get(key))]));
  }
  return `${JSON.stringify(change)}\n`;
}

/** Tells one value of a record from another; null for none. Spaces and line breaks of the file do not matter. */
function digestOf(record: object | undefined): string | null {
  if (record === undefined) return null;
  return new Bun.CryptoHasher("sha256").update(JSON.stringify(record)).digest("base64").slice(0, 22);
}

/** Takes the lines of one journal in turn. */
export class JournalReader {
  readonly #path: string;
  /** How far the lines have been taken, in bytes. */
  offset = 0;
  #lines = 0;
  #rev = 0;
  #headerBytes = 0;
  header: Header | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Takes the whole lines at the start of `bytes`, which stand at the offset. What follows the last line break is torn, or is being
   * written.
   *
   * @throws {FileError} `corrupt`, naming the line.
   */
  take(bytes: Uint8Array): Change[] {
    const end = bytes.lastIndexOf(0x0a) + 1;
    const changes: Change[] = [];
    for (const line of decode(this.#path, bytes.subarray(0, end)).split("\n").slice(0, -1)) {
      this.#lines++;
      const value = this.#parse(line);
      if (this.#lines === 1) {
        this.header = this.#readHeader(value);
        this.#headerBytes = Buffer.byteLength(line) + 1;
      } else changes.push(this.#readChange(value));
    }
    this.offset += end;
    return changes;
  }

  /** How long all lines but the first are together. */
  get bytesOfChanges(): number {
    return this.offset - this.#headerBytes;
  }

  /** Passes over a line that this process has written. */
  passOver(length: number): void {
    this.offset += length;
    this.#lines++;
    this.#rev++;
  }

  #parse(line: string): Record<string, unknown> {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (error) {
      throw this.#damaged(jsonFlaw(error), error);
    }
    if (!isObject(value)) throw this.#damaged("it should be an object");
    return value;
  }

  #readHeader({ journal, rev, hash, stamp, from }: Record<string, unknown>): Header {
    if (journal !== 1) throw this.#damaged("it should name version 1 of the journal");
    if (![hash, stamp, from].every((text) => typeof text === "string") || !isRev(rev)) {
      throw this.#damaged("it should name the snapshot");
    }
    this.#rev = rev;
    return { rev, hash, stamp, from } as Header;
  }

  #readChange(value: Record<string, unknown>): Change {
    const { rev, server, was } = value;
    if (rev !== this.#rev + 1) throw this.#damaged(`it should have revision ${this.#rev + 1}`);
    if (server !== undefined && typeof server !== "string") throw this.#damaged("server should be a string");
    if (!isObject(was)) throw this.#damaged("was should be an object");
    for (const kind of KINDS) {
      const records = value[kind] ?? {};
      const before = was[kind] ?? {};
      if (!isObject(records) || !isObject(before)) throw this.#damaged(`${kind} should be an object`);
      for (const [key, record] of Object.entries(records)) {
        const flaw = record === null ? undefined : recordFlaw(kind, key, record);
        if (flaw !== undefined) throw this.#damaged(flaw);
      }
    }
    this.#rev = rev;
    return value as unknown as Change;
  }

  #damaged(what: string, cause?: unknown): FileError {
    return new FileError("corrupt", `${this.#path} is damaged: line ${this.#lines}: ${what}`, {
      hint: "repair it by hand, or restore a copy: nothing was changed",
      cause,
    });
  }
}

/** Makes the changes that `replica` does not have yet. @param edited see {@link Edited}; undefined when nothing was edited. */
export function applyChanges(replica: Replica, changes: readonly Change[], edited?: Edited): void {
  for (const change of changes) {
    if (change.rev <= replica.rev) continue;
    for (const kind of KINDS) {
      const table = replica[kind] as Table<object>;
      for (const [key, record] of Object.entries(change[kind] ?? {})) {
        if (edited?.has(kind, key, table.get(key), change.was[kind]?.[key]) === true) continue;
        if (record === null) table.delete(key);
        else table.set(key, record);
      }
    }
    replica.server = change.server ?? replica.server;
    replica.rev = change.rev;
  }
}

/** Finds the records that were edited by hand: their value in the snapshot is not the one before their first change. */
export class Edited {
  readonly #seen = new Map<string, boolean>();

  /** How many records were kept from the edit, although the journal has another value. */
  get kept(): number {
    return [...this.#seen.values()].filter(Boolean).length;
  }

  has(kind: Kind, key: string, present: object | undefined, was: string | null | undefined): boolean {
    const name = `${kind} ${key}`;
    const known = this.#seen.get(name);
    if (known !== undefined) return known;
    const isEdited = digestOf(present) !== (typeof was === "string" ? was : null);
    this.#seen.set(name, isEdited);
    return isEdited;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isRev(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
