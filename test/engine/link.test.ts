// The link to a real Redis server: sessions, every kind of their end, and the next one. `PARLEY_RECONNECTS` makes more of them.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { FEED_SILENCE_MS } from "../../src/base/limits.ts";
import { EngineError } from "../../src/engine/engine-error.ts";
import { EngineLink, type EngineLinkOptions, type EngineSession } from "../../src/engine/link.ts";
import { parseStoreUrl } from "../../src/engine/store-url.ts";
import { lacksTools } from "../support/privileges.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";

const RECONNECTS = Number(process.env.PARLEY_RECONNECTS ?? 30);
/** A session that lasted for so long has worked. */
const HELD_MS = 25;
const ECHO = "return {KEYS[1], ARGV[1]}";

/** A link with what happened to it. */
class TestLink implements AsyncDisposable {
  readonly sessions: EngineSession[] = [];
  readonly losses: EngineError[] = [];
  readonly link: EngineLink;
  readonly #awaited = new Map<number, (session: EngineSession) => void>();

  constructor(url: string, options: Partial<EngineLinkOptions> = {}) {
    const serve = options.serve ?? (async (session) => void (await session.ended));
    this.link = new EngineLink({
      access: { target: parseStoreUrl(url) },
      scripts: [ECHO],
      lost: (error) => void this.losses.push(error),
      ...options,
      serve: async (session) => {
        this.sessions.push(session);
        this.#awaited.get(this.sessions.length)?.(session);
        await serve(session);
      },
    });
  }

  /** The session with this number, from 1 on, once there is one. */
  async session(number: number): Promise<EngineSession> {
    this.link.start();
    return this.sessions[number - 1] ?? (await new Promise((resolve) => this.#awaited.set(number, resolve)));
  }

  get messages(): string[] {
    return this.losses.map(({ message }) => message);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.link.close();
  }
}

async function failure(promise: Promise<unknown>): Promise<EngineError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof EngineError) return error;
  throw error ?? new Error("no error");
}

/** How many clients the server has, without the test's own. */
async function clients(redis: TestRedis): Promise<number> {
  return (
    String(await redis.command("CLIENT", "LIST"))
      .trim()
      .split("\n").length - 1
  );
}

/** Resolves when the server has this number of clients. */
async function untilClients(redis: TestRedis, wanted: number): Promise<void> {
  while ((await clients(redis)) !== wanted) await Bun.sleep(2);
}

