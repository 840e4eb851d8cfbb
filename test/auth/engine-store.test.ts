// Accounts in an engine: several processes change them at once, and the engine is cut off, frozen, killed, emptied and set back.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  addHost,
  addToken,
  addUser,
  credentialStamp,
  disableUser,
  expectRoom,
  removeUser,
  revokeTokens,
  revokeTokensOf,
  setPassword,
} from "../../src/auth/accounts.ts";
import type { Document, Token } from "../../src/auth/document.ts";
import { EngineError } from "../../src/engine/engine-error.ts";
import { adding, AT, sorted, thrown, until } from "../support/changes.ts";
import { openStore } from "../support/engine-store.ts";
import { lacksTools } from "../support/privileges.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";

const ANN = { password: "hash", created: AT.toISOString(), disabled: null };
const tokenOf = (user: string): Token => ({
  user,
  key: Buffer.alloc(32).toString("base64"),
  created: AT.toISOString(),
  used: AT.toISOString(),
  expires: "2100-01-01T00:00:00.000Z",
});

type Opened = Awaited<ReturnType<typeof openStore>>;

/** The whole content, in an order of its own. */
function contentOf({ store }: Opened): object {
  const { users, tokens, hosts, server } = store.document;
  return {
    users: sorted<unknown>(users),
    tokens: sorted<unknown>(tokens),
    hosts: sorted<unknown>(hosts),
    server,
  };
}

const isMissing = lacksTools("redis-server");

