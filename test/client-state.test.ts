// What a client remembers, when several of them do so at once.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { ClientState } from "../src/client-state.ts";
import { DataFolder } from "../src/files/data-folder.ts";
import { tempFolder, type TempFolder } from "./support/folder.ts";
import { holdLock } from "./support/lock.ts";

/** For `catch`: what was thrown, to be looked at. */
const thrown = (error: unknown) => error;

let folder: TempFolder;
let data: DataFolder;
beforeEach(() => {
  folder = tempFolder();
  data = new DataFolder(folder.path);
});
afterEach(() => folder[Symbol.dispose]());

test("of two first meetings at once with two keys one is believed, and the other is told", async () => {
  const [one, other] = [new ClientState(data), new ClientState(data)];
  const lock = holdLock(data.knownServers);
  const saved = one.savePin("a:1", "sha256/one", undefined);
  const refused = other.savePin("a:1", "sha256/other", undefined).catch(thrown);
  const same = other.savePin("b:1", "sha256/b", undefined);
  lock[Symbol.dispose]();
  await Promise.all([saved, same]);
  const present = one.findPin("a:1");
  const failure = await refused;
  // Whichever came first, one of them stands, and the other was refused with both keys.
  expect(present).toBe("sha256/one");
  expect(failure).toMatchObject({
    name: "ParleyError",
    code: "failed",
    message: "a:1 was not trusted by sha256/other: it is known by sha256/one now",
  });
  expect(one.findPin("b:1")).toBe("sha256/b");
});

test("a key is replaced only by a client that knew the one before, and the same key is no change", async () => {
  const state = new ClientState(data);
  await state.savePin("a:1", "sha256/one", undefined);
  const before = readFileSync(data.knownServers, "utf8");
  await state.savePin("a:1", "sha256/one", undefined);
  expect(readFileSync(data.knownServers, "utf8")).toBe(before);
  expect(await state.savePin("a:1", "sha256/two", "sha256/zero").catch(thrown)).toMatchObject({
    code: "failed",
  });
  await state.savePin("a:1", "sha256/two", "sha256/one");
  expect(state.findPin("a:1")).toBe("sha256/two");
});

test("the last user stays when a conversation without one is remembered, whoever wrote it meanwhile", async () => {
  const [one, other] = [new ClientState(data), new ClientState(data)];
  await one.remember({ host: "a", port: 1, user: "ann" });
  const lock = holdLock(data.last);
  const changes = [other.remember({ host: "b", port: 2, user: "bob" }), one.remember({ host: "c", port: 3 })];
  lock[Symbol.dispose]();
  await Promise.all(changes);
  const last = one.last();
  expect(last.user).toBe("bob");
});

test("tokens that several clients save at once are all there", async () => {
  const expires = new Date(Date.now() + 1000_000).toISOString();
  const users = Array.from({ length: 8 }, (_, n) => `user${n}`);
  await Promise.all(
    users.map((user) => new ClientState(data).saveToken({ server: "a:1", user, token: user, expires })),
  );
  expect(
    new ClientState(data)
      .tokens()
      .map(({ user }) => user)
      .sort(),
  ).toEqual(users);
});
