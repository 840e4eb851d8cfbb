// What a run of the benchmark may say of its goals: nothing that the differences between its rounds do not bear out.

import { expect, test } from "bun:test";
import { goalList, goals } from "../../scripts/bench/goals.ts";
import type { Measured } from "../../scripts/bench/results.ts";

const TEXT = "50 × 1 × 64 B: ahead of tokio";

/** What is said of being ahead of a yardstick that takes 100 in each round. */
function line(values: Record<string, number[]>): string[] {
  const rounds = Math.max(...Object.values(values).map(({ length }) => length));
  const tokio = Array.from({ length: rounds }, () => 100);
  const one: Measured = {
    name: "one",
    group: "message",
    title: "",
    unit: "µs",
    values: { ...values, tokio },
  };
  const all = goals([one]);
  const listed = goalList(all)
    .split("\n")
    .find((row) => row.includes(TEXT));
  return (listed ?? "").split(" | ").slice(1);
}

test.each([
  ["clear of the limit, however far apart the rounds", [40, 60, 80], "0.6 × ±33 %", "met"],
  ["over it in every round", [110, 112, 114], "1.12 × ±2 %", "**not met**"],
  ["nearer to it than the rounds are to one another", [60, 95, 140], "0.95 × ±42 %", "too noisy"],
  ["over it, and as near", [90, 105, 120], "1.05 × ±14 %", "too noisy"],
  ["at the limit each time", [100, 100], "1 ×", "met"],
  ["a single round", [99], "0.99 ×", "met"],
])("%s", (_, rounds, found, verdict) => {
  expect(line({ none: rounds, password: rounds })).toEqual([
    `none ${found}, password ${found}`,
    `${verdict} |`,
  ]);
});

test("one that misses it clearly decides, whatever the others", () => {
  expect(line({ none: [50, 150], password: [120, 121] })[1]).toBe("**not met** |");
  expect(line({ password: [120, 121] })[1]).toBe("**not met** |");
  expect(line({ none: [50, 150], password: [80, 81] })[1]).toBe("too noisy |");
});

test("what was measured of some only is incomplete, and without a figure nothing was measured", () => {
  expect(line({ none: [80, 81] })).toEqual(["none 0.805 × ±1 %", "incomplete |"]);
  expect(line({ bare: [80, 81] })).toEqual(["", "not measured |"]);
  for (const row of goalList(goals([])).trimEnd().split("\n").slice(2))
    expect(row).toEndWith(" |  | not measured |");
});
