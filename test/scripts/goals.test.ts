// What a run of the benchmark may say of its goals: nothing that the differences between its rounds do not bear out.

import { expect, test } from "bun:test";
import { goalList, goals } from "../../scripts/bench/goals.ts";
import type { Measured } from "../../scripts/bench/results.ts";

const TEXT = "start to first connection: at most 40 ms";

/** What is said of a goal of two contenders whose limit is 40. */
function line(values: Record<string, number[]>): string[] {
  const start: Measured = { name: "start", group: "start", title: "", unit: "ms", values };
  const listed = goalList(goals([start]))
    .split("\n")
    .find((row) => row.includes(TEXT));
  return (listed ?? "").split(" | ").slice(1);
}

test.each([
  ["clear of the limit, however far apart the rounds", [16, 24, 32], "24 ms ±33 %", "met"],
  ["over it in every round", [44, 45, 46], "45 ms ±2 %", "**not met**"],
  ["nearer to it than half the spread", [24, 38, 56], "38 ms ±42 %", "too noisy"],
  ["over it, and as near", [36, 42, 48], "42 ms ±14 %", "too noisy"],
  ["as near as half the spread", [36, 38, 40], "38 ms ±5 %", "too noisy"],
  ["at the limit each time", [40, 40], "40 ms", "met"],
  ["a single round", [20], "20 ms", "one round"],
])("%s", (_, rounds, found, verdict) => {
  expect(line({ none: rounds, handler: rounds })).toEqual([
    `none ${found}, handler ${found}`,
    `${verdict} |`,
  ]);
});

test("one that misses it clearly decides, whatever the others", () => {
  expect(line({ none: [20, 60], handler: [48, 49] })[1]).toBe("**not met** |");
  expect(line({ handler: [48, 49] })[1]).toBe("**not met** |");
  expect(line({ none: [20, 60], handler: [20, 21] })[1]).toBe("too noisy |");
});

test("what was measured of some only is incomplete, and without a figure nothing was measured", () => {
  expect(line({ none: [20, 21] })).toEqual(["none 20.5 ms ±2 %", "incomplete |"]);
  expect(line({ bare: [20, 21] })).toEqual(["", "not measured |"]);
  for (const row of goalList(goals([])).trimEnd().split("\n").slice(2))
    expect(row).toEndWith(" |  | not measured |");
});

test("a message's goal is a ratio within each round, one for each contender", () => {
  const values = { bare: [100, 200], handler: [107, 214], acknowledged: [115, 230], go: [108, 215] };
  const one: Measured = { name: "one", group: "message", title: "", unit: "µs", values };
  const rows = goalList(goals([one])).split("\n");
  const rowOf = (text: string) => rows.filter((row) => row.includes(`50 × 1 × 64 B${text}`));
  expect(rowOf(", handler")).toEqual([
    "| 50 × 1 × 64 B, handler: at most 1.08 × bare | handler 1.07 × | met |",
  ]);
  expect(rowOf(", acknowledged")).toEqual([
    "| 50 × 1 × 64 B, acknowledged: at most 1.12 × bare | acknowledged 1.15 × | **not met** |",
  ]);
  expect(rowOf(": ahead of go")).toEqual(["| 50 × 1 × 64 B: ahead of go | handler 0.993 × ±0 % | met |"]);
});
