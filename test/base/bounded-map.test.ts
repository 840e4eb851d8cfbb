// A bounded map forgets the oldest entry, and nothing else.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { BoundedMap } from "../../src/base/bounded-map.ts";

test("the entry that was set longest ago makes room; setting one anew makes it the newest", () => {
  const map = new BoundedMap<string, number>(2);
  map.set("a", 1).set("b", 2).set("a", 3).set("c", 4);
  expect([...map]).toEqual([
    ["a", 3],
    ["c", 4],
  ]);
});

test("setting an entry of a full map anew removes no other", () => {
  const map = new BoundedMap<string, number>(2);
  map.set("a", 1).set("b", 2).set("a", 3);
  expect([...map.keys()]).toEqual(["b", "a"]);
});

test("it holds the last distinct keys that were set, in that order, less those that were deleted", () => {
  const key = fc.integer({ min: 0, max: 9 });
  const steps = fc.array(fc.record({ key, isSet: fc.boolean() }), { maxLength: 60 });
  const property = fc.property(fc.integer({ min: 1, max: 5 }), steps, (max, all) => {
    const map = new BoundedMap<number, number>(max);
    let expected: number[] = [];
    for (const { key: each, isSet } of all) {
      expected = expected.filter((other) => other !== each);
      if (isSet) expected = [...expected, each].slice(-max);
      if (isSet) map.set(each, each);
      else map.delete(each);
      expect([...map.keys()]).toEqual(expected);
    }
  });
  fc.assert(property);
});
