// What each change of the store's content does, and that one which is refused has done nothing.

import { describe, expect, test } from "bun:test";
import * as accounts from "../../src/auth/accounts.ts";
import { emptyDocument, formatDocument, type Document, type Token } from "../../src/auth/document.ts";
import { MAX_TOKENS_PER_USER, TOKEN_IDLE_MS, TOKEN_MAX_MS } from "../../src/limits.ts";

const START = Date.parse("2026-01-02T03:04:05.678Z");
/** The n-th second after the start. */
const at = (n: number) => new Date(START + 1000 * n);
const iso = (n: number) => at(n).toISOString();
const NOBODY: ReadonlySet<string> = new Set();

function token(user: string, used = 0): Token {
  const expires = new Date(START + TOKEN_MAX_MS).toISOString();
  return { user, key: `${"A".repeat(43)}=`, created: iso(0), used: iso(used), expires };
}

/** ann and bob since second 0, each with a token and something unknown about them. */
function twoUsers(): Document {
  const draft = emptyDocument();
  for (const name of ["ann", "bob"]) {
    draft.users.set(name, { password: `hash-${name}`, created: iso(0), disabled: null, shoe: 42 });
    draft.tokens.set(`${name}00001`, token(name));
  }
  return draft;
}

function stampOf(draft: Document, name = "ann"): string {
  const user = draft.users.get(name);
  if (user === undefined) throw new Error(`no ${name}`);
  return accounts.credentialStamp(user);
}

describe("refused, with nothing done:", () => {
  const stamp = stampOf(twoUsers());
  const REFUSALS: [code: string, message: string, change: (draft: Document) => void][] = [
    ["exists", "user ann already exists", (d) => accounts.addUser(d, "ann", "h", at(1))],
    ["unknown", "there is no user eve", (d) => accounts.removeUser(d, "eve")],
    ["unknown", "there is no user eve", (d) => accounts.setPassword(d, "eve", "h", false, at(1))],
    ["unknown", "there is no user eve", (d) => accounts.disableUser(d, "eve", "x", at(1))],
    ["unknown", "there is no user eve", (d) => accounts.enableUser(d, "eve")],
    ["unknown", "no address ::1 is known", (d) => accounts.forgetHost(d, "::1")],
    [
      "unknown",
      "user eve has changed during the login",
      (d) => accounts.addToken(d, "eve00001", token("eve"), stamp, NOBODY),
    ],
    [
      "unknown",
      "user ann has changed during the login",
      (d) => accounts.addToken(d, "ann00002", token("ann"), `${stamp}earlier`, NOBODY),
    ],
  ];
  test.each(REFUSALS)("%s: %s", (code, message, change) => {
    const draft = twoUsers();
    const before = formatDocument(draft);
    expect(() => change(draft)).toThrow(expect.objectContaining({ name: "AccountError", code, message }));
    expect(formatDocument(draft)).toBe(before);
  });

  test("a token for one who was disabled during the login", () => {
    const draft = twoUsers();
    accounts.disableUser(draft, "ann", undefined, at(1));
    const before = formatDocument(draft);
    const add = () => accounts.addToken(draft, "ann00002", token("ann"), stampOf(draft), NOBODY);
    expect(add).toThrow(expect.objectContaining({ code: "unknown" }));
    expect(formatDocument(draft)).toBe(before);
  });

  test("a name that another address has, in whatever case", () => {
    const draft = emptyDocument();
    accounts.rememberHost(draft, "10.0.0.1", "Ann", at(0));
    const before = formatDocument(draft);
    const take = () => accounts.rememberHost(draft, "10.0.0.2", "aNN", at(1));
    expect(take).toThrow(
      expect.objectContaining({ code: "exists", message: "aNN is the name of another address" }),
    );
    expect(formatDocument(draft)).toBe(before);
  });
});

