// Figures of rounds, and what may be said of them: medians, spreads, and ratios within a round only.

export type Unit = "µs" | "ms" | "KiB" | "×" | "instructions";

/** Everything measured in a workload: for each contender by name a figure a round. */
export interface Measured {
  name: string;
  group: string;
  title: string;
  unit: Unit;
  values: Record<string, number[]>;
}

/** Above this the machine had other things to do, and the figures are not to be believed. */
export const MAX_SPREAD = 0.15;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The figures there are, one a round. */
export function figures(measured: Measured | undefined, contender: string): readonly number[] {
  return measured?.values[contender] ?? [];
}

/** The median of the rounds, undefined where nothing was measured. */
export function typical(measured: Measured | undefined, contender: string): number | undefined {
  const found = figures(measured, contender);
  return found.length === 0 ? undefined : median(found);
}

/** Half of largest less smallest. */
export function halfRange(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / 2;
}

/** … as a share of the median. */
export function spread(values: readonly number[]): number {
  return halfRange(values) / Math.abs(median(values));
}

/** How many times what `yardstick` has, in each round. */
export function ratios(
  measured: Measured | undefined,
  contender: string,
  yardstick: string,
  than: Measured | undefined = measured,
): number[] {
  return figures(measured, contender).flatMap((value, round) => {
    const other = than?.values[yardstick]?.[round];
    return other === undefined ? [] : [value / other];
  });
}

/** How many times what `yardstick` has: the median over the rounds, each compared within itself. */
export function ratio(measured: Measured, contender: string, yardstick: string): number | undefined {
  const shares = ratios(measured, contender, yardstick);
  return shares.length === 0 ? undefined : median(shares);
}

/** Why not to believe the figures, a sentence each; empty when they may be. */
export function doubts(all: readonly Measured[]): string[] {
  return all.flatMap((measured) =>
    Object.keys(measured.values).flatMap((contender) => {
      const found = figures(measured, contender);
      // A bytes-for-bytes comparison of next to nothing says nothing of the machine.
      if (found.length < 2 || measured.unit === "KiB" || spread(found) <= MAX_SPREAD) return [];
      return `${measured.name}, ${contender}: rounds differ by ±${percent(spread(found))}`;
    }),
  );
}

/** Three digits, and no exponent. */
export function say(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
