// Figures → medians, spreads and a Markdown table.

import { CONTENDERS, TITLES, type Contender } from "./contenders.ts";

/** Everything measured of one workload: a value a round, for each contender. */
export interface Measured {
  name: string;
  unit: "µs" | "KiB";
  values: Record<Contender, number[]>;
}

/** Above this the machine had other things to do, and the figures are not to be believed. */
export const MAX_SPREAD = 0.15;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Largest less smallest, as a share of the median. */
export function spread(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / median(values);
}

/** How many times the bare server's cost: the median over the rounds, each compared within itself. */
export function ratio({ values }: Measured, contender: Contender): number {
  return median(values[contender].map((value, round) => value / values.bare[round]!));
}

export function table(all: readonly Measured[]): string {
  const rows = all.map((measured) => [
    measured.name,
    ...CONTENDERS.map((contender) => cell(measured.values[contender], measured.unit)),
    ...CONTENDERS.slice(1).map((contender) =>
      measured.unit === "µs" ? `${ratio(measured, contender).toFixed(2)} ×` : "",
    ),
  ]);
  const titles = CONTENDERS.map((contender) => TITLES[contender]);
  const head = ["", ...titles, ...CONTENDERS.slice(1).map((contender) => `${contender} / bare`)];
  const rule = head.map((_, column) => (column === 0 ? "---" : "---:"));
  return [head, rule, ...rows].map((row) => `| ${row.join(" | ")} |\n`).join("");
}

/** Why not to believe the figures, a sentence each; empty when they may be. */
export function doubts(all: readonly Measured[]): string[] {
  return all.flatMap(({ name, values }) =>
    CONTENDERS.filter((contender) => spread(values[contender]) > MAX_SPREAD).map(
      (contender) => `${name}, ${contender}: rounds differ by ${percent(spread(values[contender]))}`,
    ),
  );
}

function cell(values: readonly number[], unit: string): string {
  return `${median(values).toPrecision(3)} ${unit} (±${percent(spread(values) / 2)})`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
