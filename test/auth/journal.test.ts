// The journal beside a file of many users: what it adds, what a kill, a hand edit or damage makes of it, and that it is folded.

import { describe, expect, test } from "bun:test";
import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { disableUser, removeUser } from "../../src/auth/accounts.ts";
import { emptyDocument, formatDocument, parseDocument, type Document } from "../../src/auth/document.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import { adding, AT } from "../support/changes.ts";
import { tempFolder } from "../support/folder.ts";

const MANY = 300;
const nameOf = (n: number) => `user-${n}`;
const disabling = (name: string) => (draft: Document) => disableUser(draft, name, "left", AT);

/** A store of many users with a journal, and its files. */
async function journaled(folder: string) {
  const path = join(folder, "users.json");
  const journal = join(folder, "users.journal");
  const document = emptyDocument();
  document.isJournaled = true;
  for (let n = 0; n < MANY; n++) adding(nameOf(n))(document);
  writeFileSync(path, formatDocument(document), { mode: 0o600 });
  const store = new FileStore(path);
  await store.change(adding("first"));
  return {
    path,
    journal,
    store,
    snapshot: () => parseDocument(readFileSync(path, "utf8"), path),
    lines: () => readFileSync(journal, "utf8").split("\n").slice(0, -1),
    /** Edits a record of the snapshot as a person does. */
    edit: (change: (file: { users: Record<string, Record<string, unknown> | undefined> }) => void) => {
      const file = JSON.parse(readFileSync(path, "utf8"));
      change(file);
      writeFileSync(path, JSON.stringify(file), { mode: 0o600 });
    },
  };
}

/** What a process that starts now has. */
const fresh = (path: string) => new FileStore(path).document;

const textOf = (document: Document) => formatDocument({ ...document, isJournaled: false });

describe("a change", () => {
  test("of a file with few records writes the file, and no journal", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change(adding("ann"));
    expect(readdirSync(folder.path).sort()).toEqual([".users.json.lock", "users.json"]);
    expect(JSON.parse(readFileSync(store.place, "utf8"))).toMatchObject({ version: 1, users: { ann: {} } });
  });

  test("of a file that has grown large makes it one with a journal", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change((draft) => {
      for (let n = 0; n < MANY; n++) adding(nameOf(n))(draft);
    });
    expect(JSON.parse(readFileSync(store.place, "utf8"))).toMatchObject({ version: 2 });
    const { ino } = statSync(store.place);
    await store.change(adding("ann"));
    expect(statSync(store.place).ino).toBe(ino);
    expect(fresh(store.place).users.has("ann")).toBe(true);
  });

  test("is a line of the journal, and the file stays as it is", async () => {
    using folder = tempFolder();
    const { path, journal, store, lines, snapshot } = await journaled(folder.path);
    const before = readFileSync(path, "utf8");
    await store.change(disabling("first"));
    await store.change((draft) => removeUser(draft, nameOf(0)));
    expect(readFileSync(path, "utf8")).toBe(before);
    expect(statSync(journal).mode & 0o777).toBe(0o600);
    expect(lines().map((line) => JSON.parse(line).rev)).toEqual([0, 1, 2, 3]);
    expect(JSON.parse(lines()[3] ?? "")).toMatchObject({ users: { [nameOf(0)]: null } });
    expect(snapshot().users.has(nameOf(0))).toBe(true);
    expect(textOf(fresh(path))).toBe(textOf(store.document));
  });

  test("is seen by another process, and by one that changes something itself", async () => {
    using folder = tempFolder();
    const { path, store } = await journaled(folder.path);
    const other = new FileStore(path);
    await store.change(adding("ann"));
    other.reload();
    expect(other.document.users.has("ann")).toBe(true);
    await store.change(adding("bob"));
    await other.change(adding("cat"));
    store.reload();
    for (const { document } of [store, other, new FileStore(path)]) {
      expect(["ann", "bob", "cat"].map((name) => document.users.has(name))).toEqual([true, true, true]);
      expect(document.rev).toBe(4);
    }
  });
});

