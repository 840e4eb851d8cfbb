// Sentinels say where the engine is: in turn, at each connection, with and without a password, and after a failover.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createServer, type AddressInfo } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import type { EngineError } from "../../src/engine/engine-error.ts";
import { EngineLink, type EngineSession } from "../../src/engine/link.ts";
import { locate } from "../../src/engine/sentinel.ts";
import { parseStoreUrl, type EngineAccess } from "../../src/engine/store-url.ts";
import { authority } from "../support/certificates.ts";
import { lacksTools } from "../support/privileges.ts";
import { startRedis, startSentinel, type TestRedis } from "../support/redis.ts";

const at = (ports: number[], master = "parley") =>
  parseStoreUrl(`redis+sentinel://${ports.map((port) => `127.0.0.1:${port}`).join(",")}/${master}`);

/** The message of the error that says why no sentinel names the engine. */
const whyNot = (access: EngineAccess): Promise<string> =>
  locate(access).then(String, ({ message }: Error) => message);

describe.skipIf(lacksTools("redis-server"))("sentinels", () => {
  let redis: TestRedis;
  let sentinel: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
    sentinel = await startSentinel({ port: redis.port });
  });
  afterAll(async () => {
    await sentinel[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });

  test("are asked until one says it", async () => {
    const frozen = await startSentinel({ port: redis.port });
    frozen.freeze();
    const address = await locate({ target: at([1, frozen.port, sentinel.port]) });
    expect(address).toEqual({ kind: "tcp", host: "127.0.0.1", port: redis.port });
    frozen.thaw();
    await frozen[Symbol.asyncDispose]();
  });

  test("get a password only when they require one", async () => {
    await using guarded = await startSentinel({
      port: redis.port,
      config: ["requirepass s3cret"],
      login: ["AUTH", "s3cret"],
    });
    const address = { kind: "tcp", host: "127.0.0.1", port: redis.port };
    expect(await locate({ target: at([guarded.port]), password: "s3cret" })).toEqual(address as never);
    expect(await locate({ target: at([sentinel.port]), password: "s3cret" })).toEqual(address as never);
    expect(await whyNot({ target: at([guarded.port]) })).toContain(
      `the sentinel at 127.0.0.1:${guarded.port} requires a password`,
    );
    expect(await whyNot({ target: at([guarded.port]), password: "other" })).toContain(
      "wrong user or password",
    );
    using spy = await answering(() => "*2\r\n$4\r\nhost\r\n$4\r\n7000\r\n");
    const target = at([spy.port]);
    expect(await locate({ target, password: "s3cret" })).toEqual({ kind: "tcp", host: "host", port: 7000 });
    expect(spy.received.join("")).not.toContain("s3cret");
  });

  test.each([
    ["*2\r\n$9\r\nho st\u001b[31\r\n$4\r\n7000\r\n", "answers without an address"],
    ["*2\r\n$4\r\nhost\r\n$5\r\n99999\r\n", "answers without an address"],
    ["*0\r\n", "answers without an address"],
    ["+OK\r\n", "knows no master parley"],
    ["HTTP/1.1 400\r\n", "is not a Redis or Valkey server"],
  ])("that answer %j name no engine", async (answer, message) => {
    using odd = await answering(() => answer);
    expect(await whyNot({ target: at([odd.port]) })).toContain(message);
  });

  test("are asked over TLS, with the same certificates", async () => {
    const ca = await authority();
    const { key, certificate: cert } = await ca.issue("127.0.0.1");
    const mine = await ca.issueClient();
    const server = createTlsServer(
      { key, cert, ca: ca.pem, requestCert: true, rejectUnauthorized: true },
      (socket) =>
        socket
          .on("error", () => undefined)
          .on("data", () => socket.write("*2\r\n$4\r\nhost\r\n$4\r\n7000\r\n")),
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const target = parseStoreUrl(
      `rediss+sentinel://127.0.0.1:${(server.address() as AddressInfo).port}/parley`,
    );
    const access = { target, ca: ca.pem, cert: mine.certificate, key: mine.key };
    expect(await locate(access)).toEqual({ kind: "tcp", host: "host", port: 7000 });
    expect(await whyNot({ ...access, ca: (await authority("another authority")).pem })).toContain(
      "no authority in --store-ca",
    );
    expect(await whyNot({ target, ca: ca.pem })).toContain("requires a client certificate");
    server.close();
  });

  test("that know no such master, or are gone, are named", async () => {
    expect(await whyNot({ target: at([1, sentinel.port], "other") })).toContain(
      `the sentinel at 127.0.0.1:${sentinel.port} knows no master other`,
    );
    expect(await whyNot({ target: at([1, 2]) })).toContain("the sentinel at 127.0.0.1:1: connection refused");
  });

  test("lead to the new engine, though they name the old one for a while", async () => {
    await using first = await startRedis();
    await using second = await startRedis();
    let named = first.port;
    let questions = 0;
    const guide = await answering(() => {
      questions += 1;
      return `*2\r\n$9\r\n127.0.0.1\r\n$${String(named).length}\r\n${named}\r\n`;
    });
    const { promise: moved, resolve } = Promise.withResolvers<EngineSession>();
    const { promise: refusedAgain, resolve: noteStale } = Promise.withResolvers<string>();
    let sessions = 0;
    const link = new EngineLink({
      access: { target: at([guide.port]) },
      scripts: ["return 1"],
      serve: async (session) => {
        sessions += 1;
        if (sessions === 2) resolve(session);
        // A feed that blocks is freed by the engine when its role changes.
        while (session === link.session) await session.block("BLPOP", ["none", "0.1"]);
      },
      lost: ({ message }) => message.includes("is a replica") && noteStale(message),
    });
    const session = await link.connect(5000);
    await first.command("REPLICAOF", "127.0.0.1", String(second.port));
    expect(
      (await session.send("SET", ["a", "b"]).catch((error: unknown) => error)) as EngineError,
    ).toMatchObject({
      code: "unreachable",
    });
    expect((await session.ended).code).toBe("unreachable");
    expect(await refusedAgain).toBe(
      `the store at 127.0.0.1:${first.port} is a replica, which takes no changes`,
    );
    const before = questions;
    named = second.port;
    expect(await (await moved).send("SET", ["after", "failover"])).toBe("OK");
    expect(await second.command("GET", "after")).toBe("failover");
    expect(questions).toBeGreaterThan(before);
    await link.close();
    guide[Symbol.dispose]();
  });
});

/** A sentinel that gives one answer to everything. */
async function answering(answer: () => string): Promise<Disposable & { port: number; received: string[] }> {
  const received: string[] = [];
  const server = createServer((socket) =>
    socket
      .on("error", () => undefined)
      .on("data", (chunk) => {
        received.push(chunk.toString());
        socket.write(answer());
      }),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    received,
    [Symbol.dispose]: () => void server.close(),
  };
}
