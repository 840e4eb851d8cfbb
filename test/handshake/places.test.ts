// Whose place is whose while logins fail: a penalised address, in which only proofs get in, and answers that are delayed.

import { describe, expect, spyOn, test } from "bun:test";
import { SharedKey } from "../../src/auth/shared-key.ts";
import { proveToken, RESUME_LABEL, TOKEN_LABEL, parseToken } from "../../src/auth/token.ts";
import { LOOPBACK_PENALTY_MAX_MS, MAX_PROVING_PER_ADDRESS, MAX_REFUSING } from "../../src/base/limits.ts";
import { CROWD, until } from "../support/attack.ts";
import { Peer } from "../support/peer.ts";
import { PASSWORD, startServer, type TestServer } from "../support/server.ts";

const RIGHT = { type: "login", method: "password", user: "ann", password: PASSWORD };
const WRONG = { ...RIGHT, password: "wrong password" };
const PENALISED = { type: "error", code: "penalised", retry_after: expect.any(Number) as unknown };
const NO_BINDING = new Uint8Array(0);

/** Brings 127.0.0.1 its penalty. */
async function misbehave(server: TestServer): Promise<void> {
  const count = 2 * (LOOPBACK_PENALTY_MAX_MS / 1000);
  const garbage = Array.from({ length: count }, async () => {
    using peer = await server.peer();
    peer.raw("GET / HTTP/1.1\r\n\r\n");
    await peer.rest();
  });
  await Promise.all(garbage);
}

/** The answer to `login`, whose proof is of the nonce that the server has sent. */
async function answerTo(peer: Peer, login: (nonce: Buffer) => object): Promise<Record<string, unknown>> {
  const { nonce } = await peer.message();
  peer.json(login(Buffer.from(String(nonce), "base64")));
  return peer.message();
}

const proofOf = (token: unknown) => {
  const parts = parseToken(String(token));
  if (parts === undefined) throw new Error("no token");
  return (nonce: Buffer) => ({
    type: "login",
    method: "token",
    id: parts.id,
    proof: proveToken(parts.secret, TOKEN_LABEL, nonce, NO_BINDING).toString("base64"),
  });
};

describe("at a penalised address", () => {
  test("a password is refused, right or wrong, and costs no hash", async () => {
    await using server = await startServer({ ...CROWD, register: true });
    await misbehave(server);
    using verify = spyOn(Bun.password, "verify");
    using hash = spyOn(Bun.password, "hash");
    for (const login of [RIGHT, { ...RIGHT, method: "register", user: "bob" }]) {
      using peer = await server.peer();
      expect(await answerTo(peer, () => login)).toMatchObject(PENALISED);
      expect(await peer.frame()).toBeNull();
    }
    expect([verify.mock.calls.length, hash.mock.calls.length]).toEqual([0, 0]);
  });

  test("a token gets in, and ends the penalty", async () => {
    await using server = await startServer(CROWD);
    using first = await server.peer();
    const { token } = await first.logIn("ann", PASSWORD);
    await misbehave(server);
    using wrong = await server.peer();
    const { secret, id } = parseToken(String(token)) ?? { secret: NO_BINDING, id: "" };
    expect(secret.length).toBeGreaterThan(0);
    const guess = { type: "login", method: "token", id, proof: Buffer.alloc(32).toString("base64") };
    expect(await answerTo(wrong, () => guess)).toMatchObject(PENALISED);
    using unbound = await server.peer();
    const named = { ...guess, binding: "tls-exporter" }; // not allowed on plain TCP
    expect(await answerTo(unbound, () => named)).toMatchObject(PENALISED);
    using right = await server.peer();
    expect(await answerTo(right, proofOf(token))).toMatchObject({ type: "welcome", user: "ann" });
    using second = await server.peer();
    expect(await answerTo(second, () => RIGHT)).toMatchObject({ type: "welcome" });
  });

  test("a session is resumed with its key, and without it nothing is", async () => {
    await using server = await startServer({ ...CROWD, auth: "none" });
    using first = await server.peer();
    const welcome = await first.enter({ control: true, resume_for: 60 });
    first.reset();
    await server.event("lost");
    await misbehave(server);
    const key = Buffer.from(String(welcome["resume_key"]), "base64");
    const resume = (by: Uint8Array) => (nonce: Buffer) => ({
      type: "login",
      method: "resume",
      session: welcome["session"],
      proof: proveToken(by, RESUME_LABEL, nonce, NO_BINDING).toString("base64"),
      received: 0,
    });
    using stranger = await server.peer();
    expect(await answerTo(stranger, resume(new Uint8Array(32)))).toMatchObject({ code: "session_gone" });
    stranger.json({ type: "login", method: "none" });
    expect(await stranger.message()).toMatchObject(PENALISED);
    using owner = await server.peer();
    expect(await answerTo(owner, resume(key))).toMatchObject({ type: "welcome", resumed: true });
    owner.json({ type: "bye", code: "left", message: "" });
    owner.reset();
    server.server.terminate();
  });

  test("no more than two may try, and one that says nothing is told in the end", async () => {
    await using server = await startServer({ ...CROWD, loginTimeoutMs: 300 });
    await misbehave(server);
    const silent = await Promise.all(Array.from({ length: MAX_PROVING_PER_ADDRESS }, () => server.peer()));
    for (const peer of silent) expect(await peer.message()).toMatchObject({ type: "hello" });
    using third = await server.peer();
    for (const peer of silent) expect(await peer.message()).toMatchObject(PENALISED);
    expect(await third.message()).toMatchObject(PENALISED); // it has heard no hello
  });

  test("nobody may try where there is no login to prove something in", async () => {
    const key = new SharedKey(Buffer.from("parley-test-key-0123456789abcdef"));
    await using server = await startServer({ ...CROWD, bare: true, key });
    await misbehave(server);
    using peer = await server.peer();
    expect(await peer.message()).toMatchObject(PENALISED); // and no challenge before
  });
});