test("whatever several processes change, each in turn, and whenever they fold, all have the same", async () => {
  const step = fc.record({
    by: fc.nat(2),
    act: fc.constantFrom("add", "disable", "remove", "fold", "reload", "restart"),
    user: fc.nat(4),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      using folder = tempFolder();
      const { path, store } = await journaled(folder.path);
      const stores = [store, new FileStore(path), new FileStore(path)];
      const model = parseDocument(formatDocument(store.document), path);
      for (const { by, act, user } of steps) {
        const one = stores[by]!;
        const name = `some-${user}`;
        if (act === "fold") await one.close();
        if (act === "reload") one.reload();
        if (act === "restart") stores[by] = new FileStore(path);
        const change = {
          add: adding(name),
          disable: disabling(name),
          remove: (draft: Document) => removeUser(draft, name),
        }[act as "add"];
        if (change === undefined) continue;
        const isDone = await one.change(change).then(
          () => true,
          () => false,
        );
        let isRight = true;
        try {
          change(model);
          model.rev++;
        } catch {
          isRight = false;
        }
        expect(isDone).toBe(isRight);
      }
      const withoutIds = (document: Document) => textOf(document).replaceAll(/"id": "[^"]*"/g, '"id"');
      for (const one of stores) one.reload();
      for (const { document } of [...stores, new FileStore(path)]) {
        expect(withoutIds(document).split("\n").sort()).toEqual(withoutIds(model).split("\n").sort());
      }
    }),
    { numRuns: 30 },
  );
}, 60_000);

describe("the end of a journal that a kill has torn", () => {
  test("is no change, at any byte, and the next change cuts it off", async () => {
    using folder = tempFolder();
    const { path, journal, store, lines } = await journaled(folder.path);
    await store.change(adding("jürgen"));
    const whole = readFileSync(journal);
    const start = whole.lastIndexOf(0x0a, whole.length - 2) + 1;
    for (let end = start; end < whole.length; end += 7) {
      writeFileSync(journal, whole.subarray(0, end), { mode: 0o600 });
      const one = new FileStore(path);
      expect([one.document.users.has("first"), one.document.users.has("jürgen")]).toEqual([true, false]);
      await one.change(adding("next"));
      expect(lines()).toHaveLength(3);
      expect(fresh(path).users.has("next")).toBe(true);
    }
  });

  test("is waited for by a server, which may only see half of what is being written", async () => {
    using folder = tempFolder();
    const { path, journal, store } = await journaled(folder.path);
    const before = readFileSync(journal);
    await store.change(adding("ann"));
    const line = readFileSync(journal).subarray(before.length);
    writeFileSync(journal, before);
    const server = new FileStore(path);
    appendFileSync(journal, line.subarray(0, 20));
    server.reload();
    expect(server.document.users.has("ann")).toBe(false);
    appendFileSync(journal, line.subarray(20));
    server.reload();
    expect(server.document.users.has("ann")).toBe(true);
  });
});

describe("damage", () => {
  const DAMAGE: [string, (lines: string[]) => string[], RegExp][] = [
    ["a first line that is none", (lines) => ["x", ...lines.slice(1)], /line 1: /],
    [
      "a first line of another kind",
      (lines) => ["{}", ...lines.slice(1)],
      /line 1: it should name version 1/,
    ],
    ["an empty line", ([head = "", ...rest]) => [head, "", ...rest], /line 2: /],
    [
      "a line that is missing",
      ([head = "", , ...rest]) => [head, ...rest],
      /line 2: it should have revision 1/,
    ],
    [
      "a record that is none",
      (lines) => lines.map((line, n) => (n === 2 ? line.replace('"password"', '"p"') : line)),
      /line 3: users\.ann\.password is missing/,
    ],
    [
      "a key that is none",
      (lines) => lines.map((line, n) => (n === 2 ? line.replaceAll('{"ann"', '{"Ann"') : line)),
      /line 3: users has the invalid key "Ann"/,
    ],
  ];
  test.each(DAMAGE)("%s is named with its line, and nothing is overwritten", async (_, damage, message) => {
    using folder = tempFolder();
    const { path, journal, store, lines } = await journaled(folder.path);
    await store.change(adding("ann"));
    await store.change(adding("bob"));
    const text = `${damage(lines()).join("\n")}\n`;
    writeFileSync(journal, text, { mode: 0o600 });
    expect(() => new FileStore(path)).toThrow(message);
    writeFileSync(`${journal}.new`, text, { mode: 0o600 });
    await Bun.$`mv ${journal}.new ${journal}`;
    const seen: unknown[] = [];
    const stop = store.watch({ changed: () => undefined, unreadable: (error) => seen.push(error) });
    for (let n = 0; n < 2; n++) store.reload();
    expect(seen).toEqual([
      expect.objectContaining({ code: "corrupt", message: expect.stringMatching(message) }),
    ]);
    const refused = await store.change(adding("cat")).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "corrupt" });
    stop();
    expect(store.document.users.has("bob")).toBe(true);
    expect(readFileSync(journal, "utf8")).toBe(text);
  });

  test("a missing file beside its journal is no new store", async () => {
    using folder = tempFolder();
    const { path, journal } = await journaled(folder.path);
    await Bun.$`rm ${path}`;
    expect(() => new FileStore(path)).toThrow(`${path} is missing, but its journal ${journal} is there`);
  });
});

