// The lists of sessions in an engine: of servers that change, stop, are killed and are cut off; and what is removed from the store beside
// them.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { AccountError, addHost, addUser, touchToken } from "../../src/auth/accounts.ts";
import type { Document, Token } from "../../src/auth/document.ts";
import { EngineStore, type EngineStoreOptions } from "../../src/auth/engine-store.ts";
import type { SessionStatus } from "../../src/auth/session-status.ts";
import {
  LOST_SERVER_MS,
  MAX_HOSTS,
  MAX_TOKENS_PER_USER,
  SILENT_SERVER_MS,
  TOKENS_EXAMINED,
} from "../../src/base/limits.ts";
import { parseStoreUrl } from "../../src/engine/store-url.ts";
import { AT, thrown, until } from "../support/changes.ts";
import { openStore } from "../support/engine-store.ts";
import { lacksTools } from "../support/privileges.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";

setDefaultTimeout(60_000);

const iso = (seconds: number) => new Date(AT.getTime() + 1000 * seconds).toISOString();

/** The n-th token of ann, which was used in the n-th second. */
const idOf = (n: number) => `ann${String(n).padStart(5, "0")}`;
const tokenOf = (n: number): Token => ({
  user: "ann",
  key: Buffer.alloc(32).toString("base64"),
  created: iso(0),
  used: iso(n),
  expires: "2100-01-01T00:00:00.000Z",
});
const withTokens = (from: number, to: number) => (draft: Document) => {
  if (!draft.users.has("ann")) addUser(draft, "ann", "hash", AT);
  for (let n = from; n <= to; n++) draft.tokens.set(idOf(n), tokenOf(n));
};
const session = (token: string | null, peer = "192.0.2.1:1"): SessionStatus => ({
  token,
  user: "ann",
  peer,
  since: 1,
  detached_since: null,
});

