// What a client remembers, when several of them do so at once.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { ClientState } from "../../src/client/client-state.ts";
import { DataFolder } from "../../src/files/data-folder.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";
import { holdLock } from "../support/lock.ts";

const EXPIRES = new Date(Date.now() + 1000_000).toISOString();

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
    code: "pin_changed",
    message: "cannot trust a:1 with sha256/other: its pin is now sha256/one",
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
    code: "pin_changed",
  });
  await state.savePin("a:1", "sha256/two", "sha256/one");
  expect(state.findPin("a:1")).toBe("sha256/two");
});

/** What an earlier version has left, or another spelling. */
function leaveServers(...servers: [server: string, pin: string][]): void {
  const since = new Date().toISOString();
  const all = servers.map(([server, pin]) => ({ server, pin, since }));
  writeFileSync(data.knownServers, JSON.stringify({ version: 1, servers: all }), { mode: 0o600 });
}

test("a server that stands there in another spelling is known, and is there once after a change", async () => {
  const state = new ClientState(data);
  leaveServers(
    ["LOCALHOST.:1", "sha256/first"],
    ["a:1", "sha256/a"],
    ["[0:0:0:0:0:0:0:1]:1", "sha256/six"],
    ["LocalHost:1", "sha256/later"],
  );
  expect(state.findPin("localhost:1")).toBe("sha256/later");
  expect(state.findPin("[::1]:1")).toBe("sha256/six");
  await state.savePin("localhost:1", "sha256/new", "sha256/later");
  const { servers } = JSON.parse(readFileSync(data.knownServers, "utf8")) as {
    servers: { server: string; pin: string }[];
  };
  expect(servers.map(({ server, pin }) => `${server} ${pin}`)).toEqual([
    "a:1 sha256/a",
    "[::1]:1 sha256/six",
    "localhost:1 sha256/new",
  ]);
});

test("a token that stands there in another spelling is found, and replaced by the next one", async () => {
  const token = { server: "LOCALHOST:1", user: "ann", token: "old", expires: EXPIRES };
  writeFileSync(data.tokens, JSON.stringify({ version: 1, tokens: [token] }), { mode: 0o600 });
  const state = new ClientState(data);
  expect(state.tokens().find(({ server }) => server === "localhost:1")?.token).toBe("old");
  await state.saveToken({ ...token, server: "localhost:1", token: "new" });
  expect(state.tokens().map(({ token: text }) => text)).toEqual(["new"]);
});

test("a key is forgotten in every spelling, under the lock, and no other is", async () => {
  leaveServers(["LOCALHOST:1", "sha256/one"], ["localhost:1", "sha256/two"], ["localhost:2", "sha256/b"]);
  const [one, other] = [new ClientState(data), new ClientState(data)];
  const lock = holdLock(data.knownServers);
  const both = [one.forgetPin("localhost:1"), other.savePin("c:1", "sha256/c", undefined)] as const;
  lock[Symbol.dispose]();
  await Promise.all(both);
  expect(await both[0]).toBe(true);
  expect(one.findPin("localhost:1")).toBeUndefined();
  expect([one.findPin("localhost:2"), one.findPin("c:1")]).toEqual(["sha256/b", "sha256/c"]);
  const before = readFileSync(data.knownServers, "utf8");
  expect(await one.forgetPin("localhost:1")).toBe(false);
  expect(readFileSync(data.knownServers, "utf8")).toBe(before);
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
  const users = Array.from({ length: 8 }, (_, n) => `user${n}`);
  await Promise.all(
    users.map((user) =>
      new ClientState(data).saveToken({ server: "a:1", user, token: user, expires: EXPIRES }),
    ),
  );
  expect(
    new ClientState(data)
      .tokens()
      .map(({ user }) => user)
      .sort(),
  ).toEqual(users);
});

test("a server that issues each token as another one keeps no more than a hundred, and takes none of another server's", async () => {
  const state = new ClientState(data);
  const save = (server: string, issuer: string) =>
    state.saveToken({ server, user: "ann", token: `${server} ${issuer}`, expires: EXPIRES, issuer });
  await save("b:1", "0");
  for (let n = 0; n < 105; n++) await save("a:1", `${n}`);
  const issuers = state.tokens().map(({ issuer }) => issuer);
  expect(issuers).toEqual(["0", ...Array.from({ length: 100 }, (_, n) => `${n + 5}`)]);
});

test("the servers that may draw on the terminal are known in every spelling, each once, until they are forgotten", async () => {
  const state = new ClientState(data);
  expect(state.mayDraw("127.0.0.1:1")).toBe(false);
  expect(await state.forbidDrawing("127.0.0.1:1")).toBe(false);
  await Promise.all([1, 2, 2, 3].map((port) => state.allowDrawing(`127.0.0.1:${port}`)));
  expect([1, 2, 3, 4].map((port) => state.mayDraw(`127.0.0.1:${port}`))).toEqual([true, true, true, false]);
  expect(await state.forbidDrawing("127.0.0.1:2")).toBe(true);
  expect([1, 2, 3].map((port) => state.mayDraw(`127.0.0.1:${port}`))).toEqual([true, false, true]);
});

test("a damaged file of those servers lets none draw", () => {
  writeFileSync(data.terminals, '{"version":1,"servers":[{}]}', { mode: 0o600 });
  const state = new ClientState(data);
  expect(() => state.mayDraw("127.0.0.1:1")).toThrow("terminals.json is damaged");
});
