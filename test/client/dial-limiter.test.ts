// How often one client dials, however it asks.

import { expect, test } from "bun:test";
import { DialLimiter } from "../../src/client/dial-limiter.ts";

/** The times of dials that are asked for at once after each other, `gap()` ms after the last was made. */
function dials(count: number, gap: () => number): number[] {
  const limiter = new DialLimiter();
  const times: number[] = [];
  for (let now = 0; times.length < count; now += gap()) {
    now += limiter.take(now);
    times.push(now);
  }
  return times;
}

/** The most dials in any ten seconds. */
function mostInTenSeconds(times: readonly number[]): number {
  return Math.max(...times.map((from) => times.filter((at) => at >= from && at <= from + 10_000).length));
}

test.each([
  ["in a loop", () => 0],
  ["every 100 ms", () => 100],
  ["in bursts", () => (Math.random() < 0.1 ? 15_000 * Math.random() : 0)],
])("there are never more than 20 dials in 10 s: %s", (_, gap) => {
  expect(mostInTenSeconds(dials(300, gap))).toBeLessThanOrEqual(20);
});

test("a client that dials seldom does not wait", () => {
  const limiter = new DialLimiter();
  expect(Array.from({ length: 50 }, (_, n) => limiter.take(n * 1000))).toEqual(Array(50).fill(0));
});

test("dials that were asked for at the same time are spaced, too", () => {
  const limiter = new DialLimiter();
  const waits = Array.from({ length: 13 }, () => limiter.take(0));
  expect(waits).toEqual([...Array<number>(10).fill(0), 1000, 2000, 3000]);
});
