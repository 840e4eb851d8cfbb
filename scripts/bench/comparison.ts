// Two versions of parley under the same load, in the same rounds: how many times what the one before took, and whether the
// difference is more than the rounds differ among themselves.

import { figures, median, ratios, say, type Measured } from "./results.ts";

/** What is added to a contender's name for the version before. */
export const BEFORE = "@before";
/** Less than this is no difference, however close together the rounds are. */
const LEAST = 0.02;

export type Change = "slower" | "faster" | "same" | "one round";

export interface Comparison {
  workload: string;
  contender: string;
  before: number;
  now: number;
  unit: string;
  /** Now ÷ before, each round compared within itself: the median, the smallest, the largest. */
  ratio: number;
  lowest: number;
  highest: number;
  change: Change;
}

export function compare(all: readonly Measured[]): Comparison[] {
  return all.flatMap((measured) =>
    Object.keys(measured.values).flatMap((contender): Comparison[] => {
      const rounds = ratios(measured, contender, `${contender}${BEFORE}`);
      if (rounds.length === 0) return [];
      const [ratio, lowest, highest] = [median(rounds), Math.min(...rounds), Math.max(...rounds)];
      return [
        {
          workload: measured.name,
          contender,
          before: median(figures(measured, `${contender}${BEFORE}`)),
          now: median(figures(measured, contender)),
          unit: measured.unit,
          ratio,
          lowest,
          highest,
          change: rounds.length === 1 ? "one round" : changeOf(ratio, highest - lowest),
        },
      ];
    }),
  );
}

/** By the whole spread: with 5 rounds, half of it would call one in 15 rows of two equal versions changed, all of it one in 170. */
function changeOf(ratio: number, spread: number): Change {
  if (Math.abs(ratio - 1) <= Math.max(spread, LEAST)) return "same";
  return ratio > 1 ? "slower" : "faster";
}

export function comparisonTable(all: readonly Comparison[], commit: string): string {
  const rows = all.map(({ workload, contender, before, now, unit, ratio, lowest, highest, change }) => {
    const said = change === "slower" ? "**slower**" : change;
    return `| ${workload} | ${contender} | ${say(before)} ${unit} | ${say(now)} ${unit} | ${ratio.toFixed(3)} × (${lowest.toFixed(3)} to ${highest.toFixed(3)}) | ${said} |\n`;
  });
  return `| workload | contender | ${commit} | now | now ÷ before | |\n| --- | --- | ---: | ---: | ---: | --- |\n${rows.join("")}`;
}
