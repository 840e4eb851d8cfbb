// Durable sessions at scale, measured with the executable on loopback: ways that are cut, servers that are killed, and
// what sessions cost that sleep.
//
//     bun scripts/build.ts && bun scripts/durable.ts [SCENE…] [--messages N] [--cuts N] [--seed N] [--seeds N]
//                                                    [--tries N] [--sessions N]
//
// Scenes: echo tls program chat kill sleeping; all of them when none is named, which takes minutes. A Markdown table on
// stdout; exit 1 when something does not hold.

import { parseArgs } from "node:util";
import { chat, through, WAYS } from "./durable/cuts.ts";
import type { Figure, Scale } from "./durable/figure.ts";
import { kill } from "./durable/kill.ts";
import { sleeping } from "./durable/sleeping.ts";

const DEFAULTS = { messages: 10_000, cuts: 200, seed: 1, seeds: 5, tries: 50, sessions: 1000 };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, { type: "string" as const }])),
});
const count = (name: keyof typeof DEFAULTS): number => {
  const value = Number(values[name] ?? DEFAULTS[name]);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} takes a number from 1 up`);
  return value;
};
const scale: Scale = {
  messages: count("messages"),
  cuts: count("cuts"),
  seeds: Array.from({ length: count("seeds") }, (_, n) => count("seed") + n),
  tries: count("tries"),
  sessions: count("sessions"),
};

type Scene = () => AsyncGenerator<Figure>;

async function* seeded(scene: (seed: number) => Promise<Figure>): AsyncGenerator<Figure> {
  for (const seed of scale.seeds) yield await scene(seed);
}

const SCENES: Readonly<Record<string, Scene>> = {
  echo: () => seeded((seed) => through(WAYS.echo, scale, seed)),
  tls: () => seeded((seed) => through(WAYS.tls, scale, seed)),
  program: () => seeded((seed) => through(WAYS.program, scale, seed)),
  chat: () => seeded((seed) => chat(scale, seed)),
  kill: () => kill(scale),
  sleeping: () => sleeping(scale),
};

const names = positionals.length === 0 || positionals.includes("all") ? Object.keys(SCENES) : positionals;
const unknown = names.find((name) => !Object.hasOwn(SCENES, name));
if (unknown !== undefined) throw new Error(`no scene ${unknown}: ${Object.keys(SCENES).join(", ")} or all`);

process.stdout.write("| scene | what | measured | holds |\n| --- | --- | --- | --- |\n");
for (const name of names) {
  for await (const { scene, what, measured, fault } of SCENES[name]?.() ?? []) {
    process.stdout.write(
      `| ${scene} | ${what} | ${measured} | ${fault === undefined ? "yes" : `**no**: ${fault}`} |\n`,
    );
    if (fault !== undefined) process.exitCode = 1;
  }
}
