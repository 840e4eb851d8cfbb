// A login that ends before its time: what it waits for does not hold its answer up, and what was refused is not done.

import { describe, expect, spyOn, test } from "bun:test";
import { removeUser, touchToken } from "../../src/auth/accounts.ts";
import type { Token, User } from "../../src/auth/document.ts";
import { parseToken, proveToken, TOKEN_LABEL } from "../../src/auth/token.ts";
import { MAX_HASH_QUEUE_PER_ADDRESS } from "../../src/base/limits.ts";
import { until } from "../support/attack.ts";
import { holdLock } from "../support/lock.ts";
import type { Peer } from "../support/peer.ts";
import { PASSWORD, startServer, type TestServer } from "../support/server.ts";

const LOGIN = { type: "login", method: "password", user: "ann", password: PASSWORD };
const REGISTER = { type: "login", method: "register", user: "bob", password: "battery staple" };
const TIMEOUT = { type: "error", code: "timeout" };
const STOPPING = { type: "error", code: "shutting_down" };
const SHORT = { loginTimeoutMs: 300 };

/** A peer that has sent `login`. */
async function sending(server: TestServer, login: object): Promise<Peer> {
  const peer = await server.peer();
  await peer.message();
  peer.json(login);
  return peer;
}

/** Everything that the store has of users and tokens once all changes so far are made. */
async function contentOf({
  store,
}: TestServer): Promise<{ users: Map<string, User>; tokens: Map<string, Token> }> {
  await store?.change(() => undefined);
  const { users = [], tokens = [] } = store?.document ?? {};
  return { users: new Map(users), tokens: new Map(tokens) };
}

/** Holds every hash back until it is disposed of; `asked` counts them. */
function holdHashes() {
  const released = Promise.withResolvers<void>();
  let asked = 0;
  const held = <A extends unknown[], T>(work: (...given: A) => Promise<T>) => {
    return async (...given: A): Promise<T> => {
      asked++;
      await released.promise;
      return work(...given);
    };
  };
  // Before the spies take their place.
  const verify = Bun.password.verify.bind(Bun.password);
  const hash = Bun.password.hash.bind(Bun.password);
  const spies = [
    spyOn(Bun.password, "verify").mockImplementation(held(verify)),
    spyOn(Bun.password, "hash").mockImplementation(held(hash)),
  ];
  return {
    asked: () => asked,
    release: () => released.resolve(),
    [Symbol.dispose]: () => {
      released.resolve();
      for (const spy of spies) spy.mockRestore();
    },
  };
}

describe("a hash that does not end", () => {
  test.each([
    ["login", LOGIN],
    ["registration", REGISTER],
  ])("does not hold up the answer to a %s at its deadline, and its result is of no use", async (_, login) => {
    await using server = await startServer({ ...SHORT, register: true });
    const before = await contentOf(server);
    using hashes = holdHashes();
    using peer = await sending(server, login);
    expect(await peer.message()).toMatchObject(TIMEOUT);
    expect(await peer.frame()).toBeNull();
    expect(hashes.asked()).toBe(1);
    hashes.release();
    expect(await contentOf(server)).toEqual(before);
    expect(server.events.map(({ event }) => event)).not.toContain("login-refused");
  });

  test("holds nobody up who only waits behind it, and the deadline frees their places", async () => {
    await using server = await startServer({ ...SHORT, penalties: false });
    using hashes = holdHashes();
    const logins = await Promise.all(Array.from({ length: 5 }, () => sending(server, LOGIN)));
    for (const peer of logins) expect(await peer.message()).toMatchObject(TIMEOUT);
    const next = await Promise.all(Array.from({ length: 3 }, () => sending(server, LOGIN)));
    hashes.release();
    for (const peer of next) expect(await peer.message()).toMatchObject({ type: "welcome" });
    for (const peer of [...logins, ...next]) peer[Symbol.dispose]();
  });

  test("does not hold up those who log in while the server stops", async () => {
    await using server = await startServer({ register: true });
    const before = await contentOf(server);
    using hashes = holdHashes();
    const peers = await Promise.all([LOGIN, REGISTER, REGISTER].map((login) => sending(server, login)));
    await until("hashes", true, () => hashes.asked() > 0);
    const stopped = server.server.stop();
    for (const peer of peers) expect(await peer.message()).toMatchObject(STOPPING);
    await stopped;
    hashes.release();
    expect(await contentOf(server)).toEqual(before);
  });

  test("makes no account for a client that has left", async () => {
    await using server = await startServer({ register: true });
    const before = await contentOf(server);
    using hashes = holdHashes();
    using peer = await sending(server, REGISTER);
    await until("hashes", 1, hashes.asked);
    peer.reset();
    await server.event("disconnected");
    hashes.release();
    expect(await contentOf(server)).toEqual(before);
  });
});

