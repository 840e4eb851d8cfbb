// Instructions that a server executes for each message, counted by Valgrind's callgrind: they do not move with what else the
// machine does. Only those of the process count, not those of the kernel, and compiled JavaScript counts as it is.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Contender } from "./contenders.ts";
import type { Asks, Gives, Kind } from "./load/run.ts";
import type { Workshop } from "./server.ts";

/** What is missing for it, or undefined. */
export function whyNoInstructions(): string | undefined {
  const missing = ["valgrind", "callgrind_control"].find((tool) => Bun.which(tool) === null);
  return missing && `there is no ${missing}`;
}

/** Does `asks` for the second time, once the code is compiled, and counts. */
export async function instructionsOf<K extends Kind>(
  contender: Contender,
  workshop: Workshop,
  kind: K,
  asks: Asks<K> & { warmUp: number },
): Promise<number> {
  const output = join(workshop.folder, `callgrind-${crypto.randomUUID()}`);
  const under = [
    "valgrind",
    "--tool=callgrind",
    `--callgrind-out-file=${output}`,
    `--log-file=${output}.log`,
  ];
  // A password is checked by a server that runs as usual: under Valgrind that takes longer than a login may.
  await using usual = await workshop.start(contender);
  await using server = await workshop.start(contender, { under, again: usual });
  await workshop.load(kind, server, asks);
  control("--zero", server.pid);
  const done: Gives<Kind> = await workshop.load(kind, server, { ...asks, warmUp: 0 });
  control("--dump", server.pid);
  if (!("count" in done)) throw new Error(`${kind} counts nothing`);
  return totalOf(readFileSync(`${output}.1`, "utf8")) / done.count;
}

function control(command: string, pid: number): void {
  const { exitCode, stderr } = Bun.spawnSync(["callgrind_control", command, String(pid)], {
    stdout: "ignore",
    stderr: "pipe",
  });
  if (exitCode !== 0) throw new Error(`callgrind_control ended with ${exitCode}: ${stderr.toString()}`);
}

/** The sum of a callgrind file. */
export function totalOf(text: string): number {
  const total = /^(?:totals|summary): (\d+)/m.exec(text)?.[1];
  if (total === undefined) throw new Error("callgrind wrote no total");
  return Number(total);
}
