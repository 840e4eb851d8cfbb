// Everything of a store as lines, and back: what is carried, what is refused, and a store that takes only small changes.

import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { importArchive, type Existing } from "../../src/auth/archive-import.ts";
import { formatArchive, parseArchive } from "../../src/auth/archive.ts";
import { emptyDocument, type Replica, type Token, type User } from "../../src/auth/document.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import type { Mutation } from "../../src/auth/store.ts";
import { ParleyError } from "../../src/base/errors.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";

const AT = "2026-01-02T03:04:05.678Z";
const SERVER = "abcdefgh-1234";
const KEY = Buffer.alloc(32, 7).toString("base64");

const user = (id: string, more: object = {}): User => ({
  id,
  password: "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
  created: AT,
  disabled: null,
  ...more,
});
const token = (name: string): Token => ({ user: name, key: KEY, created: AT, used: AT, expires: AT });
const idOf = (n: number) => String(n).padStart(8, "0");

/** A store with what a record may hold: unknown members, odd names, an account of an older version. */
function sample(): Replica {
  const document = emptyDocument();
  document.server = SERVER;
  document.users.set("zoe", user("z", { later: { a: [1, { b: "\u202e" }] }, changed: AT }));
  document.users.set("bob", user("p", { disabled: { since: AT, reason: "off", by: "ann" } }));
  const { id: _, ...old } = user("");
  document.users.set("constructor", old as User);
  document.users.set("анна", user("a", { last_login: AT }));
  for (const [n, name] of ["zoe", "bob", "zoe"].entries()) {
    document.tokens.set(idOf(9 - n), { ...token(name), via: "tls", scope: ["x"] } as Token);
  }
  document.hosts.set("192.0.2.7", { name: "Ann", first: AT, last: AT, named_by: "operator" });
  document.hosts.set("2001:db8::7", { name: "Bob", first: AT, last: AT });
  return document;
}

const textOf = (document: Readonly<Replica>) => [...formatArchive(document)].join("");
const parse = (text: string) => parseArchive(text.split("\n"));

/** A store that takes a few records at a time, and counts its changes. */
class SmallChanges extends FileStore {
  override readonly recordsInChange: number = 4;
  changes = 0;
  /** The change that fails. */
  failing = Infinity;
  /** Called with the content after each change. */
  made: (document: Readonly<Replica>) => void = () => undefined;

  override async change<T>(mutation: Mutation<T>): Promise<T> {
    if (++this.changes === this.failing) throw new ParleyError("failed", "the store is gone");
    const result = await super.change(mutation);
    this.made(this.document);
    return result;
  }
}

let folder: TempFolder;
beforeEach(() => (folder = tempFolder()));
afterEach(() => folder[Symbol.dispose]());
let stores = 0;
const path = () => join(folder.path, `${stores++}.json`);

async function into(text: string, existing: Existing = "refuse", store = new FileStore(path())) {
  const tally = await importArchive(store, parse(text), existing);
  return { store, tally };
}

/** The message and the hint of what is thrown. */
async function failureOf(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof ParleyError) return `${error.message} / ${error.hint ?? ""}`;
    throw error;
  }
  throw new Error("it did not fail");
}

describe("the lines", () => {
  test("hold every member, in the order of the keys", () => {
    const lines = textOf(sample()).trimEnd().split("\n");
    expect(JSON.parse(lines[0]!)).toEqual({
      kind: "accounts",
      version: 1,
      server: SERVER,
      users: 4,
      tokens: 3,
      hosts: 2,
    });
    const keys = lines.slice(1).map((line) => (JSON.parse(line) as { key: string }).key);
    expect(keys).toEqual(
      ["bob", "constructor", "zoe", "анна"].concat([7, 8, 9].map(idOf), "192.0.2.7", "2001:db8::7"),
    );
    expect(lines.join("")).not.toContain("\u202e");
  });

  test("make the same store: the same bytes, from the file too", async () => {
    const text = textOf(sample());
    const { store, tally } = await into(text);
    expect(tally).toEqual({ users: 4, tokens: 3, hosts: 2, skipped: 0, replaced: 0 });
    expect(textOf(store.document)).toBe(text);
    expect(textOf(new FileStore(store.place).document)).toBe(text);
    expect(textOf((await into(textOf(emptyDocument()))).store.document)).toBe(textOf(emptyDocument()));
  });

  test("are those of their first moment, whatever changes while they are printed", () => {
    const document = sample();
    const expected = textOf(document);
    const slices = formatArchive(document);
    let text = slices.next().value as string;
    document.users.delete("zoe");
    document.tokens.set(idOf(1), token("zoe"));
    for (const slice of slices) text += slice;
    expect(text).toBe(expected);
  });
});

