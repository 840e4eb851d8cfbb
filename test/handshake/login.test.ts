// Logging in over a real socket: who gets in, with what, what is said to those who do not, and what it leaves behind.

import { describe, expect, spyOn, test } from "bun:test";
import { readFileSync } from "node:fs";
import type { Token } from "../../src/auth/document.ts";
import { parseToken, proveToken, TOKEN_LABEL, type TokenParts } from "../../src/auth/token.ts";
import { addUser, disableUser, removeUser, revokeTokens, setPassword } from "../../src/auth/accounts.ts";
import { hashCost, PasswordHasher } from "../../src/auth/password.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import type { Service } from "../../src/services/service.ts";
import { attack, until } from "../support/attack.ts";
import { holdLock } from "../support/lock.ts";
import { BCRYPT, BCRYPT_FLAW, FOREIGN } from "../support/hashes.ts";
import { frame, type Peer } from "../support/peer.ts";
import { CHEAP, hashOptions, PASSWORD, startServer } from "../support/server.ts";

const LOGIN = {
  type: "login",
  method: "password",
  user: "ann",
  password: PASSWORD,
  control: true,
  resume_for: 0,
};

function tokenOf(welcome: Record<string, unknown>): TokenParts {
  const parts = parseToken(String(welcome["token"]));
  if (parts === undefined) throw new Error(`no token in ${JSON.stringify(welcome)}`);
  return parts;
}

async function present(
  peer: Peer,
  { id, secret }: TokenParts,
  extra: object = {},
): Promise<Record<string, unknown>> {
  const hello = await peer.message();
  const nonce = Buffer.from(String(hello["nonce"]), "base64");
  const proof = proveToken(secret, TOKEN_LABEL, nonce, new Uint8Array(0)).toString("base64");
  peer.json({ type: "login", method: "token", id, proof, control: true, resume_for: 0, ...extra });
  return peer.message();
}

describe("hello", () => {
  test("comes first, type first, and says what this server accepts", async () => {
    await using server = await startServer({ register: true, maxFrame: 5000 });
    using peer = await server.peer();
    const text = (await peer.text()) ?? "";
    expect(text).toStartWith(
      '{"type":"hello","protocol":"parley/1","service":"echo","auth":["password","token","register"],"nonce":"',
    );
    const hello = JSON.parse(text) as { nonce: string; max_frame: number };
    expect(Buffer.from(hello.nonce, "base64")).toHaveLength(24);
    expect(hello.max_frame).toBe(5000);
  });

  test("has another nonce for each connection", async () => {
    await using server = await startServer();
    using one = await server.peer();
    using two = await server.peer();
    expect((await one.message())["nonce"]).not.toBe((await two.message())["nonce"]);
  });
});

