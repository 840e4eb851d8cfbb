// The store in a running process: changes in groups, other processes' changes seen, a damaged file never made worse.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { AccountError } from "../../src/auth/accounts.ts";
import { emptyDocument, formatDocument, parseDocument, type Document } from "../../src/auth/document.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import { adding, thrown } from "../support/changes.ts";
import { tempFolder } from "../support/folder.ts";
import { holdLock } from "../support/lock.ts";

const usersOf = (document: Readonly<Document>) => [...document.users.keys()].sort();

function write(path: string, text: string): void {
  writeFileSync(path, text, { mode: 0o600 });
}

/** What the file says, read afresh. */
function onDisk(path: string): Document {
  return parseDocument(readFileSync(path, "utf8"), path);
}

/** The file's text when `names` are its users. */
function textWith(...names: string[]): string {
  const document = emptyDocument();
  for (const name of names) adding(name)(document);
  return formatDocument(document);
}

/** Watches `store` until it is disposed of; `next` resolves at the next event of a kind. */
function watching(store: FileStore) {
  const seen: string[] = [];
  const awaited = new Map<string, () => void>();
  const note = (event: string) => {
    seen.push(event);
    awaited.get(event)?.();
  };
  const stop = store.watch({
    changed: () => note("changed"),
    unreadable: (error) => note(error instanceof Error ? error.name : "unknown"),
  });
  const next = (event: string) => new Promise<void>((resolve) => awaited.set(event, resolve));
  return { seen, next, stop, [Symbol.dispose]: stop };
}

describe("opening", () => {
  test("a missing file is an empty store, and is not made", () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    expect(store.document).toEqual(emptyDocument());
    expect(readdirSync(folder.path)).toEqual([]);
  });

  test.each([
    ["", 0o600, "corrupt"],
    [textWith("ann"), 0o644, "unsafe"],
  ])("%j with mode %o is refused, and left alone", (text, mode, code) => {
    using folder = tempFolder();
    const path = join(folder.path, "users.json");
    writeFileSync(path, text, { mode });
    expect(() => new FileStore(path)).toThrow(expect.objectContaining({ name: "FileError", code }));
    expect(readFileSync(path, "utf8")).toBe(text);
  });
});

describe("changes", () => {
  test("of one turn are one commit, each settling with what it returned", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    const numbers = Array.from({ length: 200 }, (_, i) => i);
    const changes = numbers.map((n) =>
      store.change((draft) => {
        adding(`user${n}`)(draft);
        return n;
      }),
    );
    expect(await Promise.all(changes)).toEqual(numbers);
    expect([onDisk(store.place).rev, onDisk(store.place).users.size]).toEqual([1, 200]);
  });

  test("asked for during a commit wait for the next, and are one commit too", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    const later: Promise<unknown>[] = [];
    await store.change(() => {
      for (let n = 0; n < 50; n++) later.push(store.change(adding(`user${n}`)));
    });
    await store.settled();
    await Promise.all(later);
    expect([onDisk(store.place).rev, onDisk(store.place).users.size]).toEqual([2, 50]);
  });

  test("see each other in turn; one that throws is rejected alone", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    const names = ["ann", "ann", "bob"];
    const settled = await Promise.allSettled(names.map((name) => store.change(adding(name))));
    expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(settled[1]).toMatchObject({ reason: expect.any(AccountError) });
    expect(usersOf(onDisk(store.place))).toEqual(["ann", "bob"]);
  });

  test("that all throw write nothing", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change(adding("ann"));
    const { ino } = statSync(store.place);
    expect(await store.change(adding("ann")).catch(thrown)).toBeInstanceOf(AccountError);
    expect([statSync(store.place).ino, store.document.rev]).toEqual([ino, 1]);
  });

  test("refused with the file are not made behind anybody's back once it is well again", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change(adding("ann"));
    chmodSync(store.place, 0o644);
    expect(await store.change(adding("bob")).catch(thrown)).toMatchObject({ code: "unsafe" });
    chmodSync(store.place, 0o600);
    await store.change(adding("cat"));
    expect(usersOf(onDisk(store.place))).toEqual(["ann", "cat"]);
  });

  test("are on the disk and in memory once told, and not in memory before", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    const decided = Promise.withResolvers<string[]>();
    const change = store.change((draft) => {
      adding("ann")(draft);
      queueMicrotask(() => decided.resolve(usersOf(store.document))); // the disk takes longer
    });
    expect(await decided.promise).toEqual([]);
    await change;
    expect([onDisk(store.place), store.document].map(usersOf)).toEqual([["ann"], ["ann"]]);
  });

  test("are made to what another store has written meanwhile, though nobody watched", async () => {
    using folder = tempFolder();
    const path = join(folder.path, "users.json");
    const [one, other] = [new FileStore(path), new FileStore(path)];
    await one.change(adding("ann"));
    await other.change(adding("bob"));
    expect(await one.change(adding("bob")).catch(thrown)).toBeInstanceOf(AccountError);
    expect(usersOf(one.document)).toEqual(["ann", "bob"]);
  });

  test("keep what another process wrote, and this one has taken up, while they waited for the lock", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change(adding("ann"));
    const lock = holdLock(store.place);
    const changed = store.change(adding("bob"));
    write(store.place, textWith("ann", "cat")); // the lock's holder, acknowledged
    store.reload();
    expect(usersOf(store.document)).toEqual(["ann", "cat"]);
    lock[Symbol.dispose]();
    await changed;
    expect(usersOf(onDisk(store.place))).toEqual(["ann", "bob", "cat"]);
    expect(usersOf(store.document)).toEqual(["ann", "bob", "cat"]);
  });

  test("that all fail leave what was taken up while they waited for the lock", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change(adding("ann"));
    const lock = holdLock(store.place);
    const refused = store.change(adding("ann")).catch(thrown);
    write(store.place, textWith("ann", "cat"));
    store.reload();
    lock[Symbol.dispose]();
    expect(await refused).toBeInstanceOf(AccountError);
    expect(usersOf(store.document)).toEqual(["ann", "cat"]);
    store.reload();
    expect(usersOf(store.document)).toEqual(["ann", "cat"]);
  });

  test("that cannot be written leave in memory what was read for them", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change(adding("ann"));
    using watch = watching(store);
    const changed = watch.next("changed");
    write(store.place, textWith("ann", "cat"));
    const failed = store.change((draft) => {
      adding("bob")(draft);
      rmSync(store.place); // after it was read: what is there now cannot be replaced
      mkdirSync(store.place);
    });
    expect(await failed.catch(thrown)).toMatchObject({ name: "FileError", code: "unwritable" });
    await changed;
    expect(usersOf(store.document)).toEqual(["ann", "cat"]);
  });
});

