// What is measured: each workload gives one figure for each contender that it is for, in every round.

import type { Contender } from "./contenders.ts";
import type { Unit } from "./results.ts";
import { MAX_CONNECTIONS, runLoad, whileHolding, type RunningServer, type Workshop } from "./server.ts";
import { startMs, versionMs } from "./start.ts";

/** A table of workloads that belong together. */
export type Group = keyof typeof GROUPS;

export const GROUPS = {
  message: "Server CPU time for each echoed message (connections × in flight × size)",
  connection:
    "A connection: CPU time to connect, log in, echo 64 B and close; resident memory of an idle one",
  connections: "CPU time for each echoed message of 64 B, one in flight on each of so many connections",
  size: "CPU time for each echoed message of so many bytes, 50 connections, 4 in flight",
  users: "CPU time to connect, log in by token, echo 64 B and close, with so many users in the file",
  "to-all": "CPU time for one message to so many members",
  crowd: "50 talking: how long 99 of 100 echoes take at most, alone and beside a crowd of idle connections",
  memory: "Resident memory at the end of a long run of 50 × 32 × 64 B, compared with after its first tenth",
  start: "Start until the first connection is answered, and until the version is said",
} as const;

export interface Workload {
  /** On the command line. */
  name: string;
  group: Group;
  /** In a table, beside others of its group. */
  title: string;
  unit: Unit;
  /** Of those it is for, by name; otherwise all that echo. */
  only?: readonly string[];
  /** Does it want a server that nobody has talked to? */
  fresh?: boolean;
  /** Is it measured in the first rounds alone, because it takes long? */
  rounds?: number;
  measure(stage: Stage): Promise<Figure>;
}

export interface Stage {
  contender: Contender;
  workshop: Workshop;
  /** Started when first asked for; the same in all workloads of a round, except `fresh` ones. */
  server: (users?: number) => Promise<RunningServer>;
  /** What to divide numbers of messages by. */
  quicker: number;
}

