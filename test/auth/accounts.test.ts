// What each change of the store's content does, and that one which is refused has done nothing.

import { describe, expect, test } from "bun:test";
import * as accounts from "../../src/auth/accounts.ts";
import {
  emptyDocument,
  formatDocument,
  parseDocument,
  type Document,
  type Token,
} from "../../src/auth/document.ts";
import { MAX_HOSTS, MAX_TOKENS_PER_USER, TOKEN_IDLE_MS, TOKEN_MAX_MS } from "../../src/base/limits.ts";

const START = Date.parse("2026-01-02T03:04:05.678Z");
/** The n-th second after the start. */
const at = (n: number) => new Date(START + 1000 * n);
const iso = (n: number) => at(n).toISOString();

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
    ["unknown", "there is no user eve", (d) => accounts.tagUser(d, "eve", ["teacher"])],
    ["unknown", "address ::1 is not known", (d) => accounts.forgetHost(d, "::1")],
    [
      "unknown",
      "user eve was changed during the login",
      (d) => accounts.addToken(d, "eve00001", token("eve"), stamp),
    ],
    [
      "unknown",
      "user ann was changed during the login",
      (d) => accounts.addToken(d, "ann00002", token("ann"), `${stamp}earlier`),
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
    const add = () => accounts.addToken(draft, "ann00002", token("ann"), stampOf(draft));
    expect(add).toThrow(expect.objectContaining({ code: "unknown" }));
    expect(formatDocument(draft)).toBe(before);
  });

  test("a second name of one address", () => {
    const draft = emptyDocument();
    accounts.addHost(draft, "10.0.0.1", "Ann", at(0));
    const before = formatDocument(draft);
    const add = () => accounts.addHost(draft, "10.0.0.1", "Bob", at(1));
    expect(add).toThrow(expect.objectContaining({ name: "AccountError", code: "known" }));
    expect(formatDocument(draft)).toBe(before);
  });

  test("a name that another address has, in whatever case", () => {
    const draft = emptyDocument();
    accounts.addHost(draft, "10.0.0.1", "Ann", at(0));
    const before = formatDocument(draft);
    const take = () => accounts.addHost(draft, "10.0.0.2", "aNN", at(1));
    expect(take).toThrow(
      expect.objectContaining({ code: "exists", message: "another address already has the name aNN" }),
    );
    expect(formatDocument(draft)).toBe(before);
  });
});

