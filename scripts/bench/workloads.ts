// What is measured: each workload gives one figure for each contender that it is for, in every round.

import { BEFORE } from "./comparison.ts";
import type { Contender } from "./contenders.ts";
import { instructionsOf } from "./instructions.ts";
import type { Asks, Cost, Kind } from "./load/run.ts";
import type { Unit } from "./results.ts";
import { MAX_CONNECTIONS, type RunningServer, type Workshop } from "./server.ts";
import { startMs, versionMs } from "./start.ts";

/** A table of workloads that belong together. */
export type Group = keyof typeof GROUPS;

export const GROUPS = {
  message: "Server CPU time for each echoed message (connections × in flight × size)",
  connection:
    "A connection, 8 at a time: CPU time to connect, log in, echo 64 B and close, and how long 99 of 100 take at most; resident memory of an idle one, and of one with an unfinished message of 1 MiB",
  connections: "CPU time for each echoed message of 64 B, one in flight on each of so many connections",
  size: "CPU time for each echoed message of so many bytes, 50 connections, 4 in flight",
  users: "CPU time to connect, log in by token, echo 64 B and close, with so many users in the file",
  "to-all": "CPU time for one message to so many members",
  crowd: "50 talking: how long 99 of 100 echoes take at most, alone and beside a crowd of idle connections",
  memory: "Resident memory at the end of a long run of 50 × 32 × 64 B, compared with after its first tenth",
  instructions:
    "Instructions that the server executes, without those of the kernel, for each message and for each connection",
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
/** During the first thousands of logins code is compiled and tables grow in jumps, which is no cost of one more connection. */
const IDLE = { few: 5000, many: 15_000 };
/** Each has sent all of a message but its last byte. */
const BEGUN = { few: 10, many: 60, begun: MIB };
/** As many go before: code that runs once a connection takes thousands of them to be compiled. */
const VISITS = 20_000;
const VISITORS = 8;
const ACTIVE = 50;
const QUESTIONS = 100_000;
/** A message to one member is one of so many. */
const DELIVERIES = 500_000;
/** As many idle connections as there are descriptors for, at most 20,000. */
export const CROWD = Math.min(20_000, Math.floor((MAX_CONNECTIONS - ACTIVE) / 1000) * 1000);
/** In which curves are drawn. */
const CURVE = ["bare", "c", "tokio", "go", "handler"];
/** Under Valgrind everything takes fifty times as long. */
const COUNTED = ["bare", "none", "password", "handler", "view", "acknowledged"];

type Load = Omit<Asks<"echo">, "warmUp">;

const microseconds = ({ cpuNs, count, wallNs }: Cost): Figure => ({
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
    async measure({ server, contender, workshop, quicker }) {
      const many = load.messages / (contender.slow ?? 1);
      const times = { warmUp: Math.ceil(many / 4), messages: Math.ceil(many / quicker) };
      return microseconds(await workshop.load("echo", await server(), { ...load, ...times }));
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
    async measure({ server, workshop, quicker }) {
      return microseconds(await workshop.load("enter", await server(users), visits(quicker)));
    },
  };
}

function visits(quicker: number): Asks<"enter"> {
  return { slots: VISITORS, warmUp: VISITS, times: Math.ceil(VISITS / quicker) };
}

function memory(name: string, title: string, load: Asks<"idle">, only?: readonly string[]): Workload {
  return {
    name,
    group: "connection",
    title,
    unit: "KiB",
    only,
    fresh: true,
    rounds: 3,
    async measure({ server, workshop }) {
      const { bytesPerConnection } = await workshop.load("idle", await server(), load);
      return { value: bytesPerConnection / KIB };
    },
  };
}

function instructions<K extends Kind>(
  of: string,
  title: string,
  kind: K,
  asks: Asks<K> & { warmUp: number },
  only: readonly string[] = COUNTED,
): Workload {
  return {
    name: `instructions-${of}`,
    group: "instructions",
    title,
    unit: "instructions",
    only,
    rounds: 1,
    async measure({ contender, workshop }) {
      return { value: await instructionsOf(contender, workshop, kind, asks) };
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
    name: "connect-p99",
    group: "connection",
    title: "99 of 100 within",
    unit: "µs",
    async measure({ server, workshop, quicker }) {
      const { closed } = await workshop.load("enter", await server(), visits(quicker));
      return { value: closed.p99 / 1000 };
    },
  },
  memory("idle", "memory, idle", IDLE),
  memory("gather", "memory, 1 MiB unfinished", BEGUN, ["c", "go", "handler", "acknowledged"]),
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
    only: ["to-all", "room"],
    fresh: true,
    async measure({ server, workshop, quicker }) {
      const many = DELIVERIES / members;
      const times = { warmUp: Math.ceil(many / 4), messages: Math.ceil(many / quicker) };
      const cost = await workshop.load("to-all", await server(), { members, ...times });
      return { value: cost.cpuNs / 1e6 / cost.count, busy: cost.cpuNs / cost.wallNs };
    },
  })),
  ...[0, ...(CROWD > 0 ? [CROWD] : [])].map((idle): Workload => ({
    name: idle === 0 ? "alone" : "crowded",
    group: "crowd",
    title: idle === 0 ? "alone" : `beside ${count(idle)} idle ones`,
    unit: "µs",
    only: ["bare", "handler"],
    rounds: 3,
    fresh: true, // not beside the garbage of what went before
    async measure({ server, workshop, quicker }) {
      const there = await server();
      const load = { connections: ACTIVE, inFlight: 1, bytes: 64 };
      const times = { warmUp: QUESTIONS / 4, messages: Math.ceil(QUESTIONS / quicker) };
      const ask = () => workshop.load("echo", there, { ...load, ...times });
      const { took } = idle === 0 ? await ask() : await workshop.whileHolding(there, idle, ask);
      return { value: took!.p99 / 1000 };
    },
  })),
  {
    name: "memory",
    group: "memory",
    title: "at the end, of that after a tenth",
    unit: "×",
    only: ["bare", "none", "handler", "acknowledged"],
    fresh: true,
    rounds: 2,
    async measure({ server, workshop, quicker }) {
      const messages = Math.ceil(20_000_000 / quicker);
      const load = { connections: 50, inFlight: 32, bytes: 64, warmUp: messages / 10, messages };
      const { residentBefore, residentAfter } = await workshop.load("echo", await server(), load);
      return { value: residentAfter / residentBefore };
    },
  },
  instructions("one", "50 × 1 × 64 B", "echo", {
    connections: 50,
    inFlight: 1,
    bytes: 64,
    warmUp: 20_000,
    messages: 20_000,
  }),
  instructions("many", "50 × 32 × 64 B", "echo", {
    connections: 50,
    inFlight: 32,
    bytes: 64,
    warmUp: 100_000,
    messages: 100_000,
  }),
  instructions("16k", "50 × 4 × 16 KiB", "echo", {
    connections: 50,
    inFlight: 4,
    bytes: 16 * KIB,
    warmUp: 10_000,
    messages: 10_000,
  }),
  instructions("1m", "4 × 4 × 1 MiB", "echo", {
    connections: 4,
    inFlight: 4,
    bytes: MIB,
    warmUp: 200,
    messages: 200,
  }),
  instructions("connect", "connect, echo, close", "enter", { slots: VISITORS, warmUp: 2000, times: 2000 }),
  {
    name: "start",
    group: "start",
    title: "first connection",
    unit: "ms",
    only: ["bare", "framed", "c", "tokio", "go", "erlang", "none", "handler"],
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
  return only === undefined ? toAll !== true : only.includes(name.replace(BEFORE, ""));
}