describe("password", () => {
  test("lets the right one in, whatever the case of the name, and issues a token", async () => {
    await using server = await startServer();
    using peer = await server.peer();
    const welcome = await peer.logIn("ANN", PASSWORD);
    expect(welcome).toMatchObject({ type: "welcome", user: "ann", known: true });
    expect(welcome["token"]).toMatch(/^prly_/);
    expect(Date.parse(String(welcome["expires"]))).toBeGreaterThan(Date.now());
    expect((await server.event("logged-in")).fields).toMatchObject({ user: "ann", method: "password" });
  });

  test("begins no session for a client that left while its token was written", async () => {
    const opened: string[] = [];
    const service: Service = { open: ({ user }) => void opened.push(user ?? ""), message: () => undefined };
    await using server = await startServer({ service });
    if (server.store === undefined) throw new Error("no store");
    const lock = holdLock(server.path);
    using changes = spyOn(server.store, "change");
    using peer = await server.peer();
    await peer.message();
    peer.json({ ...LOGIN, user: "ann", password: PASSWORD });
    await until("changes", 1, () => changes.mock.calls.length);
    peer.reset();
    await until("connections", 0, () => server.server.connections);
    lock[Symbol.dispose]();
    await server.event("disconnected");
    expect(opened).toEqual([]);
    expect(server.events.map(({ event }) => event)).not.toContain("logged-in");
  });

  test("says the same about a wrong password and an unknown user, and closes at the third", async () => {
    await using server = await startServer({ penalties: false });
    const answers = async (user: string) => {
      using peer = await server.peer();
      await peer.message();
      const said: string[] = [];
      for (let attempt = 0; attempt < 3; attempt++) {
        peer.json({ ...LOGIN, user, password: "wrong password" });
        said.push((await peer.text()) ?? "");
      }
      said.push(...(await peer.rest()).map(({ payload }) => payload.toString()));
      return said;
    };
    const known = await answers("ann");
    expect(known).toEqual(await answers("nobody"));
    expect(known).toEqual(await answers("__proto__"));
    expect(known).toEqual(await answers("constructor"));
    expect(known).toEqual([
      '{"type":"refused","code":"bad_credentials","message":"wrong user name or password","attempts_left":2}',
      '{"type":"refused","code":"bad_credentials","message":"wrong user name or password","attempts_left":1}',
      '{"type":"refused","code":"bad_credentials","message":"wrong user name or password","attempts_left":0}',
      '{"type":"error","code":"too_many_attempts","message":"3 logins were refused"}',
    ]);
  });

  test.each([
    ["the default", CHEAP],
    ["less than the file has", { memoryKib: 64, time: 1 }],
    ["more than the file has", { memoryKib: 2048, time: 3 }],
  ])(
    "a wrong one is as much work for whoever is unknown, the server being asked for %s",
    async (_, hashCost) => {
      await using server = await startServer({ penalties: false, ...hashOptions(hashCost) }); // ann's hash is of CHEAP
      using verify = spyOn(Bun.password, "verify");
      const work = async (user: string, password: string) => {
        verify.mockClear();
        using peer = await server.peer();
        await peer.logIn(user, password);
        // All but salt and hash; and the password, since its length is work, too.
        return verify.mock.calls.map(([given, hash]) => [given, (hash as string).split("$").slice(0, 4)]);
      };
      for (const password of ["wrong password", "", "x".repeat(2000)]) {
        const known = await work("ann", password);
        expect(known).toHaveLength(1);
        for (const name of ["nobody", "__proto__", "constructor", "no name", "-", ""]) {
          expect(await work(name, password)).toEqual(known);
        }
      }
    },
  );

  test("whose hash has another cost than is asked for now, less or more, is hashed anew once it was right", async () => {
    const asked = { memoryKib: 32, time: 2 };
    await using server = await startServer(hashOptions(asked));
    const add = async (name: string, cost: typeof asked) => {
      const hash = await new PasswordHasher(cost).hash(PASSWORD);
      await server.store?.change((draft) => addUser(draft, name, hash, new Date()));
    };
    await add("weak", { memoryKib: 16, time: 1 });
    await add("strong", { memoryKib: 64, time: 3 });
    await add("same", asked);
    await server.store?.change((draft) => addUser(draft, "many", FOREIGN["four lanes"], new Date()));
    const hashOf = (name: string) => server.store?.document.users.get(name)?.password ?? "";
    const same = hashOf("same");
    for (const name of ["weak", "strong", "many", "same"]) {
      const before = hashOf(name);
      using wrong = await server.peer();
      expect((await wrong.logIn(name, "wrong password"))["type"]).toBe("refused");
      expect(hashOf(name)).toBe(before);
      using peer = await server.peer();
      expect((await peer.logIn(name, PASSWORD))["type"]).toBe("welcome");
      await until(`the cost for ${name}`, { ...asked, lanes: 1 }, () => hashCost(hashOf(name)));
      using again = await server.peer();
      expect((await again.logIn(name, PASSWORD))["type"]).toBe("welcome");
    }
    expect(hashOf("same")).toBe(same);
  });

  test("a user whose hash cannot be used is refused as one with a wrong password, and the log says why", async () => {
    await using server = await startServer({ penalties: false });
    await server.store?.change((draft) => addUser(draft, "bob", BCRYPT, new Date()));
    using verify = spyOn(Bun.password, "verify");
    const refused = async (user: string) => {
      verify.mockClear();
      const before = server.events.length;
      using peer = await server.peer();
      const answer = await peer.logIn(user, "wrong password");
      const { fields } = await server.event("login-refused", before);
      const work = verify.mock.calls.map(([given, hash]) => [given, (hash as string).split("$").slice(0, 4)]);
      return { answer, work, reason: fields["reason"] };
    };
    const [ann, bob, nobody] = [await refused("ann"), await refused("bob"), await refused("nobody")];
    expect([bob.answer, bob.work]).toEqual([ann.answer, ann.work]);
    expect([bob.answer, bob.work]).toEqual([nobody.answer, nobody.work]);
    expect(ann.reason).toBe("wrong password or user for ann");
    expect(bob.reason).toBe(`cannot use the password hash of user bob: ${BCRYPT_FLAW}`);
    expect(nobody.reason).toBe("wrong password or user");
  });

  test("a right one after two wrong ones is let in", async () => {
    await using server = await startServer();
    using peer = await server.peer();
    expect((await peer.logIn("ann", "wrong"))["attempts_left"]).toBe(2);
    peer.json({ ...LOGIN, password: "" });
    expect((await peer.message())["attempts_left"]).toBe(1);
    peer.json(LOGIN);
    expect((await peer.message())["type"]).toBe("welcome");
  });

  test("checks no fourth guess, even of ten sent at once", async () => {
    await using server = await startServer();
    using peer = await server.peer();
    peer.raw(
      Buffer.concat(Array.from({ length: 10 }, () => frame(JSON.stringify({ ...LOGIN, password: "wrong" })))),
    );
    const types = (await peer.rest()).map(({ payload }) =>
      String((JSON.parse(payload.toString()) as { type: string }).type),
    );
    expect(types).toEqual(["hello", "refused", "refused", "refused", "error"]);
    expect(server.events.filter(({ event }) => event === "login-refused")).toHaveLength(3);
  });

  test("messages on the heels of the login are answered, in order", async () => {
    await using server = await startServer();
    using peer = await server.peer();
    const messages = Array.from({ length: 50 }, (_, index) => `message ${index}`);
    peer.raw(
      Buffer.concat([
        frame(JSON.stringify(LOGIN)),
        ...messages.map((text) => frame(text)),
        frame('{"type":"end"}', true),
      ]),
    );
    const [, welcome, ...rest] = await peer.rest();
    expect(JSON.parse(welcome!.payload.toString())).toMatchObject({ type: "welcome", control: true });
    expect(rest.slice(0, -1).map(({ payload }) => payload.toString())).toEqual(messages);
    expect(JSON.parse(rest.at(-1)!.payload.toString())).toMatchObject({ type: "bye", code: "done" });
  });

  test("a disabled account with the right password is told why, with a wrong one nothing", async () => {
    await using server = await startServer();
    await server.store?.change((draft) => disableUser(draft, "ann", "on holiday", new Date()));
    using wrong = await server.peer();
    expect((await wrong.logIn("ann", "wrong"))["code"]).toBe("bad_credentials");
    using right = await server.peer();
    expect(await right.logIn("ann", PASSWORD)).toEqual({
      type: "error",
      code: "disabled",
      message: "this account is disabled: on holiday",
    });
  });
});