describe.skipIf(lacksTools("redis-server"))("a link to an engine", () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis[Symbol.asyncDispose]());

  test("has a session of two connections", async () => {
    await using one = new TestLink(redis.url);
    expect([one.link.state, one.link.session]).toEqual(["waiting", undefined]);
    const session = await one.link.connect(5000);
    expect([one.link.state, one.link.session, one.sessions]).toEqual(["established", session, [session]]);
    expect(await one.link.connect(5000)).toBe(session);
    expect(await clients(redis)).toBe(2);
    const blocked = session.block("BLPOP", ["list", "0.5"]);
    expect(await session.send("RPUSH", ["list", "x"])).toBe(1);
    expect(await blocked).toEqual(["list", "x"]);
    await one.link.close();
    await one.link.close();
    expect([one.link.state, one.link.session, one.losses]).toEqual(["closed", undefined, []]);
    await untilClients(redis, 0);
  });

  test("runs its scripts, also when the engine has forgotten them", async () => {
    await using one = new TestLink(redis.url);
    const session = await one.link.connect(5000);
    expect(await session.call(ECHO, ["k"], ["a"])).toEqual(["k", "a"]);
    await redis.command("SCRIPT", "FLUSH");
    const calls = ["b", "c"].map((word) => session.call(ECHO, ["k"], [word]));
    expect(await Promise.all(calls)).toEqual([
      ["k", "b"],
      ["k", "c"],
    ]);
    const other = session.call("return 2", [], []);
    expect(await other.catch((error: unknown) => error)).toBeInstanceOf(TypeError);
  });

  test("loses both connections when one is lost, and has a new session", async () => {
    await using one = new TestLink(redis.url);
    for (const [index, kind] of ["commands", "feed"].entries()) {
      const number = index + 1;
      const session = await one.session(number);
      const commands = await session.send("CLIENT", ["ID"]);
      const feed = await session.block("CLIENT", ["ID"]);
      const pending = [
        failure(session.send("BLPOP", ["none", "0"], 30_000)),
        failure(session.block("BLPOP", ["none", "0"])),
      ];
      await redis.command("CLIENT", "KILL", "ID", String(kind === "feed" ? feed : commands));
      const reason = await session.ended;
      expect(reason.message).toBe(`the store at 127.0.0.1:${redis.port} closed the connection`);
      expect(await Promise.all(pending)).toEqual([reason, reason]);
      expect(await failure(session.send("PING", []))).toBe(reason);
      expect(await failure(session.block("PING", []))).toBe(reason);
      expect(await (await one.session(number + 1)).send("PING", [])).toBe("PONG");
      expect(one.losses.at(-1)).toBe(reason);
    }
    await untilClients(redis, 2);
  });

  test(`leaves nothing behind after ${RECONNECTS} losses`, async () => {
    await using one = new TestLink(redis.url);
    const descriptors = () => readdirSync("/proc/self/fd").length;
    await one.session(1);
    const before = descriptors();
    for (let number = 1; number <= RECONNECTS; number++) {
      const session = await one.session(number);
      await session.call(ECHO, ["k"], ["a"]);
      await Bun.sleep(HELD_MS);
      await redis.killClients();
      await session.ended;
    }
    await one.session(RECONNECTS + 1);
    await untilClients(redis, 2);
    expect(descriptors()).toBeLessThanOrEqual(before + 2); // an examination may be under way
    expect(one.sessions).toHaveLength(RECONNECTS + 1);
  });

  test("ends a session whose service returns or throws, says why, and pauses between", async () => {
    const started: number[] = [];
    const damaged = new EngineError("damaged", "record u:alice is damaged");
    await using one = new TestLink(redis.url, {
      serve: async (session) => {
        started.push(performance.now());
        if (started.length === 1) return;
        if (started.length < 5) throw damaged;
        if (started.length === 5) throw new TypeError("a fault");
        await session.ended;
      },
    });
    await one.session(6);
    expect(one.messages[0]).toBe(`the session with the store ${redis.url} was ended`);
    expect(one.losses.slice(1, 4)).toEqual([damaged, damaged, damaged]); // each after a session
    expect(one.messages[4]).toContain("TypeError: a fault");
    expect(await one.sessions[1]?.ended).toBe(damaged);
    const pauses = started.slice(1).map((at, index) => at - (started[index] ?? 0));
    for (const [index, least] of [25, 50, 100, 200, 250].entries())
      expect(pauses[index]).toBeGreaterThanOrEqual(least - 1);
  });

  test("waits for the service of a session before the next one begins", async () => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    let serving = 0;
    let most = 0;
    await using one = new TestLink(redis.url, {
      serve: async (session) => {
        most = Math.max(most, ++serving);
        await session.ended;
        if (one.sessions.length === 1) await released;
        serving -= 1;
      },
    });
    const session = await one.session(1);
    await redis.killClients();
    await session.ended;
    await untilClients(redis, 0);
    release();
    await one.session(2);
    expect(most).toBe(1);
  });

  test("that is closed ends its session, and resolves when the service has settled", async () => {
    let hasSettled = false;
    await using one = new TestLink(redis.url, {
      serve: async (session) => {
        await session.send("BLPOP", ["none", "0"], 30_000).finally(() => (hasSettled = true));
      },
    });
    const session = await one.session(1);
    const closing = one.link.close();
    expect(one.link.session).toBeUndefined();
    await closing;
    expect(hasSettled).toBe(true);
    expect((await session.ended).message).toBe(`the link to the store ${redis.url} was closed`);
    expect(one.losses).toEqual([]);
  });
});

