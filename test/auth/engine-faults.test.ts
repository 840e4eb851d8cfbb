// An engine with odd content, odd answers and a clock that jumps: nothing is reported wrongly, and nothing is tried without end.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { addHost, disableUser, forgetHost, nameHost, removeUser } from "../../src/auth/accounts.ts";
import { DocumentDraft, type Document } from "../../src/auth/document.ts";
import { argumentsOf, COMMIT, keysOf } from "../../src/auth/engine-commit.ts";
import { formatEntry } from "../../src/auth/engine-log.ts";
import { adding, AT, thrown, until } from "../support/changes.ts";
import type { EngineStore } from "../../src/auth/engine-store.ts";
import { engineProxy } from "../support/engine-proxy.ts";
import { openStore } from "../support/engine-store.ts";
import { lacksTools } from "../support/privileges.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";

const key = (part: string) => `parley:{parley}:${part}`;

const asksTime = (question: string) => question.endsWith("\r\nTIME\r\n");
/** The answer to TIME of an engine whose clock is ahead by so many seconds. */
const withTime = (bytes: Buffer, ahead: number) =>
  Buffer.from(
    bytes.toString().replace(/\r\n(\d{10})\r\n/, (_, seconds) => `\r\n${Number(seconds) + ahead}\r\n`),
  );

