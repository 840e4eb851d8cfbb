// What a scene hands to the table.

export interface Figure {
  scene: string;
  what: string;
  measured: string;
  /** What does not hold; undefined where everything does, or nothing was claimed. */
  fault?: string | undefined;
}

/** What is wanted of a run: counts and the first seed. */
export interface Scale {
  messages: number;
  cuts: number;
  seeds: number[];
  tries: number;
  sessions: number;
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** Where two lists part; undefined where they do not. */
export function parting(got: readonly string[], wanted: readonly string[]): string | undefined {
  const at = wanted.findIndex((line, index) => got[index] !== line);
  if (at !== -1) return `${got.length} of ${wanted.length}; no. ${at + 1} is ${JSON.stringify(got[at])}`;
  return got.length === wanted.length ? undefined : `${got.length - wanted.length} too many`;
}