describe("the place of a login", () => {
  const narrow = { maxPending: { start: 1, rate: 100, full: 1 } };
  const other = "127.0.0.2";

  async function refusedThrice(server: TestServer): Promise<void> {
    using peer = await server.peer();
    await peer.message();
    for (let count = 0; count < 3; count++) {
      peer.json(WRONG);
      expect(await peer.message()).toMatchObject({ type: "refused" });
    }
    await peer.rest();
  }

  test("is free while its answer is delayed, and it may try again afterwards", async () => {
    await using server = await startServer(narrow);
    await refusedThrice(server);
    using delayed = await server.peer();
    await delayed.message();
    delayed.json(WRONG);
    await until("refusals", 4, () => server.events.filter(({ event }) => event === "login-refused").length);
    using stranger = await Peer.connect(server.port, other);
    expect(await stranger.logIn("ann", PASSWORD)).toMatchObject({ type: "welcome" });
    expect(await delayed.message()).toMatchObject({ type: "refused", attempts_left: 2 });
    delayed.json(RIGHT);
    expect(await delayed.message()).toMatchObject({ type: "welcome" });
  });

  test("is needed by no token and no session: they get in where all others are refused", async () => {
    await using server = await startServer({ ...narrow, maxPendingPerAddress: 1 });
    using first = await server.peer();
    const { token } = await first.logIn("ann", PASSWORD);
    const hashed = Promise.withResolvers<boolean>();
    using _ = spyOn(Bun.password, "verify").mockReturnValue(hashed.promise);
    // First in the only place for all, then in the one for known addresses.
    const busy: Peer[] = [];
    for (const from of [other, "127.0.0.1"]) {
      const peer = await Peer.connect(server.port, from);
      await peer.message();
      peer.json(RIGHT);
      busy.push(peer);
    }
    for (const [from, code] of [
      ["127.0.0.1", "too_many_from_address"],
      ["127.0.0.3", "full"],
    ] as const) {
      using stranger = await Peer.connect(server.port, from);
      expect(await answerTo(stranger, () => RIGHT)).toMatchObject({ type: "error", code, retry_after: 1 });
      using owner = await Peer.connect(server.port, from);
      expect(await answerTo(owner, proofOf(token))).toMatchObject({ type: "welcome", user: "ann" });
    }
    hashed.resolve(true);
    for (const peer of busy) {
      expect(await peer.message()).toMatchObject({ type: "welcome" });
      peer[Symbol.dispose]();
    }
  });

  test("is gone where others have it afterwards: the answer is the last one", async () => {
    await using server = await startServer(narrow);
    await refusedThrice(server);
    using delayed = await server.peer();
    await delayed.message();
    delayed.json(WRONG);
    await until("refusals", 4, () => server.events.filter(({ event }) => event === "login-refused").length);
    const hashed = Promise.withResolvers<boolean>();
    using _ = spyOn(Bun.password, "verify").mockReturnValue(hashed.promise);
    using newcomer = await Peer.connect(server.port, other);
    await newcomer.message();
    newcomer.json(RIGHT);
    expect(await delayed.message()).toMatchObject({ type: "refused", attempts_left: 0 });
    expect(await delayed.message()).toMatchObject({ type: "error", code: "too_many_attempts" });
    hashed.resolve(true);
    expect(await newcomer.message()).toMatchObject({ type: "welcome" });
  });

  test("is not waited in by more than may log in: the next one is answered at once, for the last time", async () => {
    await using server = await startServer({ ...narrow, loginTimeoutMs: 3000 });
    await refusedThrice(server);
    using delayed = await server.peer();
    await delayed.message();
    delayed.json(WRONG);
    await until("refusals", 4, () => server.events.filter(({ event }) => event === "login-refused").length);
    using next = await server.peer();
    await next.message();
    next.json(WRONG);
    expect(await next.message()).toMatchObject({ type: "refused", attempts_left: 0 });
    expect(await next.message()).toMatchObject({ type: "error", code: "too_many_attempts" });
    expect(delayed.isClosed).toBe(false);
    expect(await delayed.message()).toMatchObject({ type: "refused", attempts_left: 2 });
  });

  test("is free for others, but sockets of refused clients that stay are bounded", async () => {
    await using server = await startServer({ ...CROWD, auth: "none", penalties: false });
    const peers: Peer[] = [];
    let most = 0;
    while (peers.length < MAX_REFUSING + 50) {
      const peer = await server.peer();
      peers.push(peer);
      peer.answersFin = false;
      await peer.message();
      peer.send("no login");
      await peer.frame(); // why it is refused, or nothing where it is reset
      most = Math.max(most, server.server.connections);
    }
    expect(most).toBeLessThanOrEqual(MAX_REFUSING + 1); // and the newest one, which is logging in
    for (const peer of peers) peer[Symbol.dispose]();
  });

  test("is free as soon as all was refused, although the client stays", async () => {
    await using server = await startServer({ maxPendingPerAddress: 1 });
    using first = await server.peer();
    first.answersFin = false;
    await first.message();
    first.send("no login");
    expect(await first.message()).toMatchObject({ type: "error", code: "bad_message" });
    using second = await server.peer();
    expect(await second.message()).toMatchObject({ type: "hello" });
    expect(first.isClosed).toBe(false);
    first.end();
  });
});
