// Tokens that were written a moment ago, by the clock of the process that saw it.

import { expect, test } from "bun:test";
import { emptyDocument } from "../../src/auth/document.ts";
import { RecentTokens } from "../../src/auth/recent-tokens.ts";
import { MAX_TOKENS_PER_USER } from "../../src/base/limits.ts";

const AT = "2026-01-02T03:04:05.678Z";

function crowd(count: number) {
  const document = emptyDocument();
  for (let n = 0; n < count; n++)
    document.tokens.set(`ann${n}`, { user: "ann", key: "", created: AT, used: AT, expires: AT });
  return document;
}

test("a token has settled so long after it was written last, and one that was not seen has settled", () => {
  const recent = new RecentTokens(100);
  recent.add("ann0", 1000);
  expect(recent.hasSettled("ann0", 1099)).toBe(false);
  recent.add("ann0", 1050);
  expect(recent.hasSettled("ann0", 1149)).toBe(false);
  expect(recent.hasSettled("ann0", 1150)).toBe(true);
  expect(recent.hasSettled("ann1", 0)).toBe(true);
});

test("a crowd is named by one token until it has settled, and once more then", () => {
  const recent = new RecentTokens(100);
  const document = crowd(MAX_TOKENS_PER_USER + 1);
  for (const id of document.tokens.keys()) recent.add(id, 1000);
  expect(recent.takeCrowded(document, 1000)).toHaveLength(1);
  expect(recent.takeCrowded(document, 1099)).toHaveLength(1);
  expect(recent.takeCrowded(document, 1100)).toHaveLength(1);
  expect(recent.takeCrowded(document, 1100)).toEqual([]);
});

test("users with as many tokens as may be are not named, and neither are tokens that are gone", () => {
  const recent = new RecentTokens(100);
  const document = crowd(MAX_TOKENS_PER_USER);
  for (const id of [...document.tokens.keys(), "gone"]) recent.add(id, 1000);
  expect(recent.takeCrowded(document, 1000)).toEqual([]);
});
