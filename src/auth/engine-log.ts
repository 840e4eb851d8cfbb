// What a store in an engine reads: positions, the entries of the log, and records with their revisions.

import { randomBytes } from "node:crypto";
import { EngineError } from "../engine/engine-error.ts";
import { jsonFlaw, KINDS, recordFlaw, type DocumentDraft, type Kind, type Replica } from "./document.ts";
import type { Table } from "./table.ts";

/** Where a replica stands in the log: REVISION-RANDOM. */
export interface Position {
  /** As an id of the stream. */
  id: string;
  rev: number;
}

/** That of a store without any change. */
export const START: Position = { id: "0-0", rev: 0 };

export function parsePosition(id: string): Position {
  const match = /^(\d{1,16})-\d{1,20}$/.exec(id);
  const rev = Number(match?.[1]);
  // Of a larger number the next one cannot be told apart.
  if (!Number.isSafeInteger(rev + 1)) throw damaged(`${JSON.stringify(id)} is no position`);
  return { id, rev };
}

/** The random half of a position: 63 bits. */
export function randomHalf(): string {
  return String(randomBytes(8).readBigUInt64BE() >> 1n);
}

/** An entry as the engine returns it. */
export interface Entry {
  at: Position;
  text: string;
  epoch: string;
}

/** The entries of a reply to XRANGE, or to XREAD of one stream. */
export function toEntries(reply: unknown): Entry[] {
  const list = Array.isArray(reply) ? reply : Object.values(reply ?? {}).flat();
  return (list as [string, string[]][]).map(([id, [, text = "", , epoch = ""]]) => ({
    at: parsePosition(id),
    text,
    epoch,
  }));
}

/** One change in the log. */
export interface LogEntry {
  /** Names the try of a change, for the process that made it. */
  by: string;
  server?: string;
  users?: Records;
  tokens?: Records;
  hosts?: Records;
}

type Records = Record<string, object | null>;

/** The entry of what `draft` has changed in `replica`; empty when that is nothing. */
export function formatEntry(by: string, draft: DocumentDraft, replica: Replica): string {
  const entry: LogEntry = { by };
  if (draft.server !== replica.server && draft.server !== undefined) entry.server = draft.server;
  for (const kind of KINDS) {
    const records = Object.fromEntries<object | null>(draft[kind].changes());
    if (Object.keys(records).length > 0) entry[kind] = records;
  }
  return Object.keys(entry).length === 1 ? "" : JSON.stringify(entry);
}

/** @throws {EngineError} `damaged`, naming the position. */
export function parseEntry(id: string, text: string): LogEntry {
  const value = parseJson(text, `the change ${id}`);
  if (typeof value["by"] !== "string") throw damaged(`the change ${id} does not say who made it`);
  for (const kind of KINDS) {
    for (const [key, record] of Object.entries((value[kind] ?? {}) as Records)) {
      const flaw = record === null ? undefined : recordFlaw(kind, key, record);
      if (flaw !== undefined) throw damaged(`the change ${id}: ${flaw}`);
    }
  }
  return value as unknown as LogEntry;
}

/** Makes the changes of an entry in `replica`. */
export function applyEntry(replica: Replica, entry: LogEntry, { rev }: Position): void {
  for (const kind of KINDS) {
    const table = replica[kind] as Table<object>;
    for (const [key, record] of Object.entries(entry[kind] ?? {})) {
      if (record === null) table.delete(key);
      else table.set(key, record);
    }
  }
  replica.server = entry.server ?? replica.server;
  replica.rev = rev;
}

/** Puts a record into `replica`, as the engine stores it. @throws {EngineError} `damaged`, naming the record. */
export function putRecord(replica: Replica, kind: Kind, key: string, value: string): void {
  const record = parseJson(value.slice(value.indexOf(" ") + 1), `${kind}.${key}`);
  const flaw = recordFlaw(kind, key, record);
  if (flaw !== undefined) throw damaged(flaw);
  (replica[kind] as Table<object>).set(key, record);
}

function parseJson(text: string, what: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch (error) {
    throw damaged(`${what}: ${jsonFlaw(error)}`);
  }
  throw damaged(`${what} should be an object`);
}

export function damaged(what: string): EngineError {
  return new EngineError("damaged", `the store is damaged: ${what}`, {
    hint: "restore the data of the engine: nothing was changed",
  });
}