describe("watching", () => {
  test("shows what another process has changed", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    using watch = watching(store);
    const changed = watch.next("changed");
    const source = join(import.meta.dir, "../../src/auth");
    const code = `
      import { FileStore } from "${source}/file-store.ts";
      import { addUser } from "${source}/accounts.ts";
      await new FileStore(process.argv.at(-1)).change((draft) => addUser(draft, "ann", "hash", new Date()));`;
    const command = [process.execPath, "-e", code, store.place];
    const [exitCode] = await Promise.all([Bun.spawn(command, { stderr: "inherit" }).exited, changed]);
    expect([exitCode, usersOf(store.document)]).toEqual([0, ["ann"]]);
  });

  test("keeps its content when the file is taken away, and takes a new one", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change(adding("ann"));
    using watch = watching(store);
    const unreadable = watch.next("FileError");
    rmSync(store.place);
    await unreadable;
    expect([...store.document.users.keys()]).toEqual(["ann"]);
    const refused = { code: "unreadable", message: `${store.place} has disappeared` };
    expect(await store.change(adding("bob")).catch(thrown)).toMatchObject(refused);
    const changed = watch.next("changed");
    write(store.place, textWith("cat"));
    await changed;
    expect([...store.document.users.keys()]).toEqual(["cat"]);
  });

  test("tells of one's own changes, and of nothing once it was stopped", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    const watch = watching(store);
    await store.change(adding("ann"));
    expect(watch.seen).toContain("changed");
    watch.stop();
    watch.seen.length = 0;
    await store.change(adding("bob"));
    write(store.place, "");
    store.reload();
    expect(watch.seen).toEqual([]);
  });
});

describe("a failure that passes", () => {
  test("is not remembered: the content is taken up although the file has not changed since", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change(adding("ann"));
    using watch = watching(store);
    const unreadable = watch.next("FileError");
    chmodSync(folder.path, 0o777); // not to be trusted for a moment
    write(store.place, textWith("ann", "cat"));
    await unreadable;
    expect(usersOf(store.document)).toEqual(["ann"]);
    const changed = watch.next("changed");
    chmodSync(folder.path, 0o700);
    await changed;
    expect(usersOf(store.document)).toEqual(["ann", "cat"]);
  });

  test("is told again when it comes again", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change(adding("ann"));
    using watch = watching(store);
    for (let times = 1; times <= 2; times++) {
      const unreadable = watch.next("FileError");
      const away = `${folder.path}/away`;
      renameSync(store.place, away);
      await unreadable;
      renameSync(away, store.place);
      store.reload();
      expect(watch.seen.filter((event) => event === "FileError")).toHaveLength(times);
    }
  });

  test("or a damage is looked at again where that is asked for", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change(adding("ann"));
    using watch = watching(store);
    write(store.place, "");
    store.reload();
    store.reload(true);
    expect(watch.seen).toEqual(["FileError"]); // told once
    write(store.place, textWith("dan"));
    store.reload(true);
    expect(usersOf(store.document)).toEqual(["dan"]);
  });
});