describe("register", () => {
  const NEW = { type: "login", method: "register", user: "Боб", password: "battery staple" };

  test("creates an account that can log in, and refuses taken names and poor passwords", async () => {
    await using server = await startServer({ register: true });
    using peer = await server.peer();
    await peer.message();
    peer.json({ ...NEW, user: "ann" });
    expect((await peer.message())["code"]).toBe("name_taken");
    peer.json({ ...NEW, password: "short" });
    expect(await peer.message()).toMatchObject({
      code: "bad_password",
      message: "the password has 5 characters and needs at least 8",
    });
    peer.json(NEW);
    expect(await peer.message()).toMatchObject({ type: "welcome", user: "боб", known: false });
    using again = await server.peer();
    expect(await again.logIn("Боб", NEW.password)).toMatchObject({ type: "welcome", known: true });
  });

  test("is refused when the server does not allow it, and changes nothing", async () => {
    await using server = await startServer();
    const before = readFileSync(server.path);
    using peer = await server.peer();
    await peer.message();
    peer.json(NEW);
    expect((await peer.message())["code"]).toBe("not_allowed");
    expect(readFileSync(server.path).equals(before)).toBe(true);
  });
});

describe("token", () => {
  test("logs in with its proof alone, and is stored only as a digest", async () => {
    await using server = await startServer();
    using first = await server.peer();
    const welcome = await first.logIn("ann", PASSWORD);
    const file = readFileSync(server.path, "utf8");
    const token = String(welcome["token"]);
    expect(file).not.toContain(token.slice(14));
    expect(file).not.toContain(tokenOf(welcome).secret.toString());
    using second = await server.peer();
    const answer = await present(second, tokenOf(welcome));
    expect(answer).toMatchObject({ type: "welcome", user: "ann" });
    expect(answer["token"]).toBeUndefined();
  });

  test("says which server it is good for: the one whose hello says the same", async () => {
    await using server = await startServer();
    using first = await server.peer();
    const { server: name } = await first.logIn("ann", PASSWORD);
    expect(name).toMatch(/^[\w-]{16}$/);
    using second = await server.peer();
    expect((await second.message())["server"]).toBe(name);
    await using other = await startServer();
    using third = await other.peer();
    expect((await third.logIn("ann", PASSWORD))["server"]).not.toBe(name);
  });

  test("is used as long as its conversation goes on, which is no login", async () => {
    await using server = await startServer({ tokenTouchMs: 20 });
    using peer = await server.peer();
    const { id } = tokenOf(await peer.logIn("ann", PASSWORD));
    const used = () => server.store?.document.tokens.get(id)?.used ?? "";
    const login = server.store?.document.users.get("ann")?.last_login;
    const before = used();
    await until("the token was used", true, () => used() > before);
    expect(server.store?.document.users.get("ann")?.last_login).toBe(login);
  });

  test("a recorded proof is worth nothing on another connection", async () => {
    await using server = await startServer();
    using first = await server.peer();
    const { id, secret } = tokenOf(await first.logIn("ann", PASSWORD));
    using second = await server.peer();
    const nonce = Buffer.from(String((await second.message())["nonce"]), "base64");
    const login = {
      type: "login",
      method: "token",
      id,
      proof: proveToken(secret, TOKEN_LABEL, nonce, new Uint8Array(0)).toString("base64"),
    };
    second.json(login);
    expect((await second.message())["type"]).toBe("welcome");
    using third = await server.peer();
    await third.message();
    third.json(login);
    expect((await third.message())["code"]).toBe("token_refused");
  });

  test("nothing in the user file can be used as a secret", async () => {
    await using server = await startServer();
    using first = await server.peer();
    const { id } = tokenOf(await first.logIn("ann", PASSWORD));
    const key = server.store?.document.tokens.get(id)?.key ?? "";
    using second = await server.peer();
    expect((await present(second, { id, secret: Buffer.from(key, "base64") }))["code"]).toBe("token_refused");
  });

  test("lets its address in while strangers have every place, also after a wrong password", async () => {
    await using server = await startServer({ maxPending: { start: 1, rate: 100, full: 1 } });
    using first = await server.peer();
    const { id, secret } = tokenOf(await first.logIn("ann", PASSWORD));
    using second = await server.peer();
    const nonce = Buffer.from(String((await second.message())["nonce"]), "base64");
    second.json({ ...LOGIN, password: "wrong password" });
    expect((await second.message())["type"]).toBe("refused");
    const proof = proveToken(secret, TOKEN_LABEL, nonce, new Uint8Array(0)).toString("base64");
    second.json({ type: "login", method: "token", id, proof });
    expect((await second.message())["type"]).toBe("welcome");

    const stranger = await attack(server.port, "127.0.0.2");
    await stranger.greeted;
    using third = await server.peer();
    expect((await present(third, { id, secret }))["type"]).toBe("welcome");
    stranger.socket.destroy();
  });

  test("is issued to nobody who does not want one", async () => {
    await using server = await startServer();
    using peer = await server.peer();
    expect((await peer.logIn("ann", PASSWORD, { token: false }))["token"]).toBeUndefined();
    expect(server.store?.document.tokens.size).toBe(0);
  });

  const HOUR = 60 * 60 * 1000;
  const DAY = 24 * HOUR;
  const ago = (ms: number) => new Date(Date.now() - ms).toISOString();
  const ages: [string, Partial<Token>, string][] = [
    ["unused for a little under seven days is good", { used: ago(7 * DAY - HOUR) }, "welcome"],
    ["unused for seven days is dead", { used: ago(7 * DAY) }, "refused"],
    ["thirty days old is dead, however much it was used", { created: ago(30 * DAY) }, "refused"],
    ["past the end that it was given is dead", { expires: ago(0) }, "refused"],
  ];
  test.each(ages)("%s", async (_, change, type) => {
    await using server = await startServer();
    using first = await server.peer();
    const parts = tokenOf(await first.logIn("ann", PASSWORD));
    first.end();
    await first.closed;
    // Expired ones are swept with each change: make it old in the content that is in memory.
    const { tokens } = server.store!.document;
    tokens.set(parts.id, { ...tokens.get(parts.id)!, ...change });
    using second = await server.peer();
    expect((await present(second, parts))["type"]).toBe(type);
  });

  test("revoked by another process is refused at once", async () => {
    await using server = await startServer();
    using first = await server.peer();
    const parts = tokenOf(await first.logIn("ann", PASSWORD));
    await new FileStore(server.path).change((draft) => revokeTokens(draft, () => true));
    using second = await server.peer();
    expect((await present(second, parts))["code"]).toBe("token_refused");
  });

  test("logout ends it, and the conversations it began", async () => {
    await using server = await startServer();
    using first = await server.peer();
    const parts = tokenOf(await first.logIn("ann", PASSWORD, { control: true }));
    using second = await server.peer();
    expect((await present(second, parts, { logout: true }))["type"]).toBe("welcome");
    expect(await second.message()).toMatchObject({ type: "bye", code: "revoked" });
    expect(await first.message()).toMatchObject({ type: "bye", code: "revoked" });
    using third = await server.peer();
    expect((await present(third, parts))["code"]).toBe("token_refused");
  });

  test("logout without the proof ends nothing", async () => {
    await using server = await startServer({ penalties: false });
    using first = await server.peer();
    const parts = tokenOf(await first.logIn("ann", PASSWORD, { control: true }));
    using second = await server.peer();
    const guess = { id: parts.id, secret: new Uint8Array(32) };
    expect((await present(second, guess, { logout: true }))["code"]).toBe("token_refused");
    using third = await server.peer();
    expect((await present(third, parts))["type"]).toBe("welcome");
    first.send("still here");
    expect(await first.text()).toBe("still here");
  });

  test("one that is over as it begins opens no service", async () => {
    const calls: string[] = [];
    const service: Service = {
      open: () => void calls.push("open"),
      message: () => undefined,
      close: () => void calls.push("close"),
    };
    await using server = await startServer({ service });
    using first = await server.peer();
    const parts = tokenOf(await first.logIn("ann", PASSWORD));
    first.end();
    await first.closed;
    await server.event("disconnected");
    expect(calls).toEqual(["open", "close"]);
    using second = await server.peer();
    await present(second, parts, { logout: true });
    expect(await second.message()).toMatchObject({ type: "bye", code: "revoked" });
    second.end();
    await second.closed;
    expect(calls).toEqual(["open", "close"]);
  });
});

