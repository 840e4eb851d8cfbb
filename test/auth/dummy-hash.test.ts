// What an unknown user costs: what those cost who are known, and the same one each time.

import { randomBytes } from "node:crypto";
import { describe, expect, test } from "bun:test";
import { DummyHashes } from "../../src/auth/dummy-hash.ts";
import { emptyDocument, type Replica, type User } from "../../src/auth/document.ts";
import type { HashCost } from "../../src/auth/phc.ts";

/** A key of one store. */
function keyed(): () => Uint8Array {
  const key = randomBytes(32);
  return () => key;
}

const OWN = { memoryKib: 65536, time: 2, lanes: 1 };
const HASH = `${"A".repeat(22)}$${"A".repeat(43)}`;
const having = (password: string): User => ({ password, created: "2026-01-02T03:04:05Z", disabled: null });
const costing = (memory: number, time: number, lanes = 1) =>
  having(`$argon2id$v=19$m=${memory},t=${time},p=${lanes}$${HASH}`);
function fileOf(users: Iterable<[string, User]> = []): Replica {
  const document = emptyDocument();
  for (const [name, user] of users) document.users.set(name, user);
  return document;
}
const NAMES = Array.from({ length: 2000 }, (_, index) => `nobody-${index}`);

describe("an unknown user costs", () => {
  test("what the server is asked for, where nobody has a hash that could be checked", () => {
    const decoys = new DummyHashes(OWN, keyed());
    expect(decoys.costFor("nobody", fileOf())).toEqual(OWN);
    const useless = ["garbage", costing(0, 1).password, costing(8, 0).password, costing(2 ** 21, 1).password];
    const file = fileOf(useless.map((password, index) => [`user-${index}`, having(password)]));
    for (const name of NAMES) expect(decoys.costFor(name, file)).toEqual(OWN);
  });

  test("what all others cost, whatever the server is asked for", () => {
    const decoys = new DummyHashes(OWN, keyed());
    const file = fileOf([
      ["ann", costing(8192, 1)],
      ["bob", costing(8192, 1)],
      ["eve", having("garbage")],
    ]);
    for (const name of NAMES)
      expect(decoys.costFor(name, file)).toEqual({ memoryKib: 8192, time: 1, lanes: 1 });
  });

  test("what one of them costs, in their proportions, and the same each time", () => {
    const decoys = new DummyHashes(OWN, keyed());
    const file = fileOf([
      ["ann", costing(8192, 1)],
      ["bob", costing(8192, 1)],
      ["eve", costing(8192, 3)],
      ["joe", costing(8192, 1, 4)],
    ]);
    const costs = NAMES.map((name) => decoys.costFor(name, file));
    const share = (wanted: HashCost) =>
      costs.filter((cost) => Bun.deepEquals(cost, wanted)).length / NAMES.length;
    // A tenth is nine standard deviations of 2000 draws: no chance is that bad.
    for (const [memoryKib, time, lanes, wanted] of [
      [8192, 1, 1, 0.5],
      [8192, 3, 1, 0.25],
      [8192, 1, 4, 0.25],
    ] as const) {
      expect(share({ memoryKib, time, lanes })).toBeWithin(wanted - 0.1, wanted + 0.1);
    }
    for (const again of [file, fileOf(file.users), fileOf([...file.users].reverse())]) {
      expect(NAMES.map((name) => decoys.costFor(name, again))).toEqual(costs);
    }
  });

  test("what those cost who are there now", () => {
    const decoys = new DummyHashes(OWN, keyed());
    decoys.costFor("nobody", fileOf([["ann", costing(8192, 1)]]));
    const later = fileOf([["ann", costing(16384, 2)]]);
    expect(decoys.costFor("nobody", later)).toEqual({ memoryKib: 16384, time: 2, lanes: 1 });
  });

  test("what cannot be told from its name alone", () => {
    const file = fileOf([
      ["ann", costing(8192, 1)],
      ["bob", costing(16384, 1)],
    ]);
    const draw = (decoys: DummyHashes) => NAMES.map((name) => decoys.costFor(name, file).memoryKib);
    expect(draw(new DummyHashes(OWN, keyed()))).not.toEqual(draw(new DummyHashes(OWN, keyed())));
  });
});