describe.skipIf(isMissing)("stores on one engine", () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis({ unix: true });
  });
  afterAll(() => redis[Symbol.asyncDispose]());
  let stores = 0;
  const pair = async () => {
    const name = `pair-${stores++}`;
    return [await openStore(redis, { name }), await openStore(redis, { name })] as const;
  };

  test("a change of one is in the other as soon as that is fresh, and in a third one at its start", async () => {
    const [one, other] = await pair();
    await using _ = one;
    await using __ = other;
    for (const name of ["ann", "bob", "eve"]) {
      await one.add(name);
      expect(one.store.document.users.has(name)).toBe(true);
      await other.store.fresh();
      expect(other.store.document.users.has(name)).toBe(true);
    }
    await other.store.change((draft) => removeUser(draft, "bob"));
    await using third = await openStore(redis, { name: `pair-${stores - 1}` });
    expect(third.users()).toEqual(["ann", "eve"]);
    expect(contentOf(third)).toEqual(contentOf(other));
  });

  test("the same key of two names is two stores", async () => {
    await using one = await openStore(redis, { name: "left" });
    await using other = await openStore(redis, { name: "right" });
    await one.add("ann");
    await other.store.fresh();
    expect(other.users()).toEqual([]);
  });

  type Racing = [
    what: string,
    before: (draft: Document) => void,
    changes: [(draft: Document) => unknown, (draft: Document) => unknown],
    check: (document: Readonly<Document>, outcomes: string[]) => void,
  ];
  const stampOf = (draft: Document, name: string) => {
    const user = draft.users.get(name);
    return user === undefined ? "" : credentialStamp(user);
  };
  const RACES: Racing[] = [
    [
      "two users of one name",
      () => undefined,
      [adding("ann"), adding("ann")],
      ({ users }, outcomes) => {
        expect([users.size, outcomes]).toEqual([1, ["fulfilled", "rejected"]]);
      },
    ],
    [
      "the last place for a user",
      adding("ann"),
      ["bob", "eve"].map((name) => (draft: Document) => {
        expectRoom(draft, 2);
        addUser(draft, name, "hash", AT);
      }) as never,
      ({ users }, outcomes) => expect([users.size, outcomes]).toEqual([2, ["fulfilled", "rejected"]]),
    ],
    [
      "two addresses of one name",
      () => undefined,
      [(draft) => addHost(draft, "192.0.2.1", "Ann", AT), (draft) => addHost(draft, "192.0.2.2", "ann", AT)],
      ({ hosts }, outcomes) => expect([hosts.size, outcomes]).toEqual([1, ["fulfilled", "rejected"]]),
    ],
    [
      "a new token and the end of all tokens of its user",
      (draft) => draft.users.set("ann", ANN),
      [
        (draft) => addToken(draft, "AAAAAAAA", tokenOf("ann"), credentialStamp(ANN)),
        (draft) => setPassword(draft, "ann", "other", false, AT),
      ],
      ({ tokens, users }) => {
        expect(users.get("ann")?.password).toBe("other");
        // The token is of the login before: it ended with that, or was refused.
        expect(tokens.size).toBe(0);
      },
    ],
    [
      "a token of a user who is removed",
      adding("ann"),
      [
        (draft) => addToken(draft, "AAAAAAAA", tokenOf("ann"), `${stampOf(draft, "ann")}`),
        (draft) => removeUser(draft, "ann"),
      ],
      ({ users, tokens }) => expect([users.size, tokens.size]).toEqual([0, 0]),
    ],
    [
      "two changes of one record",
      adding("ann"),
      [
        (draft) => disableUser(draft, "ann", "on holiday", AT),
        (draft) => setPassword(draft, "ann", "other", true, AT),
      ],
      ({ users }) => {
        const { password, disabled } = users.get("ann") ?? {};
        expect([password, disabled?.reason]).toEqual(["other", "on holiday"]);
      },
    ],
  ];

  test.each(RACES)("%s, at once: as if one came after the other", async (_, before, changes, check) => {
    for (let round = 0; round < 10; round++) {
      const [one, other] = await pair();
      await using _one = one;
      await using _other = other;
      await one.store.change(before);
      await other.store.fresh();
      const [first, second] = round % 2 === 0 ? changes : changes.toReversed();
      const settled = await Promise.allSettled([one.store.change(first!), other.store.change(second!)]);
      await Promise.all([one.store.fresh(), other.store.fresh()]);
      expect(contentOf(one)).toEqual(contentOf(other));
      check(one.store.document, settled.map(({ status }) => status).sort());
    }
  });

  test("the end of all tokens holds beside new logins", async () => {
    const [one, other] = await pair();
    await using _ = one;
    await using __ = other;
    await one.add("ann");
    await other.store.fresh();
    let isOver = false;
    let made = 0;
    const logins = (async () => {
      while (!isOver) {
        const id = `T${String(made++).padStart(7, "0")}`;
        await other.store.change((draft) => addToken(draft, id, tokenOf("ann"), stampOf(draft, "ann")));
      }
    })();
    for (let round = 0; round < 5; round++) {
      await until(() => other.store.document.tokens.size > 20);
      const before = new Set(other.store.document.tokens.keys());
      await one.store.change((draft) => revokeTokens(draft, () => true));
      await one.store.change((draft) => revokeTokensOf(draft, "ann"));
      expect([...one.store.document.tokens.keys()].filter((id) => before.has(id))).toEqual([]);
    }
    isOver = true;
    await logins;
  });

  test("eight of them change everything at random, and all have the same", async () => {
    const name = `many-${stores++}`;
    const all = await Promise.all(Array.from({ length: 8 }, () => openStore(redis, { name })));
    let random = 1;
    const below = (end: number) => (random = (random * 48271) % 2147483647) % end;
    const step = (draft: Document): void => {
      const user = `user-${below(20)}`;
      const id = `ID${String(below(40)).padStart(6, "0")}`;
      const moves = [
        () => addUser(draft, user, "hash", new Date()),
        () => removeUser(draft, user),
        () => addToken(draft, id, tokenOf(user), stampOf(draft, user)),
        () => void draft.tokens.delete(id),
        () => setPassword(draft, user, `hash-${below(1000)}`, below(2) === 0, new Date()),
        () => addHost(draft, `192.0.2.${below(30)}`, `host ${below(30)}`, new Date()),
      ];
      moves[below(moves.length)]?.();
    };
    await Promise.all(
      all.map(async ({ store }) => {
        for (let n = 0; n < 60; n++)
          await store.change(step).catch((error: Error) => expect(error.name).toBe("AccountError"));
      }),
    );
    await Promise.all(all.map(({ store }) => store.fresh()));
    const fresh = await openStore(redis, { name });
    for (const one of all) expect(contentOf(one)).toEqual(contentOf(fresh));
    for (const [, { user }] of fresh.store.document.tokens)
      expect(fresh.store.document.users.has(user)).toBe(true);
    for (const one of [...all, fresh]) await one[Symbol.asyncDispose]();
  });

  test("a change that is given up before it is sent changes nothing", async () => {
    const [one, other] = await pair();
    await using _ = one;
    await using __ = other;
    const controller = new AbortController();
    const change = one.store.change(adding("ann"), controller.signal).catch(thrown);
    controller.abort(new Error("too late"));
    expect((await change)?.message).toBe("too late");
    await other.store.fresh();
    expect(other.users()).toEqual([]);
  });

  test("records that were changed by other means are read again when a change meets them", async () => {
    const [one, other] = await pair();
    await using _ = one;
    await using __ = other;
    await one.add("ann");
    await redis.command("HDEL", `parley:{pair-${stores - 1}}:users`, "ann");
    await one.add("ann");
    expect(one.users()).toEqual(["ann"]);
  });

  test.each([
    ["users", "ann", '7 {"created":"2026-01-02T03:04:05Z"}', "users.ann.password is missing"],
    ["users", "ann", "7 garbage", "users.ann: JSON Parse error"],
    ["tokens", "x", "7 {}", 'tokens has the invalid key "x"'],
    ["meta", "head", "first", '"first" is no position'],
    ["meta", "version", "2", "the store has version 2, this parley supports version 1"],
  ])("a damaged %s.%s is named, and left alone", async (part, field, value, message) => {
    const name = `damaged-${stores++}`;
    const key = `parley:{${name}}:${part}`;
    await redis.command("HSET", key, field, value);
    const error = await openStore(redis, { name }).catch(thrown);
    expect(error).toBeInstanceOf(EngineError);
    expect((error as Error).message).toContain(message);
    expect(await redis.command("HGET", key, field)).toBe(value);
  });

  test("long changes, as of an import, leave fewer in the log", async () => {
    const name = `long-${stores++}`;
    await using one = await openStore(redis, { name });
    const length = async () => Number(await redis.command("XLEN", `parley:{${name}}:log`));
    for (let n = 0; n < 300; n++) await one.add(`user-${n}`);
    expect(await length()).toBe(300);
    const reason = "x".repeat(8 * 1024 * 1024);
    await one.store.change((draft) => disableUser(draft, "user-0", reason, AT));
    expect(await length()).toBeLessThan(200);
  });

  test("a log that was cut off is no loss: all records are read again, and nothing is said", async () => {
    const name = `cut-${stores++}`;
    await using one = await openStore(redis, { name });
    await using other = await openStore(redis, { name });
    for (let n = 0; n < 20; n++) {
      await one.add(`user-${n}`);
      await redis.command("XTRIM", `parley:{${name}}:log`, "MAXLEN", "0");
    }
    await other.store.fresh();
    expect(contentOf(other)).toEqual(contentOf(one));
    expect([...one.events, ...other.events]).toEqual([]);
  });
});

