// Passwords: which hashes are acceptable, which passwords are, and that neither a flood nor a strange hash stops the
// hasher. Whose turn it is shows in the order in which jobs are asked whether they are still wanted.

import { describe, expect, test } from "bun:test";
import { HashQueueError, PasswordHasher, hashCost, passwordFlaw } from "../../src/auth/password.ts";
import {
  HASH_MEMORY_KIB,
  HASH_TIME,
  MAX_HASH_MEMORY_KIB,
  MAX_HASH_QUEUE,
  MAX_HASH_QUEUE_PER_ADDRESS,
  MAX_HASH_TIME,
} from "../../src/limits.ts";

const CHEAP = { memoryKib: 8, time: 1 };
const A = { source: "a" };
const SALT = "A".repeat(22);
const phc = (parameters: string, salt = SALT, hash = "A".repeat(43)): string =>
  `$argon2id$v=19$${parameters}$${salt}$${hash}`;

describe("the cost of a hash", () => {
  test("is what it was made with", async () => {
    expect(hashCost(await new PasswordHasher(CHEAP).hash("correct horse"))).toEqual(CHEAP);
    expect(hashCost(phc(`m=${HASH_MEMORY_KIB},t=${HASH_TIME},p=1`))).toEqual({
      memoryKib: HASH_MEMORY_KIB,
      time: HASH_TIME,
    });
  });

  test("may be the highest allowed, and nothing above", () => {
    const highest = { memoryKib: MAX_HASH_MEMORY_KIB, time: MAX_HASH_TIME };
    expect(hashCost(phc(`m=${highest.memoryKib},t=${highest.time},p=1`))).toEqual(highest);
    expect(hashCost(phc(`m=${highest.memoryKib + 1},t=1,p=1`))).toBeUndefined();
    expect(hashCost(phc(`m=8,t=${highest.time + 1},p=1`))).toBeUndefined();
  });

  test.each([
    ["nothing", ""],
    ["garbage", "garbage"],
    ["bcrypt", "$2b$10$NVRDdQy6JTmWbXnFOYVLkOxq0C3iQU4k6HRrJt2wJ1bPtEsp7pDaO"],
    ["argon2i", phc("m=8,t=1,p=1").replace("argon2id", "argon2i")],
    ["another version", phc("m=8,t=1,p=1").replace("v=19", "v=16")],
    ["no version", phc("m=8,t=1,p=1").replace("$v=19", "")],
    ["several lanes", phc("m=8,t=1,p=4")],
    ["2 GiB", phc("m=2097152,t=1,p=1")],
    ["more digits than a number has", phc(`m=${"9".repeat(400)},t=1,p=1`)],
    ["too little memory for a lane", phc("m=7,t=1,p=1")],
    ["no passes", phc("m=8,t=0,p=1")],
    ["a negative cost", phc("m=-8,t=1,p=1")],
    ["parameters in another order", phc("t=1,m=8,p=1")],
    ["a short salt", phc("m=8,t=1,p=1", "AAAA")],
    ["a short hash", phc("m=8,t=1,p=1", SALT, "AAAA")],
    ["something before it", ` ${phc("m=8,t=1,p=1")}`],
    ["a line end", `${phc("m=8,t=1,p=1")}\n`],
    ["the password itself", "correct horse"],
  ])("is undefined for %s", (_, hash) => {
    expect(hashCost(hash)).toBeUndefined();
  });

  test("is outdated when it is not what is asked for now, in memory or in time, less or more", () => {
    const hasher = new PasswordHasher({ memoryKib: 64, time: 2 });
    for (const cost of ["m=63,t=2", "m=64,t=1", "m=65,t=2", "m=64,t=3", "m=63,t=9"]) {
      expect(hasher.isOutdated(phc(`${cost},p=1`))).toBe(true);
    }
    expect(hasher.isOutdated(phc("m=64,t=2,p=1"))).toBe(false);
    expect(hasher.isOutdated("garbage")).toBe(false);
  });
});

