// What a message, a connection and a start cost: parley beside servers that only frame, or not even that.
//
//     bun scripts/build.ts && bun scripts/bench.ts [flags]        --help names them
//
// In every round each contender does every workload, next to each other and in changing order, so that what the machine
// does meanwhile hits all alike. Tables on stdout, progress and doubts on stderr.

import { loadavg } from "node:os";
import { buildCommit } from "./bench/before.ts";
import { compare, comparisonTable } from "./bench/comparison.ts";
import { available, beforeOf, type Contender } from "./bench/contenders.ts";
import { readFlags } from "./bench/flags.ts";
import { goals, goalList } from "./bench/goals.ts";
import { chart } from "./bench/chart.ts";
import { whyNoInstructions } from "./bench/instructions.ts";
import { configuration, machine, tables, writePage } from "./bench/report.ts";
import { doubts, MAX_SPREAD, percent, say as figure, type Measured } from "./bench/results.ts";
import { pinned, Workshop, type RunningServer } from "./bench/server.ts";
import { CROWD, isFor, type Workload } from "./bench/workloads.ts";

const flags = readFlags();
const say = (text: string) => void process.stderr.write(`${text}\n`);
const began = new Date();
const load = loadavg()[0] ?? 0;

await using workshop = orLeave(() => new Workshop(flags.parley));
using before = flags.against === undefined ? undefined : orLeave(() => buildCommit(flags.against!, say));
const contenders = available(flags.contenders, workshop.folder, workshop.loadGenerator, say).flatMap(
  (contender) => (before === undefined ? contender : [beforeOf(contender, before.executable), contender]),
);
const results = new Map<Workload, Measured>();
const without = whyNoInstructions();
if (without !== undefined) say(`without instructions: ${without}`);
for (const workload of flags.workloads) {
  if (without !== undefined && workload.group === "instructions") continue;
  const { name, group, title, unit } = workload;
  const values = contenders
    .filter((contender) => isFor(workload, contender))
    .map(({ name: key }) => [key, []]);
  results.set(workload, { name, group, title, unit, values: Object.fromEntries(values) });
}
if (!pinned) say("no taskset or only one core: server and load share what there is");
if (CROWD < 20_000) say(`descriptors (ulimit -Hn) for a crowd of ${CROWD} idle connections only`);

/** What `work` gives; the exit code of a run that fails is 2, since 1 says that something became slower. */
function orLeave<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    return leave(error);
  }
}

function leave(error: unknown): never {
  say(error instanceof Error ? error.message : String(error));
  process.exit(2);
}

/** The contenders, another first each round; of two versions of one, that follow each other, another first, too. */
function orderOf(round: number): Contender[] {
  if (before !== undefined)
    return contenders.map((_, index) => contenders[round % 2 === 0 ? index : index ^ 1]!);
  const first = round % contenders.length;
  return [...contenders.slice(first), ...contenders.slice(0, first)];
}

async function measureRound(round: number): Promise<void> {
  await using servers = new AsyncDisposableStack();
  const running = new Map<Contender, Promise<RunningServer>>();
  const shared = (contender: Contender) => {
    const server =
      running.get(contender) ?? workshop.start(contender).then((started) => servers.use(started));
    running.set(contender, server);
    return server;
  };
  for (const [workload, { values }] of results) {
    if (round >= (workload.rounds ?? Infinity)) continue;
    for (const contender of orderOf(round)) {
      if (!isFor(workload, contender)) continue;
      await using own = new AsyncDisposableStack();
      const fresh = async (users?: number) => own.use(await workshop.start(contender, { users }));
      const server = workload.fresh === true ? fresh : () => shared(contender);
      const found = await workload.measure({ contender, workshop, server, quicker: flags.quick ? 5 : 1 });
      values[contender.name]!.push(found.value);
      const busy = found.busy === undefined ? "" : `, server busy ${percent(found.busy)}`;
      say(`  ${workload.name}  ${contender.name}: ${figure(found.value)} ${workload.unit}${busy}`);
    }
  }
}

for (let round = 0; round < flags.rounds; round++) {
  say(`round ${round + 1} of ${flags.rounds}`);
  await measureRound(round).catch(leave);
}

const all = [...results.values()];
const reasons = doubts(all);
if (load > 0.5) reasons.unshift(`the machine was busy before it began: load ${load.toFixed(2)}`);
if (flags.rounds === 1) reasons.unshift("one round says nothing of the spread");
if (reasons.length > 0) {
  say(
    `\nnot to be believed, the machine was too busy or the rounds too few (limit ±${percent(MAX_SPREAD)}):`,
  );
  for (const reason of reasons) say(`  ${reason}`);
}

const reached = goals(all);
const text = tables(all, contenders);
const changes = compare(all);
if (before !== undefined) process.stdout.write(`${comparisonTable(changes, before.commit)}\n`);
else process.stdout.write(flags.goals ? `${text}\n${goalList(reached)}` : text);
const { rounds, quick } = flags;
if (flags.json !== undefined) {
  const report = {
    date: began,
    machine: machine(),
    configuration: configuration(),
    bun: Bun.version,
    rounds,
    quick,
    results: all,
    goals: reached,
    changes,
    reasons,
  };
  await Bun.write(flags.json, `${JSON.stringify(report, null, 2)}\n`);
}
const picture = () => chart(all, contenders);
if (flags.svg !== undefined) await Bun.write(flags.svg, picture());
if (flags.write !== undefined) {
  const measured = `${text}\n## Goals\n\n${goalList(reached)}`;
  await writePage(flags.write, { began, rounds, measured, picture: picture(), reasons });
}
if (changes.some(({ change }) => change === "slower")) process.exitCode = 1;
