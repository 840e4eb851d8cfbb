// Passwords: which hashes are acceptable, which passwords are, and that neither a flood nor a strange hash stops the
// hasher. Whose turn it is shows in the passwords that Bun is given.

import { readdirSync } from "node:fs";
import { describe, expect, spyOn, test } from "bun:test";
import fc from "fast-check";
import {
  HashQueueError,
  PasswordHasher,
  hashCost,
  hashFlaw,
  passwordFlaw,
  type HashRequest,
} from "../../src/auth/password.ts";
import {
  HASH_MEMORY_KIB,
  HASH_TIME,
  MAX_HASH_LANES,
  MAX_HASH_MEMORY_KIB,
  MAX_HASH_QUEUE,
  MAX_HASH_QUEUE_PER_ADDRESS,
  MAX_HASH_TIME,
} from "../../src/base/limits.ts";
import { BCRYPT, BCRYPT_FLAW, FOREIGN } from "../support/hashes.ts";

const CHEAP = { memoryKib: 8, time: 1 };
const A = { source: "a" };
const SALT = "A".repeat(22);
const phc = (parameters: string, salt = SALT, hash = "A".repeat(43)): string =>
  `$argon2id$v=19$${parameters}$${salt}$${hash}`;

describe("the cost of a hash", () => {
  test("is what it was made with", async () => {
    expect(hashCost(await new PasswordHasher(CHEAP).hash("correct horse"))).toEqual({ ...CHEAP, lanes: 1 });
    expect(hashCost(FOREIGN["three lanes that share memory unevenly"])).toEqual({
      memoryKib: 100,
      time: 1,
      lanes: 3,
    });
    expect(hashCost(phc(`m=${HASH_MEMORY_KIB},t=${HASH_TIME},p=1`))).toEqual({
      memoryKib: HASH_MEMORY_KIB,
      time: HASH_TIME,
      lanes: 1,
    });
  });

  test("may be the highest allowed, and nothing above", () => {
    const highest = { memoryKib: MAX_HASH_MEMORY_KIB, time: MAX_HASH_TIME, lanes: MAX_HASH_LANES };
    const { memoryKib, time, lanes } = highest;
    expect(hashCost(phc(`m=${memoryKib},t=${time},p=${lanes}`))).toEqual(highest);
    expect(hashFlaw(phc(`m=${memoryKib + 1},t=1,p=1`))).toBe("it needs more than 262144 KiB of memory");
    expect(hashFlaw(phc(`m=8,t=${time + 1},p=1`))).toBe("it needs more than 10 passes");
    expect(hashFlaw(phc(`m=${memoryKib},t=1,p=${lanes + 1}`))).toBe("it needs more than 16 lanes");
    for (const hash of [`m=${memoryKib + 1},t=1,p=1`, `m=8,t=${time + 1},p=1`, `m=999,t=1,p=${lanes + 1}`]) {
      expect(hashCost(phc(hash))).toBeUndefined();
    }
  });

  const FORM = "it does not have the form $argon2id$v=19$m=…,t=…,p=…$salt$tag";
  const ARGON2ID = phc("m=8,t=1,p=1");
  test.each([
    ["nothing", "", "it is empty"],
    ["garbage", "garbage", "it is not an argon2id hash"],
    ["the password itself", "correct horse", "it is not an argon2id hash"],
    ["a password between dollars", "$correct$horse", "it is not an argon2id hash"],
    ["bcrypt", BCRYPT, BCRYPT_FLAW],
    ["SHA-512-crypt", "$6$salt$hash", "it is SHA-512-crypt ($6$), parley supports only argon2id"],
    ["argon2i", ARGON2ID.replace("2id", "2i"), "it is argon2i ($argon2i$), parley supports only argon2id"],
    ["argon2d", ARGON2ID.replace("2id", "2d"), "it is argon2d ($argon2d$), parley supports only argon2id"],
    [
      "another version",
      ARGON2ID.replace("v=19", "v=16"),
      "it has argon2 version 16, parley supports only version 19",
    ],
    [
      "no version, which is the first one",
      ARGON2ID.replace("$v=19", ""),
      "it has argon2 version 16, parley supports only version 19",
    ],
    ["2 GiB", phc("m=2097152,t=1,p=1"), "it needs more than 262144 KiB of memory"],
    [
      "more digits than a number has",
      phc(`m=${"9".repeat(400)},t=1,p=1`),
      "it needs more than 262144 KiB of memory",
    ],
    ["too little memory", phc("m=7,t=1,p=1"), "it has 7 KiB of memory and needs at least 8 for its lanes"],
    [
      "too little memory for its lanes",
      phc("m=31,t=1,p=4"),
      "it has 31 KiB of memory and needs at least 32 for its lanes",
    ],
    ["no passes", phc("m=8,t=0,p=1"), "it has 0 passes"],
    ["no lanes", phc("m=8,t=1,p=0"), "it has 0 lanes"],
    ["a negative cost", phc("m=-8,t=1,p=1"), FORM],
    ["a leading zero", phc("m=08,t=1,p=1"), FORM],
    ["parameters in another order", phc("t=1,m=8,p=1"), FORM],
    ["another parameter", phc("m=8,t=1,p=1,keyid=AAAA"), FORM],
    ["no tag", ARGON2ID.slice(0, ARGON2ID.lastIndexOf("$")), FORM],
    ["a short salt", phc("m=8,t=1,p=1", "AAAA"), "its salt has 3 bytes and needs at least 8"],
    ["a tag that was cut off", phc("m=8,t=1,p=1", SALT, "AAAA"), "its tag has 3 bytes and needs at least 16"],
    ["padding", `${ARGON2ID}=`, "its tag is not base64 without padding"],
    [
      "another base64",
      phc("m=8,t=1,p=1", SALT, `_${"A".repeat(42)}`),
      "its tag is not base64 without padding",
    ],
    [
      "a salt of no whole bytes",
      phc("m=8,t=1,p=1", "A".repeat(25)),
      "its salt is not base64 without padding",
    ],
    [
      "bits that stand for nothing",
      phc("m=8,t=1,p=1", `${"A".repeat(21)}B`),
      "its salt is not base64 without padding",
    ],
    ["something before it", ` ${ARGON2ID}`, "it is not an argon2id hash"],
    ["a line end", `${ARGON2ID}\n`, "its tag is not base64 without padding"],
  ])("is undefined for %s, and why is said", (_, hash, flaw) => {
    expect([hashCost(hash), hashFlaw(hash)]).toEqual([undefined, flaw]);
  });

  test("is outdated when it is not what is asked for now, in memory, time or lanes, less or more", () => {
    const hasher = new PasswordHasher({ memoryKib: 64, time: 2 });
    for (const cost of ["m=63,t=2,p=1", "m=64,t=1,p=1", "m=65,t=2,p=1", "m=64,t=3,p=1", "m=64,t=2,p=4"]) {
      expect(hasher.isOutdated(phc(cost))).toBe(true);
    }
    expect(hasher.isOutdated(phc("m=64,t=2,p=1"))).toBe(false);
    expect(hasher.isOutdated("garbage")).toBe(false);
  });
});