export interface Figure {
  value: number;
  /** How much of the time the server was at work; it costs more when it has to be woken. */
  busy?: number;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const IDLE = { few: 1000, many: 5000 };
/** As many go before: code that runs once a connection takes thousands of them to be compiled. */
const VISITS = 20_000;
const VISITORS = 16;
const ACTIVE = 50;
const QUESTIONS = 100_000;
/** A message to one member is one of so many. */
const DELIVERIES = 500_000;
/** As many idle connections as there are descriptors for, at most 20,000. */
export const CROWD = Math.min(20_000, Math.floor((MAX_CONNECTIONS - ACTIVE) / 1000) * 1000);
/** In which curves are drawn. */
const CURVE = ["bare", "c", "tokio", "go", "none", "password"];

interface Load {
  connections: number;
  inFlight: number;
  bytes: number;
  messages: number;
}

const microseconds = ({
  cpuNs,
  count,
  wallNs,
}: {
  cpuNs: number;
  count: number;
  wallNs: number;
}): Figure => ({
  value: cpuNs / 1000 / count,
  busy: cpuNs / wallNs,
});

function echo(name: string, group: Group, title: string, load: Load, only?: readonly string[]): Workload {
  return {
    name,
    group,
    title,
    unit: "µs",
    only,
    async measure({ server, contender, quicker }) {
      const many = load.messages / (contender.slow ?? 1);
      const times = { warmUp: Math.ceil(many / 4), messages: Math.ceil(many / quicker) };
      return microseconds(await runLoad({ ...load, kind: "echo", ...(await server()), ...times }));
    },
  };
}

function visit(name: string, group: Group, title: string, users: number, only?: readonly string[]): Workload {
  return {
    name,
    group,
    title,
    unit: "µs",
    only,
    fresh: users > 1,
    rounds: users > 1 ? 2 : undefined,
    async measure({ server, quicker }) {
      const times = Math.ceil(VISITS / quicker);
      const load = { times, warmUp: VISITS, atOnce: VISITORS };
      return microseconds(await runLoad({ kind: "visit", ...(await server(users)), ...load }));
    },
  };
}

const count = (value: number) => value.toLocaleString("en");

export const WORKLOADS: readonly Workload[] = [
  echo("one", "message", "50 × 1 × 64 B", { connections: 50, inFlight: 1, bytes: 64, messages: 80_000 }),
  echo("many", "message", "50 × 32 × 64 B", {
    connections: 50,
    inFlight: 32,
    bytes: 64,
    messages: 1_500_000,
  }),
  echo("16k", "message", "50 × 4 × 16 KiB", {
    connections: 50,
    inFlight: 4,
    bytes: 16 * KIB,
    messages: 60_000,
  }),
  echo("1m", "message", "4 × 4 × 1 MiB", { connections: 4, inFlight: 4, bytes: MIB, messages: 800 }),
  visit("connect", "connection", "connect, echo, close", 1),
  {
    name: "idle",
    group: "connection",
    title: "memory, idle",
    unit: "KiB",
    fresh: true,
    rounds: 3,
    async measure({ server }) {
      const { bytesPerConnection } = await runLoad({ kind: "idle", ...(await server()), ...IDLE });
      return { value: bytesPerConnection / KIB };
    },
  },
  ...[1, 10, 100, 1_000, 10_000].map((connections) => {
    const load = { connections, inFlight: 1, bytes: 64, messages: 60_000 };
    return echo(`connections-${connections}`, "connections", count(connections), load, CURVE);
  }),
  ...[16, 256, 4 * KIB, 64 * KIB, 256 * KIB].map((bytes) => {
    const messages = Math.min(150_000, Math.ceil((512 * MIB) / bytes));
    const load = { connections: 50, inFlight: 4, bytes, messages };
    return echo(`size-${bytes}`, "size", bytes < KIB ? `${bytes} B` : `${bytes / KIB} KiB`, load, CURVE);
  }),
  ...[10, 1_000, 10_000, 100_000].map((users) =>
    visit(`users-${users}`, "users", count(users), users, ["password"]),
  ),
  ...[10, 100, 1_000].map((members): Workload => ({
    name: `members-${members}`,
    group: "to-all",
    title: count(members),
    unit: "ms",
    only: ["to-all", "chat"],
    fresh: true,
    async measure({ server, quicker }) {
      const many = DELIVERIES / members;
      const load = { members, warmUp: many / 4, messages: Math.ceil(many / quicker) };
      const cost = await runLoad({ kind: "to-all", ...(await server()), ...load });
      return { value: cost.cpuNs / 1e6 / cost.count, busy: cost.cpuNs / cost.wallNs };
    },
  })),
  ...[0, ...(CROWD > 0 ? [CROWD] : [])].map((idle): Workload => ({
    name: idle === 0 ? "alone" : "crowded",
    group: "crowd",
    title: idle === 0 ? "alone" : `beside ${count(idle)} idle ones`,
    unit: "µs",
    only: ["bare", "none", "password"],
    rounds: 3,
    async measure({ server, quicker }) {
      const there = await server();
      const load = { connections: ACTIVE, warmUp: QUESTIONS / 4, messages: Math.ceil(QUESTIONS / quicker) };
      const ask = () => runLoad({ kind: "latency", ...there, ...load });
      const { p99Ns } =
        idle === 0 ? await ask() : await whileHolding({ kind: "hold", ...there, count: idle }, ask);
      return { value: p99Ns / 1000 };
    },
  })),
  {
    name: "memory",
    group: "memory",
    title: "at the end, of that after a tenth",
    unit: "×",
    only: ["bare", "none", "password", "acknowledged", "handler"],
    fresh: true,
    rounds: 1,
    async measure({ server, quicker }) {
      const load = { connections: 50, inFlight: 32, bytes: 64, messages: Math.ceil(40_000_000 / quicker) };
      const { firstTenthBytes, endBytes } = await runLoad({ kind: "flat", ...(await server()), ...load });
      return { value: endBytes / firstTenthBytes };
    },
  },
  {
    name: "start",
    group: "start",
    title: "first connection",
    unit: "ms",
    only: ["bare", "framed", "c", "tokio", "go", "erlang", "none", "password"],
    async measure({ contender, workshop }) {
      return { value: await startMs(contender, workshop) };
    },
  },
  {
    name: "version",
    group: "start",
    title: "version",
    unit: "ms",
    only: ["bare", "none"],
    async measure({ contender, workshop }) {
      return { value: versionMs(contender, workshop) };
    },
  },
];

/** Is it for this contender? */
export function isFor({ only }: Workload, { name, toAll }: Contender): boolean {
  return only === undefined ? toAll !== true : only.includes(name);
}
