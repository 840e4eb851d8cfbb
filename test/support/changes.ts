// What tests of a store do again and again.

import { addUser } from "../../src/auth/accounts.ts";
import type { Document } from "../../src/auth/document.ts";

/** The instant at which tests make records. */
export const AT = new Date("2026-01-02T03:04:05.678Z");

/** For `catch`: what was thrown, to be looked at. */
export const thrown = (error: unknown) => error as Error;

/** The change that adds a user. */
export const adding =
  (name: string, hash = "hash") =>
  (draft: Document) =>
    addUser(draft, name, hash, AT);

/** Resolves when `isMet` returns true. The test's own timeout is its bound. */
export async function until(isMet: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isMet())) await Bun.sleep(5);
}

/** Records in the order of their keys. */
export function sorted<V>(records: Iterable<[string, V]>): [string, V][] {
  return [...records].toSorted(([a], [b]) => (a < b ? -1 : 1));
}