describe("lines that are refused", () => {
  const lines = textOf(sample()).trimEnd().split("\n");
  const header = lines[0]!;
  const zoe = lines[3]!;
  const host = lines[8]!;
  const count = (users: number, tokens: number, hosts: number) =>
    JSON.stringify({ kind: "accounts", version: 1, users, tokens, hosts });

  test.each<[name: string, text: string[], message: string]>([
    ["no line", [""], "there are no lines"],
    ["no JSON", [header, "{"], "line 2: "],
    ["a list", [header, "[]"], "line 2: it should be an object"],
    [
      "another kind",
      [header, '{"kind":"room","key":"x","record":{}}'],
      "line 2: kind should be user, token or",
    ],
    ["no key", [header, '{"kind":"user","record":{}}'], "line 2: key should be a string"],
    ["no record", [header, '{"kind":"user","key":"ann"}'], "line 2: users.ann"],
    ["a wrong member", [header, "", zoe.replace(AT, "now")], "line 3: users.zoe.created should be a time"],
    [
      "an impossible name",
      [header, zoe.replace('"zoe"', '"Zoe"')],
      'line 2: users has the invalid key "Zoe"',
    ],
    ["a user twice", [header, zoe, zoe], "line 3: user zoe occurs twice"],
    [
      "a name twice",
      [header, host, host.replace("192.0.2.7", "10.0.0.1")],
      "line 3: another address already has the name Ann",
    ],
    [
      "another order",
      [header, host, zoe],
      "line 3: a user stands after a host / keep the order of the export",
    ],
    [
      "a line too few",
      [count(2, 0, 0), zoe],
      "the first line says 2 users, and there is 1 / the file is incomplete",
    ],
    ["a line too many", [count(0, 0, 0), zoe], "the first line says 0 users, and there is 1 / "],
    ["no first line", [zoe], "line 1: the first line of the export is missing / export it again"],
    [
      "a newer version",
      [header.replace('"version":1', '"version":2')],
      "line 1: version should be 1 / import it with",
    ],
    [
      "a wrong server",
      [header.replace(SERVER, "a b")],
      "line 1: server should be 8 to 64 letters and digits",
    ],
    ["no numbers", ['{"kind":"accounts","version":1}'], "line 1: users should be a number"],
    [
      "users alone",
      ['{"name":"ann","password":"x"}'],
      "line 1: it is not of an export of everything / import users alone",
    ],
  ])("%s", async (_, text, message) => {
    const [what, hint] = (await failureOf(() => parse(text.join("\n")))).split(": nothing was imported");
    expect(`${what}${hint}`).toStartWith(message);
  });

  test("a token without its user, and the tokens of another server", async () => {
    const orphan = JSON.stringify({ kind: "token", key: idOf(1), record: token("eve") });
    const text = `${count(0, 1, 0)}\n${orphan}\n`;
    expect(await failureOf(() => into(text))).toBe(
      `line 2: token ${idOf(1)} is of user eve, who is neither here nor in the store: nothing was imported / `,
    );
    const { store } = await into(`${count(1, 0, 0)}\n${zoe.replaceAll("zoe", "eve")}\n`);
    await into(text, "refuse", store);
    expect(store.document.tokens.get(idOf(1))?.user).toBe("eve");

    await store.change((draft) => void (draft.server = "another-server"));
    const before = textOf(store.document);
    const failure = await failureOf(() => into(textOf(sample()), "replace", store));
    expect(failure).toStartWith(
      "the tokens are of another server than this store: clients would not use them here",
    );
    expect(textOf(store.document)).toBe(before);
    const alone = sample();
    for (const id of alone.tokens.keys()) alone.tokens.delete(id);
    await into(textOf(alone), "refuse", store);
    expect(store.document.server).toBe("another-server");
  });
});