describe("a file that is edited by hand", () => {
  test.each(["while a server runs", "while none runs"])(
    "%s: the edited records win, the other lines hold, and it is folded",
    async (when) => {
      using folder = tempFolder();
      const { path, store, edit, snapshot, lines } = await journaled(folder.path);
      // A login writes the record of a user whom the operator disables in the file, which does not have it yet.
      for (const name of [nameOf(1), nameOf(2), nameOf(3)]) {
        await store.change(
          (draft) => void draft.users.set(name, { ...draft.users.get(name)!, last_login: AT.toISOString() }),
        );
      }
      await store.change(adding("ann"));
      edit(({ users }) => {
        users[nameOf(1)]!["disabled"] = { since: AT.toISOString() };
        delete users[nameOf(2)];
      });
      const one = when === "while none runs" ? new FileStore(path) : store;
      const stop = one.watch({
        changed: () => undefined,
        unreadable: (error) => expect(error).toBeUndefined(),
      });
      one.reload(when === "while none runs");
      const check = (document: Document) => {
        expect(document.users.get(nameOf(1))).toMatchObject({ disabled: { since: AT.toISOString() } });
        expect(document.users.has(nameOf(2))).toBe(false);
        expect(document.users.get(nameOf(3))).toMatchObject({ last_login: AT.toISOString() });
        expect(document.users.has("ann")).toBe(true);
      };
      check(one.document);
      await one.settled();
      await one.change(adding("later"));
      await one.settled();
      stop();
      check(snapshot());
      check(fresh(path));
      expect(lines().length).toBeLessThanOrEqual(2);
      expect(fresh(path).users.has("later")).toBe(true);
    },
  );
});

test("an edit by hand is said once, with the number of records that stay as edited", async () => {
  using folder = tempFolder();
  const { path, store, edit } = await journaled(folder.path);
  await store.change(disabling(nameOf(1)));
  await store.change(disabling(nameOf(2)));
  edit(({ users }) => {
    users[nameOf(1)]!["password"] = "other";
    delete users[nameOf(3)];
  });
  const kept: number[] = [];
  const one = new FileStore(path, { edited: (count) => kept.push(count) });
  for (let n = 0; n < 2; n++) await one.change(adding(`later-${n}`));
  expect(kept).toEqual([1]);
  expect(one.document.users.get(nameOf(1))).toMatchObject({ password: "other", disabled: null });
  expect(fresh(path).users.get(nameOf(2))?.disabled).toMatchObject({ reason: "left" });
});

test("an edit that a server has not seen yet is seen when a command has written after it", async () => {
  using folder = tempFolder();
  const { path, store: server, edit } = await journaled(folder.path);
  await server.close(); // folded: the journal has nothing to add to the edit
  edit(({ users }) => (users[nameOf(1)]!["disabled"] = { since: AT.toISOString() }));
  await new FileStore(path).change(adding("ann"));
  server.reload();
  expect(server.document.users.get(nameOf(1))?.disabled).toMatchObject({ since: AT.toISOString() });
  expect(server.document.users.has("ann")).toBe(true);
});

