// Which tokens a change takes out of the store, and which stay.

import { describe, expect, test } from "bun:test";
import { emptyDocument, type Document, type Token } from "../../src/auth/document.ts";
import { isCrowded, TokenPruner } from "../../src/auth/token-pruner.ts";
import {
  DEAD_TOKEN_MS,
  MAX_TOKENS_PER_USER,
  TOKEN_IDLE_MS,
  TOKEN_MAX_MS,
  TOKEN_SETTLE_MS,
  TOKENS_EXAMINED,
} from "../../src/base/limits.ts";

const START = Date.parse("2026-01-02T03:04:05.678Z");
const iso = (ms: number) => new Date(START + ms).toISOString();
const SOON = 1000 * MAX_TOKENS_PER_USER + TOKEN_SETTLE_MS;
const NONE = () => new Set<string>();

function token(user: string, used = 0): Token {
  return { user, key: `${"A".repeat(43)}=`, created: iso(0), used: iso(used), expires: iso(TOKEN_MAX_MS) };
}

/** ann, with so many tokens; the n-th was used in the n-th second, though not stored so. */
function annWith(count: number): Document {
  const draft = emptyDocument();
  draft.users.set("ann", { password: "hash", created: iso(0), disabled: null });
  for (let n = count; n > 0; n--) draft.tokens.set(idOf(n), token("ann", 1000 * n));
  return draft;
}
const idOf = (n: number) => `ann${String(n).padStart(5, "0")}`;

/** The ids that are gone after a change so long after the start. */
function pruned(draft: Document, pruner: TokenPruner, ms: number, monotonic = ms): string[] {
  const before = [...draft.tokens.keys()];
  pruner.prune(draft, [...pruner.next(draft)], START + ms, monotonic);
  return before.filter((id) => !draft.tokens.has(id)).sort();
}

describe("of one user's tokens", () => {
  test("as many as may be all stay", () => {
    expect(pruned(annWith(MAX_TOKENS_PER_USER), new TokenPruner(NONE), SOON)).toEqual([]);
  });

  test("one too many: the one that was not used for longest goes", () => {
    expect(pruned(annWith(MAX_TOKENS_PER_USER + 1), new TokenPruner(NONE), 2 * SOON)).toEqual([idOf(1)]);
  });

  test("those in a conversation stay, and do not count", () => {
    const pruner = (inUse: number[]) => new TokenPruner(() => new Set(inUse.map(idOf)));
    const max = MAX_TOKENS_PER_USER;
    expect(pruned(annWith(max + 2), pruner([1, 2]), 2 * SOON)).toEqual([]);
    expect(pruned(annWith(max + 3), pruner([1, 2]), 2 * SOON)).toEqual([idOf(3)]);
  });

  test("those that were made or used a moment ago stay: they may be in a conversation that is not listed yet", () => {
    const draft = annWith(MAX_TOKENS_PER_USER + 1);
    for (let n = 1; n <= 4; n++) {
      draft.tokens.set(`new0000${n}`, { ...token("ann", 2 * SOON), created: iso(2 * SOON) });
    }
    draft.tokens.set("used0001", token("ann", 2 * SOON));
    const pruner = new TokenPruner(NONE);
    expect(pruned(draft, pruner, 2 * SOON + TOKEN_SETTLE_MS - 1)).toEqual([idOf(1)]);
    expect(pruned(draft, pruner, 2 * SOON + TOKEN_SETTLE_MS)).toHaveLength(5);
  });

  test("all stay while it cannot be known which are in a conversation", () => {
    expect(pruned(annWith(30), new TokenPruner(() => undefined), 2 * SOON)).toEqual([]);
  });

  test("nobody is asked for conversations while no user has too many", () => {
    let asked = 0;
    const pruner = new TokenPruner(() => {
      asked++;
      return new Set();
    });
    pruned(annWith(MAX_TOKENS_PER_USER), pruner, 2 * SOON);
    expect(asked).toBe(0);
  });
});

test("users are crowded from one token too many on", () => {
  const draft = annWith(MAX_TOKENS_PER_USER);
  expect(isCrowded(draft, "ann")).toBe(false);
  draft.tokens.set("bob00001", token("bob"));
  draft.tokens.set("more0001", token("ann"));
  expect([isCrowded(draft, "ann"), isCrowded(draft, "bob")]).toEqual([true, false]);
});

describe("a dead token", () => {
  const DEAD = TOKEN_IDLE_MS + 1000;

  test("goes once it has been dead for an hour, and a live one does not", () => {
    const draft = annWith(1);
    draft.tokens.set("live0001", token("ann", DEAD));
    const pruner = new TokenPruner(NONE);
    expect(pruned(draft, pruner, DEAD, 0)).toEqual([]);
    expect(pruned(draft, pruner, DEAD, DEAD_TOKEN_MS - 1)).toEqual([]);
    expect(pruned(draft, pruner, DEAD, DEAD_TOKEN_MS)).toEqual([idOf(1)]);
  });

  test("stays while it is in a conversation, and while that cannot be known", () => {
    for (const inUse of [new Set([idOf(1)]), undefined]) {
      const draft = annWith(1);
      const pruner = new TokenPruner(() => inUse);
      for (const hours of [0, 1, 2]) expect(pruned(draft, pruner, DEAD, hours * DEAD_TOKEN_MS)).toEqual([]);
    }
  });

  test("stays when the clock had only jumped ahead", () => {
    const draft = annWith(1);
    const pruner = new TokenPruner(NONE);
    expect(pruned(draft, pruner, 100 * DEAD, 0)).toEqual([]); // the clock is 700 days ahead
    expect(pruned(draft, pruner, 1000, 1000)).toEqual([]); // and right again
    expect(pruned(draft, pruner, DEAD, DEAD_TOKEN_MS)).toEqual([]); // dead in truth: the hour begins now
    expect(pruned(draft, pruner, DEAD, 2 * DEAD_TOKEN_MS)).toEqual([idOf(1)]);
  });

  test("is left alone by a process that lives for a moment", () => {
    for (let n = 0; n < 3; n++) expect(pruned(annWith(1), new TokenPruner(NONE), DEAD, 0)).toEqual([]);
  });
});

test("a token goes with its user at once", () => {
  const draft = annWith(1);
  draft.tokens.set("bob00001", token("bob"));
  expect(pruned(draft, new TokenPruner(NONE), 0)).toEqual(["bob00001"]);
});

describe("among many tokens, a change examines", () => {
  const many = () => {
    const draft = emptyDocument();
    for (let n = 0; n < 3 * TOKENS_EXAMINED; n++) draft.tokens.set(idOf(n), token("nobody"));
    return draft;
  };

  test("the next few, and all of them in turn", () => {
    const draft = many();
    const pruner = new TokenPruner(NONE);
    const rounds = [1, 2, 3, 4].map(() => pruned(draft, pruner, 0).length);
    expect(rounds).toEqual([TOKENS_EXAMINED, TOKENS_EXAMINED, TOKENS_EXAMINED, 0]);
  });

  test("those that it names", () => {
    const draft = many();
    const last = idOf(3 * TOKENS_EXAMINED - 1);
    new TokenPruner(NONE).prune(draft, [last], START, 0);
    expect(draft.tokens.has(last)).toBe(false);
    expect(draft.tokens.size).toBe(3 * TOKENS_EXAMINED - 1);
  });
});
