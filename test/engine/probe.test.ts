// Why an engine cannot be reached: the word for each fault, with the flag that mends it, from real servers where Redis has the fault.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createServer, type AddressInfo, type Socket } from "node:net";
import type { EngineError } from "../../src/engine/engine-error.ts";
import { EngineLink } from "../../src/engine/link.ts";
import { examine } from "../../src/engine/probe.ts";
import { parseStoreUrl, type EngineAccess } from "../../src/engine/store-url.ts";
import { authority, type Authority } from "../support/certificates.ts";
import { lacksTools } from "../support/privileges.ts";
import { startRedis, startSentinel, type TestRedis } from "../support/redis.ts";

type Keys = Omit<EngineAccess, "target">;

async function why(url: string, keys: Keys = {}): Promise<EngineError> {
  const target = parseStoreUrl(url);
  if (target.at.kind === "sentinel") throw new Error("not an address");
  const flaw = await examine({ target, ...keys }, target.at);
  if (flaw === undefined) throw new Error(`${url} can be used`);
  return flaw;
}

/** Checks the error's code, a part of its message and of its hint, and that it comes within 2 s, also from a link. */
async function check(
  url: string,
  keys: Keys,
  code: EngineError["code"],
  message: string,
  hint: string,
): Promise<void> {
  const error = await why(url, keys);
  expect({ code: error.code, message: error.message, hint: error.hint ?? "" }).toEqual({
    code,
    message: expect.stringContaining(message),
    hint: expect.stringContaining(hint),
  });
  if (keys.password !== undefined) expect(`${error.message} ${error.hint}`).not.toContain(keys.password);
  const link = new EngineLink({
    access: { target: parseStoreUrl(url), ...keys },
    scripts: ["return 1"],
    serve: async (session) => void (await session.ended),
  });
  const atLink = await link.connect(300).catch((reason: unknown) => reason);
  await link.close();
  expect(atLink).toMatchObject({ code: error.code, message: error.message });
}

