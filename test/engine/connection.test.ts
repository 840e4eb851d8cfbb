// One connection to a real Redis server: commands, error replies, silence, and every kind of end.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EngineConnection } from "../../src/engine/connection.ts";
import { EngineError } from "../../src/engine/engine-error.ts";
import { ReplyError } from "../../src/engine/reply-error.ts";
import { parseStoreUrl, type EngineAccess } from "../../src/engine/store-url.ts";
import { authority } from "../support/certificates.ts";
import { lacksTools } from "../support/privileges.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";

/** Opens a connection to the address in `url`. */
async function open(url: string, more: Omit<EngineAccess, "target"> = {}): Promise<EngineConnection> {
  const target = parseStoreUrl(url);
  if (target.at.kind === "sentinel") throw new Error("not an address");
  return await EngineConnection.open({ target, ...more }, target.at);
}

/** The error that `promise` rejects with. */
async function failure(promise: Promise<unknown>): Promise<EngineError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof EngineError) return error;
  throw error ?? new Error("no error");
}

describe.skipIf(lacksTools("redis-server"))("a connection to an engine", () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis({
      acl: [
        "user p@rley on >ge:h/e#m% ~parley:* resetchannels -@all +hello +select +acl|whoami +client|info",
      ],
    });
  });
  afterAll(() => redis[Symbol.asyncDispose]());

  test("has the shapes of RESP3, and text in UTF-8", async () => {
    const connection = await open(redis.url);
    expect(await connection.send("SET", ["name", "zwölf \u{1f600}"])).toBe("OK");
    expect(await connection.send("GET", ["name"])).toBe("zwölf \u{1f600}");
    expect(await connection.send("GET", ["none"])).toBeNull();
    await connection.send("HSET", ["h", "a", "1", "b", "2"]);
    expect(await connection.send("HGETALL", ["h"])).toEqual({ a: "1", b: "2" });
    await connection.send("XADD", ["s", "1-1", "f", "v"]);
    expect(await connection.send("XREAD", ["STREAMS", "s", "0"])).toEqual({ s: [["1-1", ["f", "v"]]] });
    expect(await connection.send("XREAD", ["BLOCK", "1", "STREAMS", "s", "$"])).toBeNull();
    await connection.send("SET", ["bytes", Buffer.from([0xff, 0, 13, 10])]);
    expect(await connection.send("STRLEN", ["bytes"])).toBe(4);
    connection.close();
  });

  test("logs in as a user with any password, and selects the database", async () => {
    for (const url of [
      `redis://p%40rley@127.0.0.1:${redis.port}/5`,
      `redis+unix://p%40rley@${redis.socket}?db=5`,
    ]) {
      const connection = await open(url, { password: "ge:h/e#m%" });
      expect(await connection.send("ACL", ["WHOAMI"])).toBe("p@rley");
      expect(await connection.send("CLIENT", ["INFO"])).toContain(" db=5 ");
      connection.close();
    }
  });

  test("has no session for a wrong password or database", async () => {
    expect((await failure(open(redis.url, { password: "x" }).then((one) => one.send("NO", [])))).code).toBe(
      "refused",
    );
    const wrong = await failure(open(`redis://p%40rley@127.0.0.1:${redis.port}`, { password: "x" }));
    expect([wrong.code, wrong.message]).toEqual([
      "unreachable",
      `cannot connect to the store at 127.0.0.1:${redis.port}`,
    ]);
    const database = await failure(open(`${redis.url}/99`));
    expect(database.message).toContain("answers to SELECT: ERR DB index is out of range");
  });

  test("says what the engine answers, and goes on", async () => {
    const connection = await open(redis.url);
    await connection.send("SET", ["text", "x"]);
    const wrongType = await failure(connection.send("HGET", ["text", "x"]));
    expect([wrongType.code, wrongType.hint]).toEqual(["refused", expect.stringContaining("--store-name")]);
    const unknown = await failure(connection.send("NONSENSE", []));
    expect([unknown.code, unknown.hint]).toEqual(["refused", "use Redis 7 or later, or Valkey"]);
    const hostile = await failure(connection.send("EVAL", [String.raw`return {err='OOM \27[31m red'}`, "0"]));
    expect(hostile.message).toEndWith("answers to EVAL: OOM ^[[31m red");
    expect(hostile.code).toBe("refused");
    expect(hostile).toBeInstanceOf(ReplyError);
    expect((hostile as ReplyError).word).toBe("OOM");
    expect(await connection.send("PING", [])).toBe("PONG");
    connection.close();
  });

  test.each(["BUSY", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS"])(
    "takes %s for passing, and goes on",
    async (word) => {
      const connection = await open(redis.url);
      const error = await failure(connection.send("EVAL", [`return {err='${word} wait'}`, "0"]));
      expect(error.code).toBe("unreachable");
      expect(await connection.send("PING", [])).toBe("PONG");
      connection.close();
    },
  );

  test.each(["LOADING", "READONLY", "MASTERDOWN", "UNBLOCKED"])(
    "ends with %s, since another engine may serve",
    async (word) => {
      const connection = await open(redis.url);
      const error = await failure(connection.send("EVAL", [`return {err='${word} not here'}`, "0"]));
      expect(error.code).toBe("unreachable");
      expect(await connection.closed).toBe(error);
      expect(await failure(connection.send("PING", []))).toBe(error);
    },
  );

  test("is closed by the engine: the command in flight and every later one says so", async () => {
    const connection = await open(redis.url);
    const blocked = failure(connection.send("BLPOP", ["none", "0"], 30_000));
    expect(await redis.killClients()).toBeGreaterThan(0);
    const error = await blocked;
    expect([error.code, error.message]).toEqual([
      "unreachable",
      `the store at 127.0.0.1:${redis.port} closed the connection`,
    ]);
    expect(await connection.closed).toBe(error);
    expect(await failure(connection.send("PING", []))).toBe(error);
  });

  test("is closed here: commands in flight are rejected, with the reason", async () => {
    const connection = await open(redis.url);
    const blocked = failure(connection.send("BLPOP", ["none", "0"], 30_000));
    const reason = new EngineError("unreachable", "enough");
    connection.close(reason);
    connection.close();
    expect(await blocked).toBe(reason);
    expect(await connection.closed).toBe(reason);
  });

  test("a fault of the caller is passed on, and closes nothing", async () => {
    const connection = await open(redis.url);
    const wrong = connection.send("SET", [undefined as unknown as string, "x"]);
    expect(await wrong.catch((error: unknown) => error)).toBeInstanceOf(TypeError);
    expect(await connection.send("PING", [])).toBe("PONG");
    connection.close();
  });
});