describe("a credential that ends takes its conversations with it", () => {
  const ends: [
    string,
    string,
    Parameters<NonNullable<Awaited<ReturnType<typeof startServer>>["store"]>["change"]>[0],
  ][] = [
    ["a removed user", "revoked", (draft) => removeUser(draft, "ann")],
    ["a disabled user", "disabled", (draft) => disableUser(draft, "ann", undefined, new Date())],
    ["a new password", "revoked", (draft) => setPassword(draft, "ann", "$argon2id$", false, new Date())],
    ["a revoked token", "revoked", (draft) => revokeTokens(draft, () => true)],
  ];
  test.each(ends)("%s: bye says %s", async (_, code, change) => {
    await using server = await startServer();
    using peer = await server.peer();
    await peer.logIn("ann", PASSWORD, { control: true });
    await server.store?.change(change);
    expect(await peer.message()).toMatchObject({ type: "bye", code });
    expect(await peer.frame()).toBeNull();
  });

  test("but a password changed with its sessions kept does not", async () => {
    await using server = await startServer();
    using peer = await server.peer();
    await peer.logIn("ann", PASSWORD, { control: true });
    await server.store?.change((draft) => setPassword(draft, "ann", "$argon2id$", true, new Date()));
    peer.send("still here");
    expect(await peer.text()).toBe("still here");
  });
});

