// What attacks cost a server and those it serves, measured against the executable.
//
//     bun scripts/build.ts && bun scripts/attack.ts [flood|silent|reader|timing|pty|descriptors|orphans|all]
//
// A Markdown table on stdout; what is over its target is marked.

import { flood } from "../test/support/attack/flood.ts";
import { fewDescriptors, leftBehind, unreadInput, unreadTerminal } from "../test/support/attack/programs.ts";
import { glutton, mute } from "../test/support/attack/reader.ts";
import { silent } from "../test/support/attack/silent.ts";
import type { Figure } from "../test/support/attack/target.ts";
import { timing } from "../test/support/attack/timing.ts";

const FLOOD = { logins: 9, roundTrips: 2000 };
/** Of each name. */
const TRIES = 200;
const ATTACKS: Readonly<Record<string, (() => Promise<Figure[]>)[]>> = {
  flood: [
    () => flood({ ...FLOOD, guesses: 64, addresses: 1, lifted: false }),
    () => flood({ ...FLOOD, guesses: 64, addresses: 1, lifted: true }),
    () => flood({ ...FLOOD, guesses: 64, addresses: 64, lifted: false }),
  ],
  silent: [() => silent(1), () => silent(8)],
  reader: [glutton, mute],
  timing: [() => timing(TRIES), () => timing(TRIES, ["--hash-memory", "8mb", "--hash-time", "1"])],
  pty: [unreadTerminal, unreadInput],
  descriptors: [
    () => fewDescriptors([], false),
    () => fewDescriptors([], true),
    () => fewDescriptors(["--pty"], false),
  ],
  orphans: [leftBehind],
};

function row({ attack, what, value, unit, target }: Figure): string {
  const shown = `${value < 100 ? value.toPrecision(3) : Math.round(value)} ${unit}`.trim();
  const limit = target === undefined ? "" : `< ${target} ${unit}${value < target ? "" : " **missed**"}`;
  return `| ${attack} | ${what} | ${shown} | ${limit} |\n`;
}

const wanted = process.argv[2] ?? "all";
const chosen = wanted === "all" ? Object.values(ATTACKS).flat() : ATTACKS[wanted];
if (chosen === undefined) throw new Error(`no attack ${wanted}: ${Object.keys(ATTACKS).join(", ")} or all`);
process.stdout.write("| attack | what | measured | target |\n| --- | --- | ---: | --- |\n");
for (const measure of chosen) {
  for (const figure of await measure()) process.stdout.write(row(figure));
}
