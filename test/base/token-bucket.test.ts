// How fast something may happen: a reserve at once, then as fast as it is paid back, and a debt that is bounded.

import { expect, test } from "bun:test";
import { TokenBucket } from "../../src/base/token-bucket.ts";

test("the reserve is spent at once; what follows waits for its time", () => {
  const bucket = new TokenBucket(10, 5);
  expect(Array.from({ length: 7 }, () => bucket.spend(1, 1000))).toEqual([0, 0, 0, 0, 0, 100, 200]);
  expect(bucket.spend(1, 1200)).toBe(100); // two of three are paid back
  expect(bucket.spend(0, 1300)).toBe(0);
});

test("it fills no further than its size", () => {
  const bucket = new TokenBucket(10, 5);
  bucket.spend(5, 0);
  expect(bucket.spend(6, 1_000_000)).toBe(100);
});

test("a debt is no larger than the reserve", () => {
  const bucket = new TokenBucket(10, 5);
  expect(bucket.spend(1_000_000, 0)).toBe(500);
  expect(bucket.spend(1_000_000, 100)).toBe(500);
});
