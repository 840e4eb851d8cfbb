// Memory that many holders share: what is counted, when it is short, and who is asked to give some back.

import { expect, test } from "bun:test";
import { ByteBudget } from "../../src/base/byte-budget.ts";

test("is short from half of its limit on, and exceeded beyond it", () => {
  let exceeded = 0;
  const budget = new ByteBudget(100, () => void exceeded++);
  budget.take(50);
  expect([budget.isShort, budget.isExceeded, exceeded]).toEqual([false, false, 0]);
  budget.take(1);
  expect([budget.isShort, budget.isExceeded, exceeded]).toEqual([true, false, 0]);
  budget.take(49);
  expect([budget.isExceeded, exceeded]).toEqual([false, 0]);
  budget.take(1);
  expect([budget.isExceeded, exceeded]).toEqual([true, 1]);
  budget.give(101);
  expect([budget.used, budget.isShort]).toEqual([0, false]);
});

test("a part counts in the whole, and is short when the whole is", () => {
  const whole = new ByteBudget(100);
  const part = new ByteBudget(60, () => undefined, whole);
  part.take(20);
  whole.take(40);
  expect([whole.used, part.used, part.isShort]).toEqual([60, 20, true]);
  part.give(20);
  expect([whole.used, part.used, part.isShort]).toEqual([40, 0, false]);
});

test("what is taken while memory is given back does not ask for more of it", () => {
  const asked: number[] = [];
  const budget: ByteBudget = new ByteBudget(10, () => {
    asked.push(budget.used);
    budget.take(5); // a session that ends says so to others
    budget.give(20);
  });
  budget.take(16);
  expect(asked).toEqual([16]);
  expect(budget.used).toBe(1);
});

test("it asks again after a holder has failed to give back", () => {
  let asked = 0;
  const budget = new ByteBudget(10, () => {
    asked++;
    throw new Error("failed");
  });
  expect(() => budget.take(11)).toThrow("failed");
  expect(() => budget.take(1)).toThrow("failed");
  expect(asked).toBe(2);
});
