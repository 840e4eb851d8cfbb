// Two versions compared: what is called slower is beyond what the rounds differ among themselves.

import { expect, test } from "bun:test";
import { compare, comparisonTable } from "../../scripts/bench/comparison.ts";
import { totalOf } from "../../scripts/bench/instructions.ts";
import type { Measured } from "../../scripts/bench/results.ts";

function measured(before: number[], now: number[]): Measured {
  const values = { handler: now, "handler@before": before, bare: [1, 1, 1] };
  return { name: "many", group: "message", title: "", unit: "µs", values };
}

const change = (before: number[], now: number[]) => compare([measured(before, now)])[0]?.change;

test.each([
  ["clearly more in each round", [100, 100, 100], [110, 112, 114], "slower"],
  ["more, where the machine slows both in a round", [100, 200, 150], [110, 220, 165], "slower"],
  ["more in each round, by less than they differ", [100, 100, 100], [101.5, 108, 109.8], "same"],
  ["more by less than the rounds differ", [100, 100, 100], [98, 105, 120], "same"],
  ["more by exactly what the rounds differ", [4, 4, 4], [4, 5, 5], "same"],
  ["more by next to nothing, in rounds that are alike", [1000, 1000, 1000], [1010, 1010, 1010], "same"],
  ["clearly less", [100, 100, 100], [80, 82, 84], "faster"],
  ["in one round only", [100], [200], "one round"],
])("%s", (_, before, now, expected) => {
  expect(change(before, now)).toBe(expected as never);
});

test("the ratio is taken within each round", () => {
  const [found] = compare([measured([100, 200, 400], [150, 220, 440])]);
  expect(found).toMatchObject({ before: 200, now: 220, ratio: 1.1, lowest: 1.1, highest: 1.5 });
});

test("what has no version before is not compared", () => {
  expect(compare([measured([], [1, 2, 3])])).toEqual([]);
  expect(compare([measured([1, 2, 3], [1, 2, 3])]).map(({ contender }) => contender)).toEqual(["handler"]);
});

test("the table says which", () => {
  const table = comparisonTable(compare([measured([100, 100, 100], [110, 112, 114])]), "abc");
  expect(table).toContain("| many | handler | 100 µs | 112 µs | 1.120 × (1.100 to 1.140) | **slower** |");
});

test("the sum of a callgrind file", () => {
  expect(totalOf("version: 1\nevents: Ir\nsummary: 341454475\n\ntotals: 341706310\n")).toBe(341454475);
  expect(totalOf("events: Ir\ntotals: 12\n")).toBe(12);
  expect(() => totalOf("events: Ir\n")).toThrow("callgrind wrote no total");
});