describe("a user", () => {
  test("is added enabled, with the hash as it was given", () => {
    const draft = emptyDocument();
    accounts.addUser(draft, "constructor", "hash", at(1));
    expect([...draft.users]).toEqual([
      ["constructor", { password: "hash", created: iso(1), disabled: null }],
    ]);
  });

  test("goes with its own tokens and no others; one of the same name later is somebody else", () => {
    const draft = twoUsers();
    const stamp = stampOf(draft);
    accounts.removeUser(draft, "ann");
    expect([[...draft.users.keys()], [...draft.tokens.keys()]]).toEqual([["bob"], ["bob00001"]]);
    accounts.addUser(draft, "ann", "hash", at(1));
    expect(stampOf(draft)).not.toBe(stamp);
  });

  test("is disabled and enabled without losing anything else", () => {
    const draft = twoUsers();
    const before = formatDocument(draft);
    accounts.disableUser(draft, "ann", "left", at(1));
    expect(draft.users.get("ann")).toMatchObject({ disabled: { since: iso(1), reason: "left" }, shoe: 42 });
    accounts.enableUser(draft, "ann");
    expect(formatDocument(draft)).toBe(before);
  });
});

test("what changes a hash says so, and nothing else that a login does", () => {
  const draft = twoUsers();
  const tells = (change: () => void) => {
    const { hashes } = draft;
    change();
    return draft.hashes !== hashes;
  };
  const stamp = stampOf(draft);
  expect([
    tells(() => accounts.addToken(draft, "ann00002", token("ann"), stamp, NOBODY)),
    tells(() => accounts.touchToken(draft, "ann00002", at(1))),
    tells(() => accounts.rememberHost(draft, "127.0.0.1", "Ann", at(1))),
    tells(() => accounts.replaceHash(draft, "ann", "another", "remade")),
  ]).toEqual([false, false, false, false]);
  expect([
    tells(() => accounts.addUser(draft, "eve", "hash-eve", at(1))),
    tells(() => accounts.replaceHash(draft, "ann", "hash-ann", "remade")),
    tells(() => accounts.setPassword(draft, "ann", "new", true, at(1))),
    tells(() => accounts.setPassword(draft, "ann", "newer", false, at(1))),
    tells(() => accounts.removeUser(draft, "ann")),
  ]).toEqual([true, true, true, true, true]);
});

describe("another password", () => {
  test("ends the user's own tokens, and changes what logins stand on", () => {
    const draft = twoUsers();
    const stamps = [stampOf(draft), stampOf(draft, "bob")];
    accounts.setPassword(draft, "ann", "new", false, at(1));
    expect(draft.users.get("ann")).toMatchObject({ password: "new", changed: iso(1), shoe: 42 });
    expect([...draft.tokens.keys()]).toEqual(["bob00001"]);
    expect(stampOf(draft)).not.toBe(stamps[0] ?? "");
    expect(stampOf(draft, "bob")).toBe(stamps[1] ?? "");
  });

  test("ends nothing when sessions are to be kept", () => {
    const draft = twoUsers();
    const stamp = stampOf(draft);
    accounts.setPassword(draft, "ann", "new", true, at(1));
    expect(draft.users.get("ann")).toEqual({ password: "new", created: iso(0), disabled: null, shoe: 42 });
    expect(draft.tokens.size).toBe(2);
    expect(stampOf(draft)).toBe(stamp);
  });

  test("is not undone by another hash of the old one, which alone ends nothing", () => {
    const draft = twoUsers();
    const stamp = stampOf(draft);
    accounts.replaceHash(draft, "ann", "hash-ann", "remade");
    expect([draft.users.get("ann")?.password, stampOf(draft)]).toEqual(["remade", stamp]);
    accounts.setPassword(draft, "ann", "new", false, at(1));
    accounts.replaceHash(draft, "ann", "remade", "made once more");
    accounts.replaceHash(draft, "eve", "remade", "made once more");
    expect([draft.users.get("ann")?.password, draft.users.has("eve")]).toEqual(["new", false]);
  });
});