describe.skipIf(lacksTools("redis-server"))("an engine", () => {
  let redis: TestRedis;
  beforeEach(async () => {
    redis = await startRedis({ unix: true });
  });
  afterEach(() => redis[Symbol.asyncDispose]());

  /** Writes an entry to the log as another program would. */
  const append = (id: string, text: string, then = "") =>
    redis.command(
      "EVAL",
      `redis.call('XADD', KEYS[1], '${id}', 'change', ARGV[1], 'epoch', redis.call('HGET', KEYS[2], 'epoch'))
       redis.call('HSET', KEYS[2], 'head', '${id}')
       ${then}`,
      "2",
      key("log"),
      key("meta"),
      text,
    );

  /** Decides a change on what `store` has now. The result sends it as a process does, and returns the engine's word. */
  const decided = async ({ document }: EngineStore, mutation: (draft: Document) => unknown) => {
    const draft = new DocumentDraft(document);
    mutation(draft);
    const args = argumentsOf(draft, document, {
      epoch: String(await redis.command("HGET", key("meta"), "epoch")),
      newEpoch: "",
      deadline: Date.now() + 60_000,
      random: "7",
      entry: formatEntry("x", draft, document),
    });
    const keys = keysOf("parley");
    return async () => {
      const reply = await redis.command("EVAL", COMMIT, String(keys.length), ...keys, ...args);
      return (reply as string[])[0];
    };
  };

  test("that refuses a change for a while says so at once, and the change was not made", async () => {
    await using one = await openStore(redis);
    await one.store.change(adding("ann"));
    await redis.command("CONFIG", "SET", "min-replicas-to-write", "1");
    const error = await one.store.change(adding("bob")).catch(thrown);
    expect(error).toMatchObject({ code: "unreachable", message: expect.stringContaining("NOREPLICAS") });
    expect(error).toMatchObject({ message: expect.not.stringContaining("unknown") });
    expect(one.store.isReachable).toBe(true);
    await redis.command("CONFIG", "SET", "min-replicas-to-write", "0");
    await one.store.change(adding("bob"));
    expect(one.users()).toEqual(["ann", "bob"]);
  });

  test("with an entry of another program in the log makes no change by half, and is not read without end", async () => {
    await using one = await openStore(redis);
    await one.store.change(adding("ann"));
    await redis.command("XADD", key("log"), "*", "foo", "bar");
    const error = await one.store.change(adding("bob")).catch(thrown);
    expect(error).toBeInstanceOf(Error);
    expect(await redis.command("HKEYS", key("users"))).toEqual(["ann"]);
    await until(() => one.complaints.length > 0);
    expect(one.complaints).toEqual([expect.stringContaining("does not go on from")]);
    expect(one.store.isReachable).toBe(false);
    expect(await openStore(redis).catch(thrown)).toMatchObject({ code: "damaged" });
  });

  test("with a key of another type makes no change by half", async () => {
    await redis.command("SET", key("names"), "x");
    await using one = await openStore(redis);
    const error = await one.store.change(adding("ann")).catch(thrown);
    expect(error).toMatchObject({ code: "refused", message: expect.stringContaining("WRONGTYPE") });
    expect(await redis.command("EXISTS", key("users"), key("log"), key("meta"))).toBe(0);
  });

  test("whose log lost a change before it was read is read again", async () => {
    await using one = await openStore(redis);
    await one.store.change(adding("ann"));
    await append("2-5", '{"by":"x"}', "redis.call('DEL', KEYS[1])");
    await one.store.fresh();
    expect(one.store.document.rev).toBe(2);
  });

  test("without the key that says where its log ends is damaged", async () => {
    {
      await using one = await openStore(redis);
      for (const name of ["ann", "bob", "eve"]) await one.store.change(adding(name));
    }
    await redis.command("XTRIM", key("log"), "MAXLEN", "1");
    await redis.command("DEL", key("meta"));
    expect(await openStore(redis).catch(thrown)).toMatchObject({ code: "damaged" });
  });

  test.each(["9007199254740991-1", "9007199254740993-1", "9999999999999999-1"])(
    "that is at the position %s, after which none can be counted, is damaged",
    async (head) => {
      await redis.command("HSET", key("meta"), "version", "1", "epoch", "x", "head", head);
      expect(await openStore(redis).catch(thrown)).toMatchObject({ code: "damaged" });
    },
  );

  test("with a damaged change in its log is out of reach, and a login hears why at once", async () => {
    await using one = await openStore(redis);
    await one.store.change(adding("ann"));
    await append("2-5", "garbage");
    await until(() => one.complaints.length > 0);
    expect(one.store.isReachable).toBe(false);
    expect(await one.store.fresh().catch(thrown)).toMatchObject({ code: "damaged" });
    await append("3-5", '{"by":"x"}', "redis.call('XTRIM', KEYS[1], 'MAXLEN', 1)");
    await until(() => one.store.isReachable);
    await one.store.change(adding("bob"));
    expect(one.users()).toEqual(["ann", "bob"]);
  });

  const READS: [string, (draft: Document) => unknown, (later: Document) => unknown][] = [
    ["all records of a kind", ({ users }) => [...users], adding("bob")],
    ["how many records there are", ({ users }) => users.size, adding("bob")],
    ["that a record is missing", ({ users }) => users.has("bob"), adding("bob")],
    ["a record", ({ users }) => users.get("ann"), (later) => disableUser(later, "ann", "left", AT)],
    ["a record that is there", ({ users }) => users.get("ann"), (later) => removeUser(later, "ann")],
    [
      "who has a name",
      ({ hosts }) => hosts.groupSize("lab"),
      (later) => addHost(later, "192.0.2.1", "Lab", AT),
    ],
    ["the server", (draft) => (draft.server = "one"), (later) => (later.server = "other")],
  ];
  test.each(READS)(
    "makes no change that has read %s, when that is not so any more",
    async (_, read, change) => {
      await using one = await openStore(redis);
      await one.add("ann");
      const decide = () =>
        decided(one.store, (draft) => {
          read(draft);
          adding("eve")(draft);
        });
      const outdated = await decide();
      await one.store.change(change);
      expect(await outdated()).toBe("conflict");
      await one.store.fresh();
      expect(one.users()).not.toContain("eve");
      // Decided again, it is made, although another kind of record has changed meanwhile.
      const commit = await decide();
      await one.store.change((later) => addHost(later, "192.0.2.9", "Desk", AT));
      expect(await commit()).toBe("done");
    },
  );

  test("does not forget an address by its name of before", async () => {
    await using one = await openStore(redis);
    await one.store.change((draft) => addHost(draft, "192.0.2.1", "Lab", AT));
    const commit = await decided(one.store, (draft) => forgetHost(draft, "192.0.2.1"));
    await one.store.change((later) => nameHost(later, "192.0.2.1", "Desk", AT));
    expect(await commit()).toBe("conflict");
    expect(await redis.command("HKEYS", key("names"))).toEqual(["desk"]);
  });

  test("whose address was removed by other means lets another one have its name", async () => {
    await using one = await openStore(redis);
    await one.store.change((draft) => addHost(draft, "192.0.2.1", "Lab", AT));
    await redis.command("HDEL", key("hosts"), "192.0.2.1");
    one.store.reload(true);
    await one.store.fresh();
    await one.store.change((draft) => addHost(draft, "192.0.2.2", "Lab", AT));
    expect([...one.store.document.hosts.keys()]).toEqual(["192.0.2.2"]);
  });

  test("whose clock jumps an hour ahead makes the next change all the same", async () => {
    let wasLate = false;
    using proxy = await engineProxy(redis, (bytes, question) => {
      wasLate ||= bytes.includes("late\r\n");
      return asksTime(question) && !wasLate ? withTime(bytes, -3600) : bytes;
    });
    await using one = await openStore(proxy);
    await one.store.change(adding("ann"));
    expect([wasLate, one.users()]).toEqual([true, ["ann"]]);
  });

  test("whose clock is set back an hour makes no change after its deadline", async () => {
    let times = 0;
    using proxy = await engineProxy(redis, (bytes, question) =>
      asksTime(question) && times++ === 0 ? withTime(bytes, 3600) : bytes,
    );
    await using one = await openStore(proxy);
    await one.store.change(adding("ann"));
    const seen = times;
    await until(() => times > seen + 1); // the one before has been taken by then
    redis.freeze();
    const error = await one.store.change(adding("bob")).catch(thrown);
    redis.thaw();
    expect(error).toMatchObject({ message: expect.stringContaining("unknown whether the change was made") });
    await until(() => one.store.isReachable);
    await one.store.fresh();
    expect(one.users()).toEqual(["ann"]);
  });

  test.each([
    ["has made it, once", false],
    ["says that this is unknown, when its log was cut off", true],
  ])("whose answer to a change is lost while all records are read again %s", async (_, isCutOff) => {
    let left = 2;
    using proxy = await engineProxy(redis, async (bytes) => {
      // The answer itself, and the change in the log.
      const isMeant = bytes.includes("done\r\n") || bytes.includes('{"by"');
      if (left === 0 || !isMeant) return bytes;
      left--;
      if (isCutOff) await redis.command("DEL", key("log"));
      one.store.reload(true);
      return undefined;
    });
    await using one = await openStore(proxy);
    const outcome = await one.store.change(adding("ann")).then(() => undefined, thrown);
    if (isCutOff) expect(String(outcome)).toContain("unknown whether the change was made");
    else expect([outcome, one.store.document.rev]).toEqual([undefined, 1]);
    left = 0;
    await one.store.change(adding("bob"));
    expect(one.users()).toEqual(["ann", "bob"]);
  });

  test("that is emptied while all records are read makes no account forgotten", async () => {
    let isAgain = false;
    using proxy = await engineProxy(redis, async (bytes, question) => {
      if (isAgain && question.includes("HSCAN")) await redis.command("FLUSHALL");
      return bytes;
    });
    await using one = await openStore(proxy);
    for (const name of ["ann", "bob"]) await one.store.change(adding(name));
    await one.store.change((draft) => addHost(draft, "192.0.2.1", "Lab", AT));
    isAgain = true;
    one.store.reload(true);
    await until(() => one.complaints.length > 0);
    expect(one.complaints[0]).toEndWith("has lost its accounts");
    expect([one.users(), one.store.document.hosts.size]).toEqual([["ann", "bob"], 1]);
  });

  test("whose answer from before the first change comes after that change has lost nothing", async () => {
    const [held, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let isHeld = false;
    using proxy = await engineProxy(redis, async (bytes, question) => {
      if (!isHeld || !question.includes("HMGET")) return bytes;
      held.resolve();
      await gate.promise;
      return bytes;
    });
    await using other = await openStore(redis);
    await using one = await openStore(proxy);
    isHeld = true;
    const fresh = one.store.fresh().catch(thrown);
    await held.promise;
    await other.store.change(adding("ann"));
    await until(() => one.users().length === 1);
    gate.resolve();
    expect(await fresh).toBeUndefined();
  });

  test("that is slow keeps its session when a change is given up", async () => {
    let isSlow = false;
    using proxy = await engineProxy(redis, async (bytes, question) => {
      if (isSlow && question.includes("EVALSHA") && question.includes('"by"')) await Bun.sleep(600);
      return bytes;
    });
    await using one = await openStore(proxy);
    await one.store.change(adding("ann"));
    const { connections } = proxy;
    isSlow = true;
    const first = one.store.change(adding("bob"));
    await Bun.sleep(10); // so that the next change waits for its turn
    const second = await one.store.change(adding("eve")).catch(thrown);
    await first;
    expect(second).toMatchObject({ message: expect.stringContaining("unknown whether the change was made") });
    await one.store.fresh();
    expect(one.users()).toEqual(["ann", "bob", "eve"]);
    expect(proxy.connections).toBe(connections);
  });
});