describe("a new password", () => {
  test.each([
    ["", "the password has 0 characters, it needs 8"],
    ["1234567", "the password has 7 characters, it needs 8"],
    ["😀".repeat(4), "the password has 4 characters, it needs 8"],
    ["e\u0301a".repeat(3), "the password has 6 characters, it needs 8"],
    ["abc".repeat(342), "the password is over 1024 bytes"],
    ["öbc".repeat(257), "the password is over 1024 bytes"],
    ["half a \ud83d character", "the password is not valid Unicode text"],
    ["Ann.Smith", "the password is the user's name"],
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

  test.each([
    ["a salt of no whole bytes", phc("m=8,t=1,p=1", "A".repeat(25))],
    ["a hash of no whole bytes", phc("m=8,t=1,p=1", SALT, "A".repeat(41))],
  ])("nothing matches a hash with %s", async (_, hash) => {
    expect(await hasher.verify("correct horse", hash, A)).toBe(false);
  });
});

/** What became of a job: `done`, or the code with which it was turned away. */
function outcome(job: Promise<unknown>): Promise<string> {
  return job.then(
    () => "done",
    (error: unknown) => {
      if (error instanceof HashQueueError) return error.code;
      throw error;
    },
  );
}

const count = (all: string[], one: string): number => all.filter((each) => each === one).length;

describe("the queue", () => {
  /** `ask` begins a job at an address; `turns` tells whose turn came, in order. */
  function queue() {
    const hasher = new PasswordHasher(CHEAP);
    const turns: string[] = [];
    const ask = (address: string): Promise<string> =>
      outcome(hasher.verify("x", undefined, { source: address, isThere: () => turns.push(address) > 0 }));
    return { hasher, turns, ask };
  }

  test("lets those in first who have been here before", async () => {
    const { hasher, turns, ask } = queue();
    const strangers = Array.from({ length: 8 }, (_, index) => ask(`stranger ${index}`));
    const running = turns.length;
    const isThere = () => turns.push("familiar") > 0;
    await outcome(hasher.verify("x", undefined, { source: "x", familiar: true, isThere }));
    expect(turns.indexOf("familiar")).toBe(running);
    await Promise.all(strangers);
  });

  test("lets a few of one address wait, the rest is busy, and another address has its turn among the few", async () => {
    const { turns, ask } = queue();
    const flood = Array.from({ length: 100 }, () => ask("flood"));
    const running = turns.length;
    expect(await ask("quiet")).toBe("done");
    const flooded = await Promise.all(flood);
    expect(flooded).toEqual([
      ...Array.from({ length: running + MAX_HASH_QUEUE_PER_ADDRESS }, () => "done"),
      ...Array.from({ length: 100 - running - MAX_HASH_QUEUE_PER_ADDRESS }, () => "busy"),
    ]);
    expect(turns.indexOf("quiet")).toBe(running + 1);
  });

  test("holds so many in all, and those who have waited keep their place", async () => {
    const { turns, ask } = queue();
    const jobs = Array.from({ length: 100 }, (_, index) => ask(`${index}`));
    const running = turns.length;
    const ended = await Promise.all(jobs);
    expect(ended.lastIndexOf("done")).toBe(running + MAX_HASH_QUEUE - 1);
    expect(count(ended, "done")).toBe(running + MAX_HASH_QUEUE);
    expect(count(ended, "busy")).toBe(100 - running - MAX_HASH_QUEUE);
  });

  test("when full, gives a newcomer the last place of whoever has most", async () => {
    const { turns, ask } = queue();
    const crowd = Array.from({ length: 100 }, (_, index) => ask(`${index % 9}`));
    const running = turns.length;
    const newcomer = ask("newcomer");
    expect(await newcomer).toBe("done");
    expect(count(await Promise.all(crowd), "done")).toBe(running + MAX_HASH_QUEUE - 1);
    expect(turns.indexOf("newcomer")).toBeLessThan(running + 10); // each of the others has one turn before
  });

  test("drops a job that nobody waits for any more, without hashing it, and goes on", async () => {
    const { hasher, ask } = queue();
    let isThere = true;
    const first = Array.from({ length: 4 }, (_, index) => ask(`${index}`)); // the others wait behind these
    const left = outcome(hasher.verify("x", undefined, { source: "left", isThere: () => isThere }));
    const after = ask("after");
    isThere = false;
    const never = outcome(hasher.hash("x", { source: "never", isThere: () => false }));
    expect(await Promise.all([left, never])).toEqual(["gone", "gone"]);
    expect(await Promise.all([...first, after])).toEqual(["done", "done", "done", "done", "done"]);
  });

  test("goes on after passwords that cannot be hashed", async () => {
    const { hasher, turns, ask } = queue();
    // The hash of nothing is refused; what it says is not the point.
    for (let index = 0; index < 4; index++) hasher.hash("", { source: `${index}` }).catch(() => {});
    await new Promise(setImmediate);
    void ask("after");
    expect(turns).toEqual(["after"]);
  });
});