describe("what the store has already", () => {
  const text = textOf(sample());

  /** A store with an account zoe of its own, her token, and addresses. */
  async function occupied(): Promise<FileStore> {
    const store = new FileStore(path());
    await store.change((draft) => {
      draft.users.set("zoe", user("other"));
      draft.users.set("max", user("max"));
      draft.tokens.set("zoes0000", token("zoe"));
      draft.tokens.set("maxs0000", token("max"));
      draft.hosts.set("10.0.0.1", { name: "ann", first: AT, last: AT });
      draft.hosts.set("10.0.0.2", { name: "Max", first: AT, last: AT });
    });
    return store;
  }

  test("is refused, and named", async () => {
    const store = await occupied();
    const before = textOf(store.document);
    expect(await failureOf(() => into(text, "refuse", store))).toStartWith(
      "1 user (zoe), 1 host (192.0.2.7) already exist: nothing was imported / keep them with --skip-existing, or",
    );
    expect(textOf(store.document)).toBe(before);
  });

  test("stays with skip; no token comes to an account of another person", async () => {
    const { store, tally } = await into(text, "skip", await occupied());
    const { users, tokens, hosts } = store.document;
    expect(tally).toEqual({ users: 3, tokens: 1, hosts: 1, skipped: 4, replaced: 0 });
    expect(users.get("zoe")?.id).toBe("other");
    expect(tokens.inGroup("zoe")).toEqual(["zoes0000"]);
    expect(tokens.inGroup("bob")).toEqual([idOf(8)]);
    expect(hosts.get("192.0.2.7")).toBeUndefined();
  });

  test("goes with replace: a user's tokens are those of the file, and a name belongs to the address of the file", async () => {
    const { store, tally } = await into(text, "replace", await occupied());
    const { users, tokens, hosts } = store.document;
    expect(tally).toEqual({ users: 3, tokens: 3, hosts: 1, skipped: 0, replaced: 2 });
    expect(users.get("zoe")?.id).toBe("z");
    expect(tokens.inGroup("zoe").toSorted()).toEqual([idOf(7), idOf(9)]);
    expect(tokens.inGroup("max")).toEqual(["maxs0000"]);
    expect([hosts.has("10.0.0.1"), hosts.get("192.0.2.7")?.name, hosts.get("10.0.0.2")?.name]).toEqual([
      false,
      "Ann",
      "Max",
    ]);
  });
});

describe("a store that takes small changes", () => {
  const text = textOf(sample());

  test("gets all in several, and never a token before its user", async () => {
    const store = new SmallChanges(path());
    let orphans = 0;
    store.made = ({ users, tokens }) => {
      for (const { user: name } of tokens.values()) if (!users.has(name)) orphans++;
    };
    await into(text, "refuse", store);
    expect([store.changes, orphans]).toEqual([4, 0]);
    expect(textOf(store.document)).toBe(text);
    await into(text, "replace", store);
    expect(orphans).toBe(0);
    expect(textOf(store.document)).toBe(text);
  });

  test.each<[Existing, string]>([
    ["refuse", "the same command with --skip-existing continues"],
    ["replace", "the same command continues"],
  ])("says after a failure (%s) what it has, and how it continues", async (existing, hint) => {
    const store = new SmallChanges(path());
    store.failing = 3;
    expect(await failureOf(() => into(text, existing, store))).toBe(
      `the store is gone: 6 of 9 records were imported / ${hint}`,
    );
    const { tally } = await into(text, existing === "refuse" ? "skip" : existing, store);
    expect(tally.skipped + tally.replaced + tally.users + tally.tokens + tally.hosts).toBe(9);
    expect(textOf(store.document)).toBe(text);
  });

  test("adds no token of a user whom another process removes meanwhile", async () => {
    const store = new SmallChanges(path());
    const others = new FileStore(store.place);
    const change = store.change.bind(store);
    store.change = async (mutation) => {
      if (store.changes === 1) await others.change((draft) => void draft.users.delete("zoe"));
      return change(mutation);
    };
    expect(await failureOf(() => into(text, "refuse", store))).toContain(
      "is of user zoe, who was removed meanwhile: 4 of 9 records were imported",
    );
    expect([...store.document.tokens]).toEqual([]);
  });
});
