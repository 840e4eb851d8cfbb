// What a message costs: CPU time of the server for each echoed message, parley beside a bare Bun.listen.
//
//     bun scripts/build.ts && bun scripts/bench.ts [--rounds N] [--quick] [--json FILE] [--parley FILE]
//
// In every round each contender does every workload, next to each other and in changing order, so that what the machine
// does meanwhile hits all alike. Table on stdout, progress and doubts on stderr.

import { existsSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  CONTENDERS,
  pinned,
  runLoad,
  startServer,
  type Contender,
  type RunningServer,
} from "./bench/contenders.ts";
import type { EchoResult, IdleResult } from "./bench/load.ts";
import { doubts, MAX_SPREAD, table, type Measured } from "./bench/report.ts";

const KIB = 1024;
/** `messages` make about a second of CPU time. */
const WORKLOADS = [
  { name: "50 × 1 × 64 B", connections: 50, inFlight: 1, bytes: 64, messages: 150_000 },
  { name: "50 × 32 × 64 B", connections: 50, inFlight: 32, bytes: 64, messages: 2_000_000 },
  { name: "50 × 4 × 16 KiB", connections: 50, inFlight: 4, bytes: 16 * KIB, messages: 100_000 },
  { name: "4 × 4 × 1 MiB", connections: 4, inFlight: 4, bytes: 1024 * KIB, messages: 1_500 },
];
const IDLE_FEW = 200;
const IDLE_MANY = 1000;

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    quick: { type: "boolean", default: false },
    json: { type: "string" },
    only: { type: "string", default: CONTENDERS.join() },
    workloads: { type: "string", default: "" },
    parley: { type: "string", default: join(import.meta.dir, "..", "dist", "parley") },
  },
});
const rounds = Number(flags.rounds);
if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100) throw new Error("--rounds: 1 to 100");
if (!existsSync(flags.parley)) throw new Error(`no ${flags.parley}: run bun scripts/build.ts first`);

const say = (text: string) => process.stderr.write(`${text}\n`);

const contenders = CONTENDERS.filter(
  (contender) => contender === "bare" || flags.only.split(",").includes(contender),
);

function measured(name: string, unit: Measured["unit"]): Measured {
  return { name, unit, values: { bare: [], none: [], password: [], durable: [], handler: [] } };
}

const costs = WORKLOADS.map(({ name }) => measured(name, "µs"));
const memory = measured(`an idle connection (${IDLE_FEW} to ${IDLE_MANY})`, "KiB");
const results = [...costs, memory];

/** The contenders, another first each round. */
function orderOf(round: number): Contender[] {
  const first = round % contenders.length;
  return [...contenders.slice(first), ...contenders.slice(0, first)];
}

async function measureCosts(order: readonly Contender[]): Promise<void> {
  await using servers = new AsyncDisposableStack();
  const running = new Map<Contender, RunningServer>();
  for (const contender of order) {
    running.set(contender, servers.use(await startServer(contender, flags.parley)));
  }
  for (const [index, { name, ...workload }] of WORKLOADS.entries()) {
    if (!name.includes(flags.workloads)) continue;
    for (const [contender, { port, pid, credential }] of running) {
      const messages = flags.quick ? workload.messages / 5 : workload.messages;
      const job = { kind: "echo" as const, port, pid, credential, ...workload, messages };
      const result = await runLoad<EchoResult>(job);
      const cost = result.cpuNs / 1000 / result.messages;
      costs[index]!.values[contender].push(cost);
      const busy = Math.round((100 * result.cpuNs) / result.wallNs);
      say(`  ${costs[index]!.name}  ${contender}: ${cost.toPrecision(3)} µs, server busy ${busy} %`);
    }
  }
}

async function measureMemory(order: readonly Contender[]): Promise<void> {
  for (const contender of order) {
    await using server = await startServer(contender, flags.parley);
    const { port, pid, credential } = server;
    const job = { kind: "idle" as const, port, pid, credential, few: IDLE_FEW, many: IDLE_MANY };
    const kib = (await runLoad<IdleResult>(job)).bytesPerConnection / KIB;
    memory.values[contender].push(kib);
    say(`  idle  ${contender}: ${kib.toFixed(2)} KiB a connection`);
  }
}

const load = loadavg()[0] ?? 0;
if (!pinned) say("no taskset or only one core: server and load share what there is");
for (let round = 0; round < rounds; round++) {
  say(`round ${round + 1} of ${rounds}`);
  await measureCosts(orderOf(round));
  if ("idle".includes(flags.workloads)) await measureMemory(orderOf(round));
}

process.stdout.write(
  `Server CPU time for each echoed message (connections × in flight × size), and resident memory.\n` +
    `Median of ${rounds} rounds, ± half the spread.\n\n${table(results)}`,
);
const reasons = doubts(results);
if (load > 0.5) reasons.unshift(`the machine was busy before it began: load ${load.toFixed(2)}`);
if (rounds === 1) reasons.unshift("one round says nothing of the spread");
if (reasons.length > 0) {
  say(`\nnot to be believed, the machine was too busy or the rounds too few (limit ${MAX_SPREAD * 100} %):`);
  for (const reason of reasons) say(`  ${reason}`);
}
if (flags.json !== undefined) {
  const report = {
    date: new Date().toISOString(),
    bun: Bun.version,
    rounds,
    quick: flags.quick,
    results,
    reasons,
  };
  await Bun.write(flags.json, `${JSON.stringify(report, null, 2)}\n`);
}
