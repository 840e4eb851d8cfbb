// The command line of the bench.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { CONTENDERS, type Contender } from "./contenders.ts";
import { GROUPS, WORKLOADS, type Workload } from "./workloads.ts";

export interface Flags {
  contenders: readonly Contender[];
  workloads: readonly Workload[];
  rounds: number;
  quick: boolean;
  goals: boolean;
  /** A commit that parley is compared with, beside the same load. */
  against?: string;
  json?: string;
  svg?: string;
  write?: string;
  parley: string;
}

const MAX_ROUNDS = 100;
/** Of a comparison: fewer say too little of the spread. */
const LEAST_ROUNDS = 5;
/** What is compared with another commit if nothing else is chosen. */
const HEADLINE = {
  contenders: "none,password,handler,acknowledged,room",
  workloads: "message,connect,members-1000",
};
const HELP = `bun scripts/bench.ts [flags]
  --contenders A,B…   only these (--list)
  --workloads A,B…    only these, or all of a group (--list)
  --rounds N          how often everything is measured (default 5)
  --quick             a fifth of the messages
  --goals             say which goals are met
  --json FILE         every figure
  --svg FILE          a bar chart
  --write FOLDER      performance.md in FOLDER is given the tables, the goals and the chart beside it
  --against COMMIT    builds that commit, too, and compares both under the same load, in the same rounds; without other
                      flags the headline workloads alone. Exit code 1 when something became slower
  --parley FILE       another executable (dist/parley)
  --list              name contenders and workloads, and leave
`;

/** What the command line says; leaves when it only asks, or asks for what there is not. */
export function readFlags(argv: string[] = process.argv.slice(2)): Flags {
  try {
    return parse(argv);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(2);
  }
}

function parse(args: string[]): Flags {
  const { values } = parseArgs({
    args,
    options: {
      contenders: { type: "string" },
      workloads: { type: "string" },
      rounds: { type: "string", default: "5" },
      quick: { type: "boolean", default: false },
      goals: { type: "boolean", default: false },
      against: { type: "string" },
      json: { type: "string" },
      svg: { type: "string" },
      write: { type: "string" },
      parley: { type: "string", default: join(import.meta.dir, "..", "..", "dist", "parley") },
      list: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help || values.list) {
    process.stdout.write(values.help ? HELP : list());
    process.exit(0);
  }
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > MAX_ROUNDS)
    throw new Error(`--rounds: 1 to ${MAX_ROUNDS}`);
  if (!existsSync(values.parley)) throw new Error(`no ${values.parley}: run bun scripts/build.ts first`);
  const isComparison = values.against !== undefined;
  if (isComparison && rounds < LEAST_ROUNDS)
    throw new Error(`--against needs ${LEAST_ROUNDS} rounds or more: with less there is no spread`);
  if (isComparison && values.write !== undefined) throw new Error("--write: not together with --against");
  const all = isComparison ? CONTENDERS.filter(({ isParley }) => isParley) : CONTENDERS;
  const headline = isComparison ? HEADLINE : undefined;
  const contenders = chosen("contenders", values.contenders ?? headline?.contenders, all, ({ name }) => [
    name,
  ]);
  const workloads = chosen(
    "workloads",
    values.workloads ?? headline?.workloads,
    WORKLOADS,
    ({ name, group }) => [name, group],
  );
  return { ...values, rounds, contenders, workloads };
}

/** Those that one of the names in `wanted` belongs to; all without it. */
function chosen<T>(
  flag: string,
  wanted: string | undefined,
  all: readonly T[],
  namesOf: (one: T) => string[],
): readonly T[] {
  if (wanted === undefined) return all;
  const names = wanted.split(",");
  const known = [...new Set(all.flatMap(namesOf))];
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`--${flag}: no ${unknown}; there are ${known.join(", ")}`);
  return all.filter((one) => namesOf(one).some((name) => names.includes(name)));
}

function list(): string {
  const line = (name: string, title: string) => `  ${name.padEnd(20)}${title}\n`;
  const contenders = CONTENDERS.map(({ name, title }) => line(name, title.replaceAll("`", "")));
  const groups = Object.entries(GROUPS).map(([group, title]) => {
    const names = WORKLOADS.filter((workload) => workload.group === group).map(({ name }) => name);
    return `${line(group, title)}${line("", names.join(", "))}`;
  });
  return `contenders\n${contenders.join("")}\nworkloads, by group\n${groups.join("")}`;
}