describe("ip", () => {
  test("asks an unknown address for its name and greets a known one by it", async () => {
    await using server = await startServer({ auth: "ip" });
    using stranger = await server.peer();
    expect((await stranger.message())["auth"]).toEqual(["name"]);
    stranger.json({ type: "login", method: "name", user: "bad name" });
    expect((await stranger.message())["code"]).toBe("bad_name");
    stranger.json({ type: "login", method: "name", user: "Ann" });
    expect(await stranger.message()).toMatchObject({ type: "welcome", user: "Ann", known: false });
    using friend = await server.peer();
    expect(await friend.message()).toMatchObject({ auth: ["ip"], user: "Ann" });
    friend.json({ type: "login", method: "ip" });
    expect(await friend.message()).toMatchObject({ type: "welcome", user: "Ann", known: true });
    expect(JSON.parse(readFileSync(server.path, "utf8"))).toMatchObject({
      hosts: { "127.0.0.1": { name: "Ann" } },
    });
  });
});

test("the limit before login holds whatever messages may be long later", async () => {
  await using server = await startServer({ maxFrame: 64 * 1024 * 1024 });
  using fits = await server.peer();
  await fits.message();
  fits.send(JSON.stringify({ ...LOGIN, filler: "" }).padEnd(4096));
  expect((await fits.message())["type"]).toBe("welcome");
  using over = await server.peer();
  await over.message();
  over.raw(Buffer.from("00001001", "hex"));
  expect(await over.message()).toMatchObject({
    code: "bad_length",
    message: "frame of 4097 bytes is over the limit of 4096",
  });
});