describe.skipIf(lacksTools("redis-server"))("a connection to an engine that is frozen", () => {
  test("is closed when a command has no answer in time", async () => {
    await using redis = await startRedis();
    const connection = await open(redis.url);
    redis.freeze();
    const others = [
      failure(connection.send("PING", [], 60_000)),
      failure(connection.send("PING", [], 60_000)),
    ];
    const error = await failure(connection.send("GET", ["x"], 30));
    expect(error.message).toBe(`the store at 127.0.0.1:${redis.port} has not answered to GET within 30 ms`);
    expect(await Promise.all(others)).toEqual([error, error]);
    expect(await connection.closed).toBe(error);
    redis.thaw();
  });

  test("is not opened, and not awaited once it is not wanted", async () => {
    await using redis = await startRedis();
    redis.freeze();
    const target = parseStoreUrl(redis.url);
    const wanted = new AbortController();
    const opening = failure(
      EngineConnection.open({ target }, { kind: "tcp", host: "127.0.0.1", port: redis.port }, wanted.signal),
    );
    wanted.abort();
    expect((await opening).message).toContain("was closed");
    const silent = await failure(open(redis.url));
    expect(silent.message).toBe(`cannot connect to the store at 127.0.0.1:${redis.port}`);
    redis.thaw();
  });

  test("keeps a command whose answer came while this process was held up", async () => {
    await using redis = await startRedis();
    const connection = await open(redis.url);
    await connection.send("PING", []);
    const answer = connection.send("PING", [], 20);
    await new Promise((resolve) => setTimeout(resolve, 1)); // it is sent
    Bun.sleepSync(200);
    expect(await answer).toBe("PONG");
    connection.close();
  });
});

describe.skipIf(lacksTools("redis-server"))("a connection to an engine with TLS", () => {
  test("trusts the given authority, and shows the client's certificate", async () => {
    const ca = await authority();
    const server = await ca.issue("127.0.0.1");
    const client = await ca.issueClient();
    await using redis = await startRedis({ tls: { ...server, ca: ca.pem, requiresClient: true } });
    const connection = await open(redis.url, { ca: ca.pem, cert: client.certificate, key: client.key });
    expect(await connection.send("PING", [])).toBe("PONG");
    connection.close();
    const other = await authority();
    for (const access of [
      { ca: ca.pem },
      { ca: other.pem, cert: client.certificate, key: client.key },
      { cert: client.certificate, key: client.key },
      { ca: "nonsense", cert: client.certificate, key: client.key },
    ])
      expect((await failure(open(redis.url, access))).message).toStartWith("cannot connect to");
    const byName = redis.url.replace("127.0.0.1", "localhost");
    expect(
      (await failure(open(byName, { ca: ca.pem, cert: client.certificate, key: client.key }))).code,
    ).toBe("unreachable");
  });
});
