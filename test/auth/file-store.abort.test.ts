// A change whose result is not wanted any more: it is either not made, or made and said. Its lock decides which.

import { expect, test } from "bun:test";
import { FileStore } from "../../src/auth/file-store.ts";
import { adding, thrown } from "../support/changes.ts";
import { tempFolder } from "../support/folder.ts";
import { holdLock } from "../support/lock.ts";

const REASON = new Error("too late");

/** A store, and what its file says now. */
function newStore(folder: string) {
  const store = new FileStore(`${folder}/users.json`);
  return { store, users: () => [...new FileStore(store.place).document.users.keys()] };
}

test("one that waits for the lock is given up at once, and is not made when the lock is free", async () => {
  using folder = tempFolder();
  const { store, users } = newStore(folder.path);
  await store.change(adding("ann"));
  const controller = new AbortController();
  const lock = holdLock(store.place);
  const refused = store.change(adding("bob"), controller.signal).catch(thrown);
  const wanted = store.change(adding("cat"));
  controller.abort(REASON);
  expect(await refused).toBe(REASON); // the lock is held still
  lock[Symbol.dispose]();
  await wanted;
  expect(users()).toEqual(["ann", "cat"]);
});

test("one that is given up in the same commit, before its turn, is not made", async () => {
  using folder = tempFolder();
  const { store, users } = newStore(folder.path);
  const controller = new AbortController();
  const first = store.change(() => controller.abort(REASON));
  const second = store.change(adding("bob"), controller.signal).catch(thrown);
  expect(await second).toBe(REASON);
  await first;
  expect(users()).toEqual([]);
});

test("one that was decided is made and said, though it is given up before it is on the disk", async () => {
  using folder = tempFolder();
  const { store, users } = newStore(folder.path);
  const controller = new AbortController();
  const first = store.change(adding("bob"), controller.signal);
  const second = store.change(() => controller.abort(REASON));
  expect(await first).toMatchObject({ password: "hash" });
  await second;
  expect(users()).toEqual(["bob"]);
});

test("one that is given up after it was made is made", async () => {
  using folder = tempFolder();
  const { store, users } = newStore(folder.path);
  const controller = new AbortController();
  await store.change(adding("bob"), controller.signal);
  controller.abort(REASON);
  await store.change(adding("cat"));
  expect(users()).toEqual(["bob", "cat"]);
});
