// Rations: so many in any window, for each source, and a bounded memory of sources.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { SlidingWindowLimiter } from "../../src/auth/sliding-window-limiter.ts";
import { MAX_PENALISED_SOURCES } from "../../src/base/limits.ts";

test("gives so many, then says how long until the oldest no longer counts", () => {
  const ration = new SlidingWindowLimiter(3, 1000);
  for (const at of [0, 100, 200]) expect(ration.take("a", at)).toBeUndefined();
  expect(ration.take("a", 200)).toBe(800);
  expect(ration.take("a", 999)).toBe(1);
  expect(ration.take("a", 1000)).toBeUndefined();
  expect(ration.take("a", 1000)).toBe(100);
  expect(ration.count("a", 1000)).toBe(3);
  expect(ration.count("b", 1000)).toBe(0);
});

test("what came to nothing is given back, once", () => {
  const ration = new SlidingWindowLimiter(2, 1000);
  for (const at of [0, 100]) ration.take("a", at);
  ration.giveBack("a", 100);
  ration.giveBack("a", 100);
  ration.giveBack("b", 100);
  expect(ration.take("a", 200)).toBeUndefined();
  expect(ration.take("a", 200)).toBe(800);
});

test("a source that is forgotten has all again", () => {
  const ration = new SlidingWindowLimiter(1, 1000);
  ration.take("a", 0);
  ration.reset("b");
  expect(ration.take("a", 0)).toBe(1000);
  ration.reset("a");
  expect(ration.take("a", 0)).toBeUndefined();
});

test("no window ever holds more than the ration, whenever they are taken", () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 5 }),
    fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 60 }),
    (max, pauses) => {
      const ration = new SlidingWindowLimiter(max, 1000);
      const taken: number[] = [];
      let now = 0;
      for (const pause of pauses) {
        now += pause;
        const inWindow = taken.filter((at) => now - at < 1000).length;
        const wait = ration.take("a", now);
        expect(wait === undefined).toBe(inWindow < max);
        if (wait === undefined) taken.push(now);
      }
    },
  );
  fc.assert(property);
});

test("of counts past its ration only the last ones are kept", () => {
  const ration = new SlidingWindowLimiter(3, 1000);
  for (let at = 0; at < 500; at++) ration.record("a", at);
  expect(ration.count("a", 499)).toBe(3);
  expect(ration.take("a", 499)).toBe(998);
});

test("70,000 sources: those counted last are remembered, the oldest make room", () => {
  const ration = new SlidingWindowLimiter(1, 1000);
  for (let n = 0; n < 70_000; n++) ration.record(`source ${n}`, 0);
  const first = 70_000 - MAX_PENALISED_SOURCES;
  expect(ration.count("source 69999", 0)).toBe(1);
  expect(ration.count(`source ${first}`, 0)).toBe(1);
  expect(ration.count(`source ${first - 1}`, 0)).toBe(0);
});