describe.skipIf(lacksTools("redis-server"))("the lists of sessions in an engine", () => {
  let redis: TestRedis;
  let stores = 0;
  beforeAll(async () => {
    redis = await startRedis({ unix: true, appendonly: true });
  });
  afterAll(() => redis[Symbol.asyncDispose]());

  /** A server with its list. It settles at once, and prunes often. */
  async function open(name: string, options: Partial<EngineStoreOptions> = {}) {
    const opened = await openStore(redis, { name, pruneIntervalMs: 20, settleMs: 0, ...options });
    const { store } = opened;
    const own: SessionStatus[] = [];
    const failures: string[] = [];
    return {
      ...opened,
      failures,
      own,
      publish: () =>
        store.sessions.publish(
          () => own,
          ({ message }) => failures.push(message),
        ),
      listed: async () => {
        const { sessions, failures: unknown } = await store.sessions.statuses();
        return unknown.length > 0
          ? unknown.map(({ message }) => message)
          : sessions.map(({ token }) => token ?? "none").sort();
      },
    };
  }
  type Opened = Awaited<ReturnType<typeof open>>;
  async function pair(options: Partial<EngineStoreOptions> = {}) {
    const name = `lists-${stores++}`;
    const [one, other] = [await open(name, options), await open(name, options)] as const;
    return { name, one, other };
  }
  const untilListed = (at: Opened, tokens: string[]) =>
    until(async () => Bun.deepEquals(await at.listed(), tokens));
  const keysOf = async (name: string, part: string) =>
    (await redis.command("KEYS", `parley:{${name}}:${part}`)) as string[];
  const servers = async (name: string) =>
    (await redis.command("HKEYS", `parley:{${name}}:servers`)) as string[];
  /** As if the server had been silent for so long. */
  const age = (name: string, id: string, ms: number) =>
    redis.command("HINCRBY", `parley:{${name}}:servers`, id, String(-ms));

  test("each sees those of all, what changes in them, and none of a server that has stopped", async () => {
    const { name, one, other } = await pair();
    await using _ = one;
    await using __ = other;
    one.own.push(session("a"));
    other.own.push(session("b"), session(null));
    const first = one.publish();
    await using ___ = other.publish();
    await untilListed(one, ["a", "b", "none"]);
    await untilListed(other, ["a", "b", "none"]);
    one.own.push(session("c"));
    first.scheduleWrite();
    await untilListed(other, ["a", "b", "c", "none"]);
    expect(await servers(name)).toHaveLength(2);
    await first[Symbol.asyncDispose]();
    expect(await other.listed()).toEqual(["b", "none"]);
    expect(await servers(name)).toHaveLength(1);
    expect(await keysOf(name, "sessions:*")).toHaveLength(1);
    expect([...one.failures, ...other.failures]).toEqual([]);
  });

  test("that of a server ends with its store", async () => {
    const { name, one, other } = await pair();
    await using _ = other;
    one.own.push(session("a"));
    one.publish();
    await untilListed(other, ["a"]);
    await one[Symbol.asyncDispose]();
    expect(await other.listed()).toEqual([]);
    expect(await keysOf(name, "s*")).toEqual([]);
  });

  test("that of a server that was killed is gone once it is silent, and what it used stays in use for longer", async () => {
    const name = `lists-${stores++}`;
    await using other = await open(name);
    const script = join(import.meta.dir, "..", "support", "session-publisher.ts");
    const child = Bun.spawn([process.execPath, script, redis.url, name, idOf(1)], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "inherit",
    });
    try {
      await untilListed(other, [idOf(1)]);
    } finally {
      child.kill("SIGKILL");
    }
    await child.exited;
    const [id = ""] = await servers(name);
    await age(name, id, SILENT_SERVER_MS);
    expect(await other.listed()).toEqual([]);
    await other.store.change(withTokens(1, MAX_TOKENS_PER_USER + 3));
    await until(() => other.store.document.tokens.size === MAX_TOKENS_PER_USER + 1);
    expect(other.store.document.tokens.has(idOf(1))).toBe(true);

    for (const key of [`sessions:${id}`, "servers"]) {
      const left = Number(await redis.command("PTTL", `parley:{${name}}:${key}`));
      expect([key, left > 0, left <= LOST_SERVER_MS]).toEqual([key, true, true]);
    }
    await age(name, id, LOST_SERVER_MS);
    await other.store.change(withTokens(20, 20));
    await until(() => other.store.document.tokens.size === MAX_TOKENS_PER_USER);
    expect(other.store.document.tokens.has(idOf(1))).toBe(false);
    await using _ = other.publish();
    await until(async () => !(await servers(name)).includes(id));
  });

  test("that of a server that was silent is there again when it speaks", async () => {
    const { name, one, other } = await pair();
    await using _ = one;
    await using __ = other;
    one.own.push(session("a"));
    await using ___ = one.publish();
    await untilListed(other, ["a"]);
    const [id = ""] = await servers(name);
    await age(name, id, SILENT_SERVER_MS);
    expect(await other.listed()).toEqual([]);
    await untilListed(other, ["a"]);
    expect(await servers(name)).toEqual([id]);
  });

  test.each(["soon", "nan", "", String(Date.now() + 10 * LOST_SERVER_MS)])(
    "an end %j that no server writes hides no session, and passes",
    async (end) => {
      const { name, one, other } = await pair();
      await using _ = one;
      await using __ = other;
      one.own.push(session("a"));
      await using ___ = one.publish();
      await untilListed(other, ["a"]);
      const [id = ""] = await servers(name);
      const [list = ""] = await keysOf(name, "sessions:*");
      await redis.command("COPY", list, `parley:{${name}}:sessions:odd`);
      await redis.command("HSET", `parley:{${name}}:servers`, "odd", end);
      expect(await other.listed()).toEqual(["a", "a"]);
      // The next beat of one writes an end that comes.
      await until(async () => {
        const last = Number(await redis.command("HGET", `parley:{${name}}:servers`, "odd"));
        return last > Date.now() && last <= Date.now() + LOST_SERVER_MS;
      });
      await age(name, "odd", LOST_SERVER_MS);
      await until(async () => Bun.deepEquals(await servers(name), [id]));
      expect([...one.failures, ...one.complaints, ...other.complaints]).toEqual([]);
    },
  );

  test("no change is lost when connections are cut, and none is listed twice", async () => {
    const { name, one, other } = await pair();
    await using _ = one;
    await using __ = other;
    await using list = one.publish();
    for (let n = 0; n < 10; n++) {
      one.own.push(session(idOf(n)));
      list.scheduleWrite();
      await redis.killClients();
    }
    await untilListed(
      other,
      Array.from({ length: 10 }, (_x, n) => idOf(n)),
    );
    expect(await servers(name)).toHaveLength(1);
    expect(one.failures).toEqual([]);
  });

  test("a list is written again when the engine has lost it, or has an older one", async () => {
    const { name, one, other } = await pair();
    await using _ = one;
    await using __ = other;
    one.own.push(session("a"));
    await using ___ = one.publish();
    await untilListed(other, ["a"]);
    const [key = ""] = await keysOf(name, "sessions:*");
    await redis.command("DEL", key);
    expect(await other.listed()).toEqual([`the list of sessions in ${key} is missing or damaged`]);
    await untilListed(other, ["a"]);
    await redis.command("HSET", key, "list", JSON.stringify([session("old")]));
    await redis.killClients();
    await untilListed(other, ["a"]);
  });

  test("of a crowd of tokens the one that is in use at the other server stays", async () => {
    const { one, other } = await pair();
    await using _ = one;
    await using __ = other;
    other.own.push(session(idOf(1)));
    await using ___ = other.publish();
    await untilListed(one, [idOf(1)]);
    await one.store.change(withTokens(1, 100));
    await until(() => one.store.document.tokens.size <= MAX_TOKENS_PER_USER + 1);
    const left = [...one.store.document.tokens.keys()].sort();
    expect(left).toEqual([1, ...Array.from({ length: MAX_TOKENS_PER_USER }, (_x, n) => 91 + n)].map(idOf));
    await other.store.fresh();
    expect([...other.store.document.tokens.keys()].sort()).toEqual(left);
  });

  test("a crowd among many tokens is found before all of them were examined", async () => {
    const name = `lists-${stores++}`;
    await using idle = await open(name, { pruneIntervalMs: 3_600_000 });
    const users = 1000;
    await idle.store.change((draft) => {
      for (let n = 0; n < users * MAX_TOKENS_PER_USER; n++) {
        const user = `bob${n % users}`;
        if (n < users) addUser(draft, user, "hash", AT);
        draft.tokens.set(`b${String(n).padStart(7, "0")}`, { ...tokenOf(n), user });
      }
    });
    const scriptsRun = async () => {
      const stats = String(await redis.command("INFO", "commandstats"));
      return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1]);
    };
    const before = await scriptsRun();
    await using one = await open(name, { pruneIntervalMs: 50 });
    await idle.store.change(withTokens(1, 50));
    await until(() => one.store.document.tokens.groupSize("ann") === MAX_TOKENS_PER_USER);
    expect((await scriptsRun()) - before).toBeLessThan((users * MAX_TOKENS_PER_USER) / TOKENS_EXAMINED);
  });

  test("no token goes while a list cannot be read, which is said once", async () => {
    const { name, one, other } = await pair();
    await using _ = one;
    await using __ = other;
    const key = `parley:{${name}}:sessions:strange`;
    await redis.command("HSET", key, "list", "[{]");
    await redis.command("HSET", `parley:{${name}}:servers`, "strange", String(Date.now() + LOST_SERVER_MS));
    await one.store.change(withTokens(1, 30));
    await until(() => one.complaints.length > 0);
    expect(await other.listed()).toEqual([`the list of sessions in ${key} is missing or damaged`]);
    expect(one.store.document.tokens.size).toBe(30);
    await redis.command("HSET", key, "list", JSON.stringify([session(idOf(3))]));
    await until(() => one.store.document.tokens.size === MAX_TOKENS_PER_USER + 1);
    expect(one.store.document.tokens.has(idOf(3))).toBe(true);
    expect(one.complaints).toEqual([`the list of sessions in ${key} is missing or damaged`]);
  });

  test("a login with a token of a crowd, once recorded, keeps it, whatever another server removes meanwhile", async () => {
    const { one, other } = await pair({ pruneIntervalMs: 1 });
    await using _ = one;
    await using __ = other;
    const seen = { kept: 0, refused: 0 };
    for (let round = 0; round < 300 && Math.min(seen.kept, seen.refused) < 5; round++) {
      await one.store.change(withTokens(1, MAX_TOKENS_PER_USER));
      await other.store.fresh();
      const now = new Date();
      const crowding = one.store.change(withTokens(MAX_TOKENS_PER_USER + 1, MAX_TOKENS_PER_USER + 1));
      await Bun.sleep(round % 5);
      const isRecorded = await other.store.change((draft) => touchToken(draft, idOf(1), now));
      await crowding;
      for (const { store } of [one, other]) {
        await store.fresh();
        expect(store.document.tokens.has(idOf(1))).toBe(isRecorded);
      }
      seen[isRecorded ? "kept" : "refused"]++;
      await one.store.change((draft) => void draft.tokens.delete(idOf(MAX_TOKENS_PER_USER + 1)));
    }
    expect(seen.kept).toBeGreaterThan(0);
  });

  test("a full table of addresses forgets the one seen longest ago that no server has", async () => {
    const { name, one, other } = await pair();
    await using _ = one;
    await using __ = other;
    const addressOf = (n: number) => `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`;
    await one.store.change((draft) => {
      for (let n = 0; n < MAX_HOSTS; n++)
        draft.hosts.set(addressOf(n), { name: `host ${n}`, first: iso(n), last: iso(n) });
    });
    other.own.push(session(null, `${addressOf(0)}:4000`));
    await using ___ = other.publish();
    await untilListed(one, ["none"]);
    const add = (address: string) =>
      one.store.change((draft, inUse) => addHost(draft, address, address, AT, () => inUse()?.addresses));
    await add("192.0.2.1");
    const { hosts } = one.store.document;
    expect([hosts.size, hosts.has(addressOf(0)), hosts.has(addressOf(1))]).toEqual([MAX_HOSTS, true, false]);

    await redis.command("HSET", `parley:{${name}}:servers`, "strange", String(Date.now() + LOST_SERVER_MS));
    const refused = await add("192.0.2.2").catch(thrown);
    expect(refused).toBeInstanceOf(AccountError);
    expect(refused).toHaveProperty("code", "full");
  });

  test("nothing counts as known to be unused for a while after the connection was cut", async () => {
    const { one, other } = await pair({ settleMs: 500 });
    await using _ = one;
    await using __ = other;
    const asked: boolean[] = [];
    const ask = () => one.store.change((_draft, inUse) => void asked.push(inUse() !== undefined));
    await until(async () => (await ask(), asked.at(-1) === true));
    await redis.killClients();
    await one.store.fresh();
    await ask();
    expect(asked.at(-1)).toBe(false);
    await until(async () => (await ask(), asked.at(-1) === true));
  });

  test("a user without the rights for them gets a sentence, once", async () => {
    const acl = ["user poor on >secret ~parley:* +@all -hgetall"];
    await using poor = await startRedis({ unix: true, acl });
    const target = parseStoreUrl(poor.url.replace("redis+unix://", "redis+unix://poor@"));
    const store = await EngineStore.open({ access: { target, password: "secret" }, name: "parley" });
    const failures: string[] = [];
    const list = store.sessions.publish(
      () => [],
      ({ message }) => failures.push(message),
    );
    list.scheduleWrite();
    await until(() => failures.length > 0);
    const { failures: unknown } = await store.sessions.statuses();
    const errors = [await store.tryToWrite().catch(thrown), ...unknown];
    for (const message of [...failures, ...errors.map((error) => error?.message)])
      expect(message).toContain("can't run this command");
    for (const error of errors) expect(error).toHaveProperty("hint", expect.stringContaining("rights"));
    await store.close();
    expect(failures).toHaveLength(1);
  });
});