describe("tokens of one user", () => {
  /** bob's, and as many of ann's as may be; the n-th was used n-th, though not stored so. */
  function full(): Document {
    const draft = twoUsers();
    draft.tokens.delete("ann00001");
    for (let n = MAX_TOKENS_PER_USER; n > 0; n--) draft.tokens.set(idOf(n), token("ann", n));
    return draft;
  }
  const idOf = (n: number) => `ann${String(n).padStart(5, "0")}`;
  const add = (draft: Document, inUse: number[]) => {
    const before = new Set(draft.tokens.keys());
    accounts.addToken(draft, "annNEWER", token("ann", 99), stampOf(draft), new Set(inUse.map(idOf)));
    expect(draft.tokens.has("annNEWER")).toBe(true);
    return [...before].filter((id) => !draft.tokens.has(id));
  };

  test("one more makes no room while there is some, and says when the last login was", () => {
    const draft = full();
    draft.tokens.delete(idOf(4));
    expect(add(draft, [])).toEqual([]);
    expect(draft.users.get("ann")).toMatchObject({ last_login: iso(0), shoe: 42 });
  });

  test("one too many: the least recently used makes room", () => {
    expect(add(full(), [])).toEqual([idOf(1)]);
  });

  test("those in use are spared, even when all of them are", () => {
    const all = Array.from({ length: MAX_TOKENS_PER_USER }, (_, i) => i + 1);
    expect(add(full(), all)).toEqual([]);
    expect(add(full(), [1])).not.toContain(idOf(1));
  });

  // Not yet: those in use are not counted, so that there is one token too many.
  test("one too many: the least recently used of those not in use makes room", () => {
    expect(add(full(), [1, 2])).toEqual([idOf(3)]);
  });

  test("use is written down, of a known one only", () => {
    const draft = twoUsers();
    accounts.touchToken(draft, "ann00001", at(5));
    expect(draft.tokens.get("ann00001")).toEqual(token("ann", 5));
    expect(draft.users.get("ann")).toMatchObject({ last_login: iso(5), shoe: 42 });
    const before = formatDocument(draft);
    accounts.touchToken(draft, "eve00001", at(6));
    expect(formatDocument(draft)).toBe(before);
  });

  test("those that match are revoked, and counted", () => {
    const draft = full();
    expect(accounts.revokeTokens(draft, ({ user }, id) => user === "ann" && id !== idOf(3))).toBe(9);
    expect([...draft.tokens.keys()]).toEqual(["bob00001", idOf(3)]);
    expect(accounts.revokeTokens(draft, () => false)).toBe(0);
  });
});

describe("a token dies", () => {
  const old = START - TOKEN_MAX_MS;
  const far = new Date(START + 10 * TOKEN_MAX_MS).toISOString();
  const DEATHS: [how: string, token: Token, at: number][] = [
    ["unused for the idle time", { ...token("ann"), expires: far }, START + TOKEN_IDLE_MS],
    ["when it expires", { ...token("ann"), expires: iso(9) }, at(9).getTime()],
    ["of age", { ...token("ann", 9), created: new Date(old).toISOString(), expires: far }, START],
  ];
  test.each(DEATHS)("%s, to the millisecond, and is pruned then", (_, dying, end) => {
    expect(accounts.aliveUntil(dying)).toBe(end);
    const draft = twoUsers();
    draft.tokens = new Map([["ann00001", dying]]);
    accounts.pruneTokens(draft, end - 1);
    expect([accounts.isAlive(dying, end - 1), draft.tokens.size]).toEqual([true, 1]);
    accounts.pruneTokens(draft, end);
    expect([accounts.isAlive(dying, end), draft.tokens.size]).toEqual([false, 0]);
  });

  test("with its user", () => {
    const draft = twoUsers();
    draft.users.delete("ann");
    accounts.pruneTokens(draft, START);
    expect([...draft.tokens.keys()]).toEqual(["bob00001"]);
  });
});

describe("an address", () => {
  test("keeps its first time and what is unknown about it, and may take another name", () => {
    const draft = emptyDocument();
    draft.hosts.set("::1", { name: "Ann", first: iso(0), last: iso(0), seen: 3 });
    accounts.rememberHost(draft, "::1", "ann", at(1));
    expect(draft.hosts.get("::1")).toEqual({ name: "ann", first: iso(0), last: iso(1), seen: 3 });
    accounts.rememberHost(draft, "::1", "Bob", at(2));
    accounts.rememberHost(draft, "::2", "Ann", at(3));
    expect([...draft.hosts.values()].map(({ name, first }) => [name, first])).toEqual([
      ["Bob", iso(0)],
      ["Ann", iso(3)],
    ]);
  });

  test("is forgotten, and its name is free", () => {
    const draft = emptyDocument();
    accounts.rememberHost(draft, "::1", "Ann", at(0));
    accounts.forgetHost(draft, "::1");
    accounts.rememberHost(draft, "::2", "Ann", at(1));
    expect([...draft.hosts.keys()]).toEqual(["::2"]);
  });
});