/** Listens on a free port, and greets each connection. */
async function listen(greet: (socket: Socket) => void): Promise<Disposable & { url: string }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => undefined));
    greet(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.dispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

describe("an engine that is none", () => {
  test("where nobody listens", async () => {
    const gone = await listen(() => undefined);
    gone[Symbol.dispose]();
    await check(gone.url, {}, "unreachable", "connection refused", "--store");
    await check("redis+unix:///nonexistent/redis.sock", {}, "unreachable", "no such socket", "--store");
  });

  test("whose host has no address", async () => {
    await check("redis://name.invalid", {}, "unreachable", "name.invalid:6379: unknown host", "--store");
  });

  test("that is another server", async () => {
    using http = await listen((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    await check(http.url, {}, "refused", "is not a Redis or Valkey server", "--store");
    await check(
      http.url.replace("redis", "rediss"),
      {},
      "refused",
      "cannot establish TLS with",
      "--store-cert",
    );
    using endless = await listen((socket) => socket.write(`+${"x".repeat(1 << 20)}`));
    await check(endless.url, {}, "refused", "is not a Redis or Valkey server", "--store");
  });

  test("that says nothing, or closes each connection", async () => {
    using silent = await listen(() => undefined);
    await check(silent.url, {}, "unreachable", "does not answer", "stopped");
    using closing = await listen((socket) => socket.destroy());
    await check(closing.url, {}, "unreachable", "closes the connection", "--store");
  });

  test("that is in protected mode, or is full", async () => {
    using guarded = await listen((socket) => socket.end("-DENIED Redis is running in protected mode\r\n"));
    await check(guarded.url, {}, "refused", "is in protected mode", "--store-password-file");
    using full = await listen((socket) => socket.end("-ERR max number of clients reached\r\n"));
    await check(full.url, {}, "unreachable", "no room for another connection", "maxclients");
  });

  test("that closes in the middle of an answer, or has another greeting", async () => {
    using cutting = await listen((socket) => socket.end("$10\r\nhal"));
    await check(cutting.url, {}, "unreachable", "closes the connection", "--store");
    using odd = await listen((socket) =>
      socket.on("data", () => socket.write("*2\r\n$4\r\nmode\r\n$3\r\nodd\r\n")),
    );
    expect((await why(odd.url)).message).toContain("does not say that it is a primary");
  });

  test("answers with text that acts on a terminal", async () => {
    using hostile = await listen((socket) => socket.write("-ODD \u001b[31m\u202e\r\n"));
    await check(hostile.url, {}, "refused", "answers to HELLO: ODD ^[[31m\\u{202e}", "");
  });
});

describe.skipIf(lacksTools("redis-server"))("an engine", () => {
  let redis: TestRedis;
  let open: TestRedis;
  beforeAll(async () => {
    redis = await startRedis({
      password: "correct-horse",
      acl: [
        "user limited on >battery-staple ~* +@all -select -ping -script",
        "user off off >battery-staple ~* +@all",
      ],
    });
    open = await startRedis();
  });
  afterAll(async () => {
    await redis[Symbol.asyncDispose]();
    await open[Symbol.asyncDispose]();
  });

  const at = (user: string, rest = "") => `redis://${user}@127.0.0.1:${redis.port}${rest}`;

  test("that can be used has no flaw", async () => {
    const target = parseStoreUrl(`${open.url}/3`);
    expect(await examine({ target }, { kind: "tcp", host: "127.0.0.1", port: open.port })).toBeUndefined();
  });

  test("requires a password, or another one", async () => {
    await check(redis.url, {}, "refused", "requires a password", "--store-password-file");
    await check(at("limited"), {}, "refused", "requires the password of its user", "--store-password-file");
    const wrong = ["refused", "wrong user or password", "--store-password-file"] as const;
    await check(redis.url, { password: "wrong-pony" }, ...wrong);
    await check(at("limited"), { password: "correct-horse" }, ...wrong);
    await check(at("absent"), { password: "correct-horse" }, ...wrong);
    await check(at("off"), { password: "battery-staple" }, ...wrong);
    await check(`redis+unix://${redis.socket}`, { password: "wrong-pony" }, ...wrong);
  });

  test("does not allow the user what is needed", async () => {
    const access = { password: "battery-staple" };
    await check(at("limited", "/3"), access, "refused", "answers to SELECT: NOPERM", "docs/operating.md");
    const target = parseStoreUrl(at("limited"));
    expect(
      await examine({ target, ...access }, { kind: "tcp", host: "127.0.0.1", port: redis.port }),
    ).toBeUndefined();
    const link = new EngineLink({
      access: { target, ...access },
      scripts: ["return 1"],
      serve: async () => undefined,
    });
    const error = (await link.connect(1000).catch((reason: unknown) => reason)) as EngineError;
    await link.close();
    expect([error.code, error.message]).toEqual([
      "refused",
      expect.stringContaining("answers to SCRIPT: NOPERM"),
    ]);
  });

  test("has no such database", async () => {
    await check(`${open.url}/16`, {}, "refused", "has no database 16", "--store");
  });

  test("is frozen", async () => {
    await using frozen = await startRedis();
    frozen.freeze();
    await check(frozen.url, {}, "unreachable", "does not answer", "stopped");
    frozen.thaw();
  });

  test("is loading its data", async () => {
    // Each key of 100 takes 60 ms, and it answers between them.
    await using loading = await startRedis({ appendonly: true, config: ["enable-debug-command yes"] });
    await loading.command("DEBUG", "POPULATE", "100", "row", "100000");
    await loading.command("BGREWRITEAOF");
    while (!String(await loading.command("INFO", "persistence")).includes("aof_rewrite_in_progress:0"))
      await Bun.sleep(5);
    await loading.kill();
    await loading.restart({
      config: ["key-load-delay 60000", "loading-process-events-interval-bytes 1024"],
      loading: true,
    });
    await check(loading.url, {}, "unreachable", "is still loading its data", "");
  });

  test("is a replica, or a sentinel", async () => {
    await using replica = await startRedis({ config: [`replicaof 127.0.0.1 ${open.port}`] });
    await check(replica.url, {}, "unreachable", "is a replica", "redis+sentinel://");
    await using sentinel = await startSentinel({ port: open.port });
    await check(sentinel.url, {}, "refused", "is a sentinel", "redis+sentinel://");
  });
});

describe.skipIf(lacksTools("redis-server"))("an engine with TLS", () => {
  let ca: Authority;
  let redis: TestRedis;
  let strict: TestRedis;
  const tls = async (from: Authority, requiresClient = false) => ({
    ...(await from.issue("127.0.0.1")),
    ca: from.pem,
    requiresClient,
  });
  beforeAll(async () => {
    ca = await authority();
    redis = await startRedis({ tls: await tls(ca) });
    strict = await startRedis({ tls: await tls(ca, true) });
  });
  afterAll(async () => {
    await redis[Symbol.asyncDispose]();
    await strict[Symbol.asyncDispose]();
  });

  test("has a certificate that the given authorities have not signed", async () => {
    const other = await authority("another authority");
    await check(
      redis.url,
      { ca: other.pem },
      "refused",
      "no authority in --store-ca signed it",
      "--store-ca",
    );
    await check(redis.url, {}, "refused", "no authority of this system signed it", "--store-ca");
  });

  test("has a certificate for another name", async () => {
    const url = redis.url.replace("127.0.0.1", "localhost");
    await check(url, { ca: ca.pem }, "refused", "it is not valid for localhost", "--store");
  });

  test("has a certificate of another time", async () => {
    const day = 86_400_000;
    const dates = (from: number, to: number) => ({
      from: new Date(Date.now() + from),
      to: new Date(Date.now() + to),
    });
    const server = { ca: ca.pem };
    await using old = await startRedis({
      tls: { ...(await ca.issueFor(dates(-9 * day, -day), "127.0.0.1")), ...server },
    });
    await check(old.url, server, "refused", "it expired on", "clock");
    await using early = await startRedis({
      tls: { ...(await ca.issueFor(dates(day, 9 * day), "127.0.0.1")), ...server },
    });
    await check(early.url, server, "refused", "it is not valid before", "clock");
    const dead = await authority("an old authority", dates(-9 * day, -day));
    await using orphan = await startRedis({ tls: await tls(dead) });
    await check(orphan.url, { ca: dead.pem }, "refused", "one of its authorities is not valid", "--store-ca");
  });

  test("requires a client certificate, or another one", async () => {
    await check(strict.url, { ca: ca.pem }, "refused", "requires a client certificate", "--store-cert");
    const { certificate: cert, key } = await (await authority("another authority")).issueClient();
    await check(
      strict.url,
      { ca: ca.pem, cert, key },
      "refused",
      "refuses the client certificate",
      "--store-cert",
    );
    const mine = await ca.issueClient();
    const other = await ca.issueClient();
    const mixed = { ca: ca.pem, cert: mine.certificate, key: other.key };
    await check(strict.url, mixed, "refused", "cannot be used", "--store-key");
    await check(strict.url, { ca: "nonsense" }, "refused", "cannot be used", "--store-ca");
  });

  test("is addressed without TLS, and one without TLS with it", async () => {
    await check(redis.url.replace("rediss", "redis"), {}, "refused", "requires TLS", "rediss://");
    await check(strict.url.replace("rediss", "redis"), {}, "refused", "requires TLS", "rediss://");
    await using plain = await startRedis({ password: "correct-horse" });
    const url = plain.url.replace("redis", "rediss");
    await check(url, { ca: ca.pem, password: "correct-horse" }, "refused", "does not speak TLS", "redis://");
  });
});