describe("a file that does not belong to the journal", () => {
  test("but is older than it is refused, and both stay as they are", async () => {
    using folder = tempFolder();
    const { path, journal, store } = await journaled(folder.path);
    const old = readFileSync(path, "utf8");
    await store.close();
    await store.change(adding("ann"));
    writeFileSync(path, old, { mode: 0o600 });
    const lines = readFileSync(journal, "utf8");
    const message = `${path} has revision 0, but its journal ${journal} belongs to revision 1 of it`;
    expect(() => new FileStore(path)).toThrow(message);
    store.reload();
    const refused = await store.change(adding("bob")).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "corrupt", message });
    expect(store.document.users.has("ann")).toBe(true);
    expect([readFileSync(path, "utf8"), readFileSync(journal, "utf8")]).toEqual([old, lines]);
    await Bun.$`rm ${journal}`;
    await store.change(adding("bob"));
    expect([fresh(path).users.has("ann"), fresh(path).users.has("bob")]).toEqual([false, true]);
  });

  test("and has none of its own leaves it alone, also when it grows large", async () => {
    using folder = tempFolder();
    const { path, store } = await journaled(folder.path);
    for (let n = 0; n < 20; n++) await store.change(disabling("first"));
    writeFileSync(path, formatDocument(emptyDocument()), { mode: 0o600 });
    const one = new FileStore(path);
    await one.change(adding("ann"));
    await one.change((draft) => {
      for (let n = 0; n < MANY; n++) adding(`new-${n}`)(draft);
    });
    expect([fresh(path).users.size, fresh(path).users.has("first")]).toEqual([MANY + 1, false]);
    await one.change(adding("bob"));
    expect([fresh(path).users.size, fresh(path).rev]).toEqual([MANY + 2, 3]);
  });

  test.each(["", "{"])("%j is named as damaged, beside its journal", async (text) => {
    using folder = tempFolder();
    const { path, journal, store } = await journaled(folder.path);
    const lines = readFileSync(journal, "utf8");
    writeFileSync(path, text, { mode: 0o600 });
    expect(() => new FileStore(path)).toThrow(`${path} is damaged: `);
    const refused = await store.change(adding("bob")).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "corrupt" });
    expect([readFileSync(path, "utf8"), readFileSync(journal, "utf8")]).toEqual([text, lines]);
    expect(store.document.users.has("first")).toBe(true);
  });
});

test("a read of everything that is asked for during a change comes after it", async () => {
  using folder = tempFolder();
  const { path, store } = await journaled(folder.path);
  const stamp = statSync(path);
  await store.change((draft) => {
    adding("ann")(draft);
    store.reload(true);
    // As an editor that writes in place, and a clock that stands still.
    const text = readFileSync(path, "utf8").replace(`"password": "hash"`, `"password": "hush"`);
    writeFileSync(path, text);
    utimesSync(path, stamp.atime, stamp.mtime);
  });
  expect(store.document.users.get(nameOf(0))).toMatchObject({ password: "hush" });
});

describe("a fold", () => {
  test("is seen by a process that has half of it, and then not read again", async () => {
    using folder = tempFolder();
    const { path, journal, store } = await journaled(folder.path);
    const old = readFileSync(journal);
    await store.close();
    const whole = readFileSync(journal);
    writeFileSync(journal, old, { mode: 0o600 });
    const other = new FileStore(path);
    writeFileSync(`${journal}.new`, whole, { mode: 0o600 });
    renameSync(`${journal}.new`, journal);
    const { users } = other.document;
    await store.change(adding("ann"));
    other.reload();
    expect([other.document.users === users, other.document.users.has("ann")]).toEqual([true, true]);
  });

  test("comes when the journal is long enough, in the middle of changes, and loses none", async () => {
    using folder = tempFolder();
    const { path, store, snapshot } = await journaled(folder.path);
    const other = new FileStore(path);
    const names = Array.from({ length: 600 }, (_, n) => `new-${n}`);
    for (const [n, name] of names.entries())
      await (n % 7 === 0 ? other : store).change(adding(name, "h".repeat(200)));
    await Promise.all([store.settled(), other.settled()]);
    const isThere = (document: Document) => names.filter((name) => !document.users.has(name));
    expect(isThere(fresh(path))).toEqual([]);
    expect(snapshot().rev).toBeGreaterThan(100);
    store.reload();
    other.reload();
    expect([isThere(store.document), isThere(other.document)]).toEqual([[], []]);
  }, 60_000);

  test("by another process is taken without reading the file again", async () => {
    using folder = tempFolder();
    const { path, store } = await journaled(folder.path);
    const other = new FileStore(path);
    const { users } = other.document;
    await store.close();
    other.reload();
    expect(other.document.users).toBe(users);
    await other.change(adding("ann"));
    store.reload();
    expect([store.document.users.has("ann"), fresh(path).users.has("ann")]).toEqual([true, true]);
  });

  test("that was killed before the new journal leaves lines that are skipped", async () => {
    using folder = tempFolder();
    const { path, journal, store } = await journaled(folder.path);
    const old = readFileSync(journal);
    await store.change((draft) => removeUser(draft, "first"));
    await store.close();
    writeFileSync(journal, old, { mode: 0o600 });
    for (const one of [store, new FileStore(path)]) {
      one.reload();
      expect(one.document.users.has("first")).toBe(false);
    }
    await store.change(adding("next"));
    expect([fresh(path).users.has("first"), fresh(path).users.has("next")]).toEqual([false, true]);
    expect(existsSync(journal)).toBe(true);
  });
});
