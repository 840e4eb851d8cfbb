// How long a server takes from nothing to an answer. A median of several: a process more or less is a millisecond.

import type { Contender } from "./contenders.ts";
import { median } from "./results.ts";
import type { Workshop } from "./server.ts";

const TIMES = 7;

/** From the start of the process until a connection has its answer, the end of its login where there is one. */
export async function startMs(contender: Contender, workshop: Workshop): Promise<number> {
  const times: number[] = [];
  for (let time = 0; time < TIMES; time++) {
    await using server = await workshop.start(contender);
    times.push(server.startedMs);
  }
  return median(times);
}

export function versionMs({ isParley }: Contender, { parley }: Workshop): number {
  const argv = isParley ? [parley, "--version"] : [process.execPath, "--version"];
  const times = Array.from({ length: TIMES }, () => {
    const began = performance.now();
    Bun.spawnSync(argv, { stdin: "ignore", stdout: "ignore", stderr: "inherit" });
    return performance.now() - began;
  });
  return median(times);
}