describe("a symbolic link", () => {
  test.each([
    ["a few users", 1],
    ["so many that a journal has the changes", 400],
  ])("shows the next login what another process changes behind it: %s", async (_, count) => {
    using folder = tempFolder();
    const at = (name: string) => join(folder.path, name);
    mkdirSync(at("other"));
    write(at("other/real.json"), textWith(...Array.from({ length: count }, (__, n) => `user${n}`)));
    symlinkSync("other/real.json", at("users.json"));
    const store = new FileStore(at("users.json"));
    const other = new FileStore(at("other/real.json"));
    for (const name of ["ann", "bob"]) {
      await other.change(adding(name));
      await store.fresh();
      expect(store.document.users.has(name)).toBe(true);
    }
  });

  test("that is turned to another file leads there, for reads and for changes", async () => {
    using folder = tempFolder();
    const at = (name: string) => join(folder.path, name);
    mkdirSync(at("other"), { mode: 0o700 });
    write(at("old.json"), textWith("ann"));
    write(at("other/new.json"), textWith("cat"));
    symlinkSync("old.json", at("users.json"));
    const [server, command] = [new FileStore(at("users.json")), new FileStore(at("users.json"))];
    using watch = watching(server);
    const changed = watch.next("changed");
    rmSync(at("users.json"));
    symlinkSync("other/new.json", at("users.json"));
    await changed;
    expect(usersOf(server.document)).toEqual(["cat"]);
    await server.change(adding("bob"));
    await command.change(adding("dan"));
    expect(usersOf(onDisk(at("other/new.json")))).toEqual(["bob", "cat", "dan"]);
    expect(usersOf(onDisk(at("old.json")))).toEqual(["ann"]);
    expect(readdirSync(at("other")).sort()).toEqual([".new.json.lock", "new.json"]);
  });

  test("that is turned while its lock is waited for leads there, too", async () => {
    using folder = tempFolder();
    const at = (name: string) => join(folder.path, name);
    write(at("old.json"), textWith("ann"));
    write(at("new.json"), textWith("cat"));
    symlinkSync("old.json", at("users.json"));
    const store = new FileStore(at("users.json"));
    const lock = holdLock(at("old.json"));
    const changed = store.change(adding("bob"));
    rmSync(at("users.json"));
    symlinkSync("new.json", at("users.json"));
    lock[Symbol.dispose]();
    await changed;
    expect(usersOf(onDisk(at("new.json")))).toEqual(["bob", "cat"]);
    expect(usersOf(onDisk(at("old.json")))).toEqual(["ann"]);
  });
});

describe("a file damaged while open", () => {
  test("is told of once, never overwritten, and costs nothing but changes until it is mended", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change(adding("ann"));
    using watch = watching(store);
    const damaged = watch.next("FileError");
    const half = textWith("eve").slice(0, -9);
    write(store.place, half);
    await damaged;
    const told = watch.seen.length;
    store.reload();
    expect(watch.seen).toHaveLength(told);

    const settled = await Promise.allSettled(["bob", "cat"].map((name) => store.change(adding(name))));
    const refused = { status: "rejected", reason: { code: "corrupt" } };
    expect(settled).toMatchObject([refused, refused]);
    expect(usersOf(store.document)).toEqual(["ann"]);
    expect(readFileSync(store.place, "utf8")).toBe(half);

    const mended = watch.next("changed");
    write(store.place, textWith("dan"));
    await mended;
    expect(usersOf(store.document)).toEqual(["dan"]);
    await store.change(adding("bob"));
    expect(usersOf(onDisk(store.place))).toEqual(["bob", "dan"]);
  });

  test("that nobody has noticed yet is noticed by the change", async () => {
    using folder = tempFolder();
    const store = new FileStore(join(folder.path, "users.json"));
    await store.change(adding("ann"));
    write(store.place, "");
    expect(await store.change(adding("bob")).catch(thrown)).toMatchObject({ code: "corrupt" });
    expect([readFileSync(store.place, "utf8"), usersOf(store.document)]).toEqual(["", ["ann"]]);
  });
});