describe.skipIf(lacksTools("redis-server"))("a link to an engine that fails", () => {
  test("is back after a kill, with a word for each reason", async () => {
    await using redis = await startRedis({ appendonly: true });
    await using one = new TestLink(redis.url);
    const session = await one.session(1);
    await session.send("SET", ["kept", "yes"]);
    await redis.kill();
    await session.ended;
    expect(one.link.session).toBeUndefined();
    const refused = `cannot connect to the store at 127.0.0.1:${redis.port}: connection refused`;
    while (!one.messages.includes(refused)) await Bun.sleep(5);
    await redis.restart();
    expect(await (await one.session(2)).send("GET", ["kept"])).toBe("yes");
    expect(one.messages).toEqual([`the store at 127.0.0.1:${redis.port} closed the connection`, refused]);
    await redis.kill();
    await redis.restart({ empty: true });
    expect(await (await one.session(3)).send("GET", ["kept"])).toBeNull();
    expect(await (await one.session(3)).call(ECHO, ["k"], ["a"])).toEqual(["k", "a"]);
  });

  test("notices that it is frozen, and is back when it is not any more", async () => {
    await using redis = await startRedis();
    await using one = new TestLink(redis.url);
    const session = await one.session(1);
    await session.block("PING", []);
    redis.freeze();
    const since = performance.now();
    const blocked = await failure(session.block("XREAD", ["BLOCK", "300", "STREAMS", "log", "$"]));
    expect(performance.now() - since).toBeGreaterThanOrEqual(FEED_SILENCE_MS - 1);
    expect(blocked.message).toBe(
      `the store at 127.0.0.1:${redis.port} has not answered to XREAD within 800 ms`,
    );
    expect(await session.ended).toBe(blocked);
    while (!one.messages.some((message) => message.includes("does not answer"))) await Bun.sleep(5);
    redis.thaw();
    expect(await (await one.session(2)).send("PING", [])).toBe("PONG");
    expect(one.messages).toHaveLength(2);
  });

  test("rejects who waits for the first session: when the time is over, or the link is closed", async () => {
    await using redis = await startRedis();
    const { url } = redis;
    await redis.kill();
    await using one = new TestLink(url);
    const reason = await failure(one.link.connect(50));
    expect([reason.code, reason.message]).toEqual([
      "unreachable",
      `cannot connect to the store at 127.0.0.1:${redis.port}: connection refused`,
    ]);
    const waiting = failure(one.link.connect(60_000));
    await redis.restart();
    expect(await one.session(1)).toBeDefined();
    expect((await waiting.catch((error: unknown) => error)) as Error).toHaveProperty("message", "no error");
    await redis.kill();
    await one.sessions[0]?.ended;
    const closed = failure(one.link.connect(60_000));
    await one.link.close();
    expect((await closed).message).toBe(`the link to the store ${url} was closed`);
  });

  test("can be closed in each of its states", async () => {
    await using redis = await startRedis();
    const fresh = new TestLink(redis.url);
    await fresh.link.close();
    const connecting = new TestLink(redis.url);
    redis.freeze();
    connecting.link.start();
    expect(connecting.link.state).toBe("connecting");
    await connecting.link.close();
    redis.thaw();
    await redis.kill();
    const waiting = new TestLink(redis.url);
    await failure(waiting.link.connect(1));
    while (waiting.link.state !== "waiting") await Bun.sleep(1);
    await waiting.link.close();
    expect([fresh, connecting, waiting].map(({ link }) => link.state)).toEqual([
      "closed",
      "closed",
      "closed",
    ]);
    await redis.restart();
    await untilClients(redis, 0);
  });
});