describe("a user", () => {
  test("is added enabled, with the hash as it was given", () => {
    const draft = emptyDocument();
    accounts.addUser(draft, "constructor", "hash", at(1));
    expect([...draft.users]).toEqual([
      ["constructor", { id: expect.any(String), password: "hash", created: iso(1), disabled: null }],
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

  test("does not get the tokens of one with the same name whom a hand edit removed", () => {
    const draft = twoUsers();
    draft.users.delete("ann");
    accounts.addUser(draft, "ann", "hash", at(1));
    expect([...draft.tokens.keys()]).toEqual(["bob00001"]);
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

test("tags replace those before, end no session, and go without a trace", () => {
  const draft = twoUsers();
  const before = formatDocument(draft);
  accounts.tagUser(draft, "ann", ["staff", "teacher"]);
  accounts.tagUser(draft, "ann", ["teacher"]);
  expect(draft.users.get("ann")).toMatchObject({ tags: ["teacher"], shoe: 42 });
  expect([...draft.tokens.keys()]).toEqual(["ann00001", "bob00001"]);
  expect(formatDocument(parseDocument(formatDocument(draft), "users.json"))).toBe(formatDocument(draft));
  accounts.tagUser(draft, "ann", []);
  expect(formatDocument(draft)).toBe(before);
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
  const idOf = (n: number) => `ann${String(n).padStart(5, "0")}`;

  test("one more takes none away, however many there are, and says when the last login was", () => {
    const draft = twoUsers();
    for (let n = 1; n <= 4 * MAX_TOKENS_PER_USER; n++) {
      accounts.addToken(draft, idOf(n), { ...token("ann", n), created: iso(n) }, stampOf(draft));
    }
    expect(draft.tokens.size).toBe(4 * MAX_TOKENS_PER_USER + 1); // bob's too: ann00001 was there
    expect(draft.users.get("ann")).toMatchObject({ last_login: iso(4 * MAX_TOKENS_PER_USER), shoe: 42 });
  });

  test("use is written down, of a known one only", () => {
    const draft = twoUsers();
    expect(accounts.touchToken(draft, "ann00001", at(5))).toBe(true);
    expect(draft.tokens.get("ann00001")).toEqual(token("ann", 5));
    expect(draft.users.get("ann")).toMatchObject({ last_login: iso(5), shoe: 42 });
    const before = formatDocument(draft);
    expect(accounts.touchToken(draft, "eve00001", at(6))).toBe(false);
    expect(formatDocument(draft)).toBe(before);
  });

  test("those that match are revoked, and counted", () => {
    const draft = twoUsers();
    for (let n = 1; n <= 10; n++) draft.tokens.set(idOf(n), token("ann", n));
    expect(accounts.revokeTokens(draft, ({ user }, id) => user === "ann" && id !== idOf(3))).toBe(9);
    expect([...draft.tokens.keys()].sort()).toEqual([idOf(3), "bob00001"]);
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
  test.each(DEATHS)("%s, to the millisecond", (_, dying, end) => {
    expect(accounts.aliveUntil(dying)).toBe(end);
    expect([accounts.isAlive(dying, end - 1), accounts.isAlive(dying, end)]).toEqual([true, false]);
  });
});

describe("an address", () => {
  test("that comes again keeps its name as it is now, its first time and what is unknown about it", () => {
    const draft = emptyDocument();
    draft.hosts.set("::1", { name: "Ann", first: iso(0), last: iso(0), seen: 3 });
    expect(accounts.touchHost(draft, "::1", at(1))).toMatchObject({ name: "Ann" });
    expect(draft.hosts.get("::1")).toEqual({ name: "Ann", first: iso(0), last: iso(1), seen: 3 });
  });

  test("that is not known is not made known by coming", () => {
    const draft = emptyDocument();
    expect(accounts.touchHost(draft, "::1", at(1))).toBeUndefined();
    expect(draft.hosts.size).toBe(0);
  });

  describe("in a full table", () => {
    const NONE = () => new Set<string>();
    const host = (n: number) => ({ name: `guest${n}`, first: iso(0), last: iso(n) });
    /** The n-th was seen in the n-th millisecond, though not stored so. */
    const full = () => {
      const draft = emptyDocument();
      for (let n = MAX_HOSTS; n > 0; n--) draft.hosts.set(`10.0.0.${n}`, host(n));
      return draft;
    };
    const added = (draft: Document, inUse: () => ReadonlySet<string> | undefined) => {
      const before = [...draft.hosts.keys()];
      accounts.addHost(draft, "192.0.2.1", "Ann", at(9), inUse);
      return before.filter((address) => !draft.hosts.has(address));
    };

    test("the one that was seen longest ago makes room", () => {
      const draft = full();
      accounts.touchHost(draft, "10.0.0.1", at(MAX_HOSTS + 1));
      expect(added(draft, NONE)).toEqual(["10.0.0.2"]);
      expect(draft.hosts.size).toBe(MAX_HOSTS);
    });

    test("one that an operator has named stays, and so does one in a conversation", () => {
      const draft = full();
      accounts.nameHost(draft, "10.0.0.1", "Bob", at(1));
      expect(draft.hosts.get("10.0.0.1")).toEqual({ ...host(1), name: "Bob", named_by: "operator" });
      expect(added(draft, () => new Set(["10.0.0.2", "10.0.0.4"]))).toEqual(["10.0.0.3"]);
    });

    test("of a file with far too many, all that are too many go", () => {
      const draft = full();
      for (let n = 1; n <= 100; n++) draft.hosts.set(`10.1.0.${n}`, { ...host(0), name: `old${n}` });
      expect(added(draft, NONE)).toHaveLength(101);
    });

    test.each([
      ["none is known not to be in use", () => undefined, false],
      ["an operator has named them all", NONE, true],
    ])("nothing is changed where %s", (_, inUse, named) => {
      const draft = full();
      for (const [address, one] of draft.hosts) {
        if (named) draft.hosts.set(address, { ...one, named_by: "operator" });
      }
      const before = formatDocument(draft);
      expect(() => added(draft, inUse)).toThrow(expect.objectContaining({ code: "full" }));
      expect(formatDocument(draft)).toBe(before);
    });
  });

  test("is forgotten, and its name is free", () => {
    const draft = emptyDocument();
    accounts.addHost(draft, "::1", "Ann", at(0));
    accounts.forgetHost(draft, "::1");
    accounts.addHost(draft, "::2", "Ann", at(1));
    expect([...draft.hosts.keys()]).toEqual(["::2"]);
  });
});