describe("a new password", () => {
  test.each([
    ["", "the password has 0 characters and needs at least 8"],
    ["1234567", "the password has 7 characters and needs at least 8"],
    ["😀".repeat(4), "the password has 4 characters and needs at least 8"],
    ["e\u0301a".repeat(3), "the password has 6 characters and needs at least 8"],
    ["abc".repeat(342), "the password is longer than 1024 bytes"],
    ["öbc".repeat(257), "the password is longer than 1024 bytes"],
    ["half a \ud83d character", "the password is not valid Unicode text"],
    ["Ann.Smith", "the password is the same as the user name"],
    ["aaaaaaaa", "the password repeats one or two characters"],
    ["abababab", "the password repeats one or two characters"],
  ])("%j will not do", (password, flaw) => {
    expect(passwordFlaw(password, "ann.smith", 8)).toBe(flaw);
  });

  test.each([
    "12345678",
    "correct horse",
    "ann.smith1",
    "日本語のパスワード",
    "😀😁😂".repeat(3),
    "abca".repeat(256),
  ])("%j will do", (password) => expect(passwordFlaw(password, "ann.smith", 8)).toBeUndefined());
});

describe("verifying", () => {
  const hasher = new PasswordHasher(CHEAP);
  const longest = "abcd".repeat(256);

  test.each([
    ["correct horse", "correct horse", true],
    ["correct horse", "correct horsf", false],
    ["correct horse", "Correct horse", false],
    ["correct horse", "correct horse ", false],
    ["correct horse", "", false],
    ["-", "", false],
    ["-", `${longest}!`, false],
    ["pass\0word", "pass", false],
    ["j\u00f6rg jorg", "jo\u0308rg jorg", true],
    ["jo\u0308rg jorg", "j\u00f6rg jorg", true],
    [longest, longest, true],
    [longest, `${longest}!`, false],
  ])("the hash of %j takes %j: %p", async (password, given, matches) => {
    expect(await hasher.verify(given, await hasher.hash(password), A)).toBe(matches);
  });

  test("nothing matches a hash that is missing or unacceptable", async () => {
    const strange = ["m=2097152,t=1,p=1", "m=0,t=1,p=1", "m=8,t=0,p=1"].map((cost) => phc(cost));
    for (const hash of [undefined, "", "garbage", "-", "$2b$10$x", ...strange]) {
      for (const password of ["", "-", "garbage", "correct horse"]) {
        expect(await hasher.verify(password, hash, A)).toBe(false);
      }
    }
  });

  test("a hash of the same password is another one each time", async () => {
    expect(await hasher.hash("correct horse")).not.toBe(await hasher.hash("correct horse"));
  });

  test.each(Object.entries(FOREIGN))("takes a hash of another program, with %s", async (_, hash) => {
    expect(hashFlaw(hash)).toBeUndefined();
    expect(await hasher.verify("correct horse", hash, A)).toBe(true);
    expect(await hasher.verify("correct horsf", hash, A)).toBe(false);
    expect(await hasher.verify("", hash, A)).toBe(false);
  });

  test("each hash without a flaw can be verified, with whatever lengths and costs", async () => {
    const base64 = (least: number) =>
      fc
        .uint8Array({ minLength: least, maxLength: 80 })
        .map((bytes) => Buffer.from(bytes).toString("base64").replaceAll("=", ""));
    const hashes = fc
      .record({
        lanes: fc.integer({ min: 1, max: MAX_HASH_LANES }),
        more: fc.nat(20),
        time: fc.constantFrom(1, 2),
      })
      .chain(({ lanes, more, time }) =>
        fc
          .tuple(base64(8), base64(16))
          .map(([salt, tag]) => phc(`m=${8 * lanes + more},t=${time},p=${lanes}`, salt, tag)),
      );
    const edit = fc.tuple(fc.nat(60), fc.constantFrom("", "=", "0", "1", "$", "A", ",", "\0"));
    await fc.assert(
      fc.asyncProperty(hashes, fc.option(edit), async (hash, edited) => {
        const [at = 0, by = ""] = edited ?? [];
        const text = edited === null ? hash : hash.slice(0, at) + by + hash.slice(at + 1);
        if (edited === null) expect(hashFlaw(text)).toBeUndefined();
        const { memoryKib = 0 } = hashCost(text) ?? {};
        if (memoryKib < 10_000) expect(await hasher.verify("correct horse", text, A)).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  test("one of many lanes takes no threads for them: a machine may have none left", async () => {
    const threads = () => readdirSync("/proc/self/task").length;
    const before = threads();
    let [most, isDone] = [0, false];
    const verified = hasher
      .verify("correct horse", phc("m=65536,t=2,p=16"), A)
      .finally(() => (isDone = true));
    while (!isDone) {
      most = Math.max(most, threads());
      await new Promise(setImmediate);
    }
    expect(await verified).toBe(false);
    expect(most - before).toBeLessThan(8); // the pool may have got some
  });

  test("one of several lanes is as much work where there is no such user", async () => {
    using verify = spyOn(Bun.password, "verify");
    const cost = { memoryKib: 64, time: 1, lanes: 4 };
    expect(await hasher.verify("correct horse", FOREIGN["four lanes"], A)).toBe(true);
    expect(await hasher.verify("correct horse", undefined, A, cost)).toBe(false);
    expect(verify).not.toHaveBeenCalled();
    expect(await hasher.verify("correct horse", BCRYPT, A, { ...cost, lanes: 1 })).toBe(false);
    expect(verify).toHaveBeenCalledTimes(1);
  });
});

/** What became of a job: `done`, or the code with which it was turned away. */
function outcome(job: Promise<unknown>): Promise<string> {
  return job.then(
    () => "done",
    (error: unknown) => {
      if (error instanceof HashQueueError) return error.code;
      return error as string; // the reason of its signal
    },
  );
}

const count = (all: string[], one: string): number => all.filter((each) => each === one).length;

describe("the queue", () => {
  /** `ask` begins a job for a source; `turns` says whose turn came, in order. */
  function queue() {
    const hasher = new PasswordHasher(CHEAP);
    const verify = spyOn(Bun.password, "verify");
    const ask = (source: string, request: Partial<HashRequest> = {}): Promise<string> =>
      outcome(hasher.verify(source, undefined, { source, ...request })); // the password says whose it is
    return {
      hasher,
      ask,
      verify,
      turns: () => verify.mock.calls.map(([password]) => password as string),
      [Symbol.dispose]: () => verify.mockRestore(),
    };
  }

  test("lets those in first who have been here before", async () => {
    using jobs = queue();
    const strangers = Array.from({ length: 8 }, (_, index) => jobs.ask(`stranger ${index}`));
    const running = jobs.turns().length;
    await jobs.ask("known", { isKnown: true });
    expect(jobs.turns().indexOf("known")).toBe(running);
    await Promise.all(strangers);
  });

  test("gives other sources every third turn while known ones ask again as soon as they are answered", async () => {
    using jobs = queue();
    let isOver = false;
    const again = async (source: string): Promise<void> => {
      while (!isOver) await jobs.ask(source, { isKnown: true });
    };
    const looping = ["one", "two", "three", "four", "five", "six"].map(again);
    const strangers = Array.from({ length: 5 }, (_, index) => jobs.ask(`stranger ${index}`));
    await Promise.all(strangers);
    isOver = true;
    await Promise.all(looping);
    const turns = jobs.turns();
    const places = strangers.map((_, index) => turns.indexOf(`stranger ${index}`));
    const pauses = places.slice(1).map((place, index) => place - (places[index] ?? 0));
    expect(pauses).toEqual([3, 3, 3, 3]);
  });

  test("lets a few of one address wait, the rest is busy, and another address has its turn among the few", async () => {
    using jobs = queue();
    const flood = Array.from({ length: 100 }, () => jobs.ask("flood"));
    const running = jobs.turns().length;
    expect(await jobs.ask("quiet")).toBe("done");
    const flooded = await Promise.all(flood);
    expect(flooded).toEqual([
      ...Array.from({ length: running + MAX_HASH_QUEUE_PER_ADDRESS }, () => "done"),
      ...Array.from({ length: 100 - running - MAX_HASH_QUEUE_PER_ADDRESS }, () => "busy"),
    ]);
    expect(jobs.turns().indexOf("quiet")).toBe(running);
  });

  test("holds so many in all, and those who have waited keep their place", async () => {
    using jobs = queue();
    const all = Array.from({ length: 100 }, (_, index) => jobs.ask(`${index}`));
    const running = jobs.turns().length;
    const ended = await Promise.all(all);
    expect(ended.lastIndexOf("done")).toBe(running + MAX_HASH_QUEUE - 1);
    expect(count(ended, "done")).toBe(running + MAX_HASH_QUEUE);
    expect(count(ended, "busy")).toBe(100 - running - MAX_HASH_QUEUE);
  });

  test("when full, gives a newcomer the last place of whoever has most", async () => {
    using jobs = queue();
    const crowd = Array.from({ length: 100 }, (_, index) => jobs.ask(`${index % 9}`));
    const running = jobs.turns().length;
    const newcomer = jobs.ask("newcomer");
    expect(await newcomer).toBe("done");
    expect(count(await Promise.all(crowd), "done")).toBe(running + MAX_HASH_QUEUE - 1);
    expect(jobs.turns().indexOf("newcomer")).toBeLessThan(running + 10); // each of the others has one turn before
  });

  test("answers a job that is not wanted any more at once: it is never hashed, and its place is free", async () => {
    using jobs = queue();
    const controller = new AbortController();
    const { signal } = controller;
    const flood = Array.from({ length: 100 }, () => jobs.ask("one address")); // some run, the queue is full
    const running = jobs.turns().length;
    const unwanted = Array.from({ length: MAX_HASH_QUEUE_PER_ADDRESS }, () => jobs.ask("a", { signal }));
    expect(await jobs.ask("a")).toBe("busy");
    const never = jobs.ask("b", { signal: AbortSignal.abort("late") });
    controller.abort("late");
    const wanted = jobs.ask("a");
    const late = await Promise.all([...unwanted, never]);
    expect(new Set(late)).toEqual(new Set(["late"]));
    expect(jobs.turns()).toHaveLength(running); // no hash had to end for that
    expect(await wanted).toBe("done");
    await Promise.all(flood);
    expect(jobs.turns().filter((source) => source === "a")).toHaveLength(1);
  });

  test("answers at once, too, while it is hashed; the hash keeps its place until it ends", async () => {
    using jobs = queue();
    const controller = new AbortController();
    const hashed = Promise.withResolvers<boolean>();
    jobs.verify.mockImplementation(() => hashed.promise);
    const unwanted = Array.from({ length: 4 }, (_, n) => jobs.ask(`${n}`, { signal: controller.signal }));
    const running = jobs.turns().length;
    controller.abort("late");
    expect(await Promise.all(unwanted)).toEqual(["late", "late", "late", "late"]);
    const next = jobs.ask("next");
    await new Promise(setImmediate);
    expect(jobs.turns()).toHaveLength(running); // as many run as may
    hashed.resolve(false);
    expect(await next).toBe("done");
  });

  test("goes on after passwords that cannot be hashed", async () => {
    using jobs = queue();
    // The hash of nothing is refused; what it says is not the point.
    for (let index = 0; index < 4; index++) jobs.hasher.hash("", { source: `${index}` }).catch(() => {});
    await new Promise(setImmediate);
    void jobs.ask("after");
    expect(jobs.turns()).toEqual(["after"]);
  });
});