describe("while the user file is locked by another process", () => {
  const ENDS: [how: string, options: object, end: (server: TestServer) => void, answer: object][] = [
    ["its deadline passes", SHORT, () => undefined, TIMEOUT],
    ["the server stops", {}, ({ server }) => void server.stop(), STOPPING],
  ];
  for (const [what, login] of [
    ["login", LOGIN],
    ["registration", REGISTER],
  ] as const) {
    test.each(ENDS)(`a ${what}, when %s, is told so at once, and leaves nothing behind`, async (...given) => {
      const [, options, end, answer] = given;
      await using server = await startServer({ ...options, register: true });
      const { store } = server;
      if (store === undefined) throw new Error("no store");
      const before = await contentOf(server);
      using changes = spyOn(store, "change");
      const lock = holdLock(server.path);
      using peer = await sending(server, login);
      await until("changes", 1, () => changes.mock.calls.length);
      end(server);
      expect(await peer.message()).toMatchObject(answer);
      lock[Symbol.dispose]();
      expect(await contentOf(server)).toEqual(before);
    });
  }

  test("a login that wants no token waits for nothing, and is written down later", async () => {
    await using server = await startServer();
    const lock = holdLock(server.path);
    using peer = await sending(server, { ...LOGIN, token: false });
    expect(await peer.message()).toMatchObject({ type: "welcome" });
    lock[Symbol.dispose]();
    expect((await contentOf(server)).users.get("ann")).toHaveProperty("last_login");
  });

  test("a registration whose client leaves is not made", async () => {
    await using server = await startServer({ register: true });
    const before = await contentOf(server);
    if (server.store === undefined) throw new Error("no store");
    using changes = spyOn(server.store, "change");
    const lock = holdLock(server.path);
    using peer = await sending(server, REGISTER);
    await until("changes", 1, () => changes.mock.calls.length);
    peer.reset();
    await server.event("disconnected");
    lock[Symbol.dispose]();
    expect(await contentOf(server)).toEqual(before);
  });
});

describe("a registration that was decided before it came too late", () => {
  /** A server on which `happens` as soon as the registration of a peer has been decided, and is not yet on the disk. */
  async function deciding(happens: (server: TestServer, peer: Peer) => void) {
    const server = await startServer({ register: true });
    const { store } = server;
    if (store === undefined) throw new Error("no store");
    const changes = spyOn(store, "change");
    const lock = holdLock(server.path);
    const peer = await sending(server, REGISTER);
    await until("changes", 1, () => changes.mock.calls.length);
    const after = store.change(() => happens(server, peer)); // of the same commit
    lock[Symbol.dispose]();
    await after;
    changes.mockRestore();
    return { server, peer };
  }

  test("because the server stops: the client is told that it succeeded, and then that the server stops", async () => {
    const { server, peer } = await deciding(({ server: stopping }) => void stopping.stop());
    await using _ = server;
    using __ = peer;
    expect(await peer.message()).toMatchObject({ type: "welcome", user: "bob", known: false });
    expect((await contentOf(server)).users.has("bob")).toBe(true);
  });

  test("because the client has left: the account is there, and logged", async () => {
    const left = Promise.withResolvers<void>();
    const { server, peer } = await deciding((_, leaving) => {
      leaving.reset();
      left.resolve();
    });
    await using _ = server;
    using __ = peer;
    await left.promise;
    expect((await server.event("registered")).fields).toMatchObject({ user: "bob" });
    await server.event("disconnected");
    expect((await contentOf(server)).users.has("bob")).toBe(true);
  });
});

describe("a delay before an answer ends at the deadline", () => {
  test("that of a refused login", async () => {
    await using server = await startServer(SHORT);
    using first = await server.peer();
    await first.message();
    for (let wrong = 0; wrong < 3; wrong++) {
      first.json({ ...LOGIN, password: "wrong password" });
      expect(await first.message()).toMatchObject({ type: "refused" });
    }
    using second = await sending(server, { ...LOGIN, password: "wrong password" });
    expect(await second.message()).toMatchObject(TIMEOUT); // and no refusal a second after it
    expect(await second.frame()).toBeNull();
  });

  test("that of a login for which the hash queue has no room", async () => {
    await using server = await startServer({ ...SHORT, penalties: false });
    using hashes = holdHashes();
    const count = 4 + MAX_HASH_QUEUE_PER_ADDRESS;
    const peers = await Promise.all(Array.from({ length: count }, () => sending(server, LOGIN)));
    for (const peer of peers) expect(await peer.message()).toMatchObject(TIMEOUT);
    hashes.release();
    for (const peer of peers) peer[Symbol.dispose]();
  });
});

describe("a user who has no place left", () => {
  test("makes no account: one of an earlier account of that name still has the place", async () => {
    await using server = await startServer({ register: true, maxPerUser: 1 });
    using first = await sending(server, { ...REGISTER, control: true, resume_for: 0 });
    first.answersFin = false; // the connection stays for a while
    expect(await first.message()).toMatchObject({ type: "welcome" });
    await server.store?.change((draft) => removeUser(draft, "bob"));
    expect(await first.message()).toMatchObject({ type: "bye", code: "revoked" });
    using second = await sending(server, REGISTER);
    expect(await second.message()).toMatchObject({ type: "error", code: "full" });
    expect((await contentOf(server)).users.has("bob")).toBe(false);
    first.end();
  });

  test("does not use a token", async () => {
    await using server = await startServer({ maxPerUser: 1 });
    using first = await sending(server, LOGIN);
    const token = parseToken(String((await first.message())["token"]));
    if (token === undefined) throw new Error("no token");
    const old = new Date("2026-01-02T03:04:05.678Z");
    await server.store?.change((draft) => touchToken(draft, token.id, old));
    // Not idle in the content that is in memory, but long enough not used for that to be written.
    const { tokens } = server.store!.document;
    const used = new Date(Date.now() - 24 * 60 * 60 * 1000).toISOString();
    tokens.set(token.id, { ...tokens.get(token.id)!, used });
    using second = await server.peer();
    const nonce = Buffer.from(String((await second.message())["nonce"]), "base64");
    const proof = proveToken(token.secret, TOKEN_LABEL, nonce, new Uint8Array(0)).toString("base64");
    second.json({ type: "login", method: "token", id: token.id, proof });
    expect(await second.message()).toMatchObject({ type: "error", code: "full" });
    expect((await contentOf(server)).tokens.get(token.id)?.used).toBe(used);
    expect((await contentOf(server)).users.get("ann")?.last_login).toBe(old.toISOString());
  });
});