describe("a login that is none", () => {
  const messages: [string, Buffer, string][] = [
    ["not JSON", frame("hello?"), "bad_message"],
    ["a Python pickle", frame(Buffer.from("80049503", "hex")), "bad_message"],
    ["not a login", frame('{"type":"hello"}'), "bad_message"],
    ["an unknown method", frame('{"type":"login","method":"magic"}'), "bad_message"],
    ["an empty frame", frame(""), "bad_message"],
    ["over the limit before login", Buffer.from("00001001", "hex"), "bad_length"],
    ["a control frame before welcome", frame('{"type":"end"}', true), "bad_length"],
    ["no length at all", Buffer.from("fffffffe", "hex"), "bad_length"],
    ["HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n"), "bad_length"],
  ];
  test.each(messages)("%s: an error that arrives, and the end", async (_, bytes, code) => {
    await using server = await startServer();
    using peer = await server.peer();
    await peer.message();
    peer.raw(bytes);
    expect(await peer.message()).toMatchObject({ type: "error", code });
    expect(await peer.frame()).toBeNull();
    peer.end();
    expect(await peer.closed).toBe(false);
  });

  test("one that never comes is timed out, however the bytes drip", async () => {
    await using server = await startServer({ loginTimeoutMs: 300 });
    using silent = await server.peer();
    using dripping = await server.peer();
    dripping.raw(Buffer.from("0000", "hex"));
    for (const peer of [silent, dripping]) {
      await peer.message();
      expect(await peer.message()).toEqual({
        type: "error",
        code: "timeout",
        message: "no login within 300 ms",
      });
      expect(await peer.frame()).toBeNull();
    }
  });
});