describe.skipIf(isMissing)("an engine", () => {
  test("whose connections are cut all the time loses no change, and makes none twice", async () => {
    await using redis = await startRedis({ unix: true });
    await using one = await openStore(redis);
    await using other = await openStore(redis);
    let isOver = false;
    let cuts = 0;
    const cutting = (async () => {
      while (!isOver) {
        cuts += await redis.killClients();
        await Bun.sleep(100); // as often as a session lasts long enough to be followed by another one at once
      }
    })();
    const added: string[] = [];
    const unknown: string[] = [];
    await Promise.all(
      [one, other].map(async ({ add }, who) => {
        for (let n = 0; n < 400; n++) {
          const name = `user-${who}-${n}`;
          await add(name).then(
            () => added.push(name),
            () => unknown.push(name),
          );
        }
      }),
    );
    isOver = true;
    await cutting;
    await Promise.all([one, other].map(({ store }) => store.fresh()));
    expect(cuts).toBeGreaterThan(4);
    expect(one.users()).toEqual(expect.arrayContaining(added));
    expect(contentOf(other)).toEqual(contentOf(one));
    expect(unknown.length).toBeLessThan(10);
    expect(one.store.document.rev).toBe(one.store.document.users.size);
  });

  test("that is frozen makes no change later that was given up, and logins hear of it in time", async () => {
    await using redis = await startRedis();
    await using one = await openStore(redis);
    await one.add("ann");
    redis.freeze();
    const [change, fresh] = await Promise.all([
      one.add("bob").catch(thrown),
      one.store.fresh().catch(thrown),
    ]);
    expect(change).toMatchObject({
      name: "EngineError",
      code: "unreachable",
      message: expect.stringContaining("it is unknown whether the change was made"),
    });
    expect(fresh).toMatchObject({ name: "EngineError", code: "unreachable" });
    await until(() => !one.store.isReachable);
    // At once by now, and nothing was sent.
    const later = await one.add("eve").catch(thrown);
    expect(later).toMatchObject({ code: "unreachable", message: expect.not.stringContaining("unknown") });
    await until(() => one.events.length > 0);
    redis.thaw();
    await until(() => one.store.isReachable);
    await one.store.fresh();
    await one.add("dan");
    expect(one.users()).toEqual(["ann", "dan"]);
    await until(() => one.events.length > 1);
    expect(one.events.map(({ event }) => event)).toEqual(["store-lost", "store-found"]);
    expect(one.complaints).toEqual([]);
  });

  test("that is killed and comes back has what was confirmed", async () => {
    await using redis = await startRedis({ appendonly: true });
    await using one = await openStore(redis);
    await one.add("ann");
    await redis.kill();
    expect(await one.add("bob").catch(thrown)).toMatchObject({ code: "unreachable" });
    expect(one.users()).toEqual(["ann"]);
    await redis.restart();
    await until(() => one.store.isReachable);
    await one.add("eve");
    await using other = await openStore(redis);
    expect(contentOf(other)).toEqual(contentOf(one));
    expect(one.store.document.users.has("ann")).toBe(true);
  });

  test("that comes back empty makes no account forgotten, until its data are back", async () => {
    await using redis = await startRedis({ appendonly: true });
    let epoch = "";
    await using one = await openStore(redis, { onEpoch: (known) => (epoch = known) });
    await one.add("ann");
    await redis.kill();
    const saved = join(redis.folder, "saved");
    cpSync(join(redis.folder, "appendonlydir"), saved, { recursive: true });
    await redis.restart({ empty: true });
    await until(() => one.complaints.length > 0);
    expect(one.complaints).toEqual([`${redis.url} has lost its accounts`]);
    expect(one.users()).toEqual(["ann"]);
    expect(await one.add("bob").catch(thrown)).toMatchObject({ name: "EngineError", code: "replaced" });
    expect(await one.store.fresh().catch(thrown)).toMatchObject({ name: "EngineError", code: "replaced" });
    // A process that starts anew knows it from the identity that it had before.
    expect(await openStore(redis, { expectedEpoch: epoch }).catch(thrown)).toMatchObject({
      code: "replaced",
    });
    expect(await redis.command("DBSIZE")).toBe(0);
    await redis.kill();
    rmSync(join(redis.folder, "appendonlydir"), { recursive: true });
    cpSync(saved, join(redis.folder, "appendonlydir"), { recursive: true });
    await redis.restart();
    await until(() => one.store.isReachable);
    await one.add("bob");
    expect(one.users()).toEqual(["ann", "bob"]);
    expect(one.complaints.length).toBe(1);
  });

  test("that is emptied while it runs is found out, without a change", async () => {
    await using redis = await startRedis({ unix: true });
    await using one = await openStore(redis);
    await one.add("ann");
    await redis.command("FLUSHALL");
    await until(() => one.complaints.length > 0);
    expect(one.users()).toEqual(["ann"]);
    expect(await redis.command("DBSIZE")).toBe(0);
  });

  test("that comes back older is said, and all have the same again, also when others have changed it since", async () => {
    await using redis = await startRedis({ appendonly: true });
    await using one = await openStore(redis);
    await using other = await openStore(redis);
    await one.add("ann");
    await other.store.fresh();
    await redis.command("CONFIG", "SET", "appendfsync", "always");
    const saved = join(redis.folder, "saved");
    cpSync(join(redis.folder, "appendonlydir"), saved, { recursive: true });
    await one.add("bob");
    await one.add("eve");
    await other.store.fresh();
    await redis.kill();
    rmSync(join(redis.folder, "appendonlydir"), { recursive: true });
    cpSync(saved, join(redis.folder, "appendonlydir"), { recursive: true });
    await redis.restart();
    {
      // This one knows nothing of what was lost, and gives the lost revisions to other changes.
      await using third = await openStore(redis);
      for (const name of ["dan", "fay", "gus"]) await third.add(name);
    }
    await until(() => one.users().length === 4 && other.users().length === 4);
    await Promise.all([one.store.fresh(), other.store.fresh()]);
    expect(one.users()).toEqual(["ann", "dan", "fay", "gus"]);
    expect(contentOf(other)).toEqual(contentOf(one));
    expect(one.events.filter(({ event }) => event === "store-rolled-back").length).toBe(1);
    expect(other.events.filter(({ event }) => event === "store-rolled-back").length).toBe(1);
  });
});
