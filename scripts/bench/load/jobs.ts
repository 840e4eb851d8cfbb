// What the load generator is asked for, and what it answers. `pid` is the server's: its CPU time and its memory are read
// right before and after.

import type { Target } from "../peer.ts";

export interface Job extends Target {
  pid: number;
}

/** Something done many times. */
interface Repeated extends Job {
  /** How often before it is measured: code that runs often is compiled meanwhile. */
  warmUp: number;
}

/** `connections` keep `inFlight` messages of `bytes` each on their way until `messages` have come back. */
export interface EchoJob extends Repeated {
  kind: "echo";
  connections: number;
  inFlight: number;
  bytes: number;
  /** Over all connections. */
  messages: number;
}

/** The same, to see whether memory grows. */
export interface FlatJob extends Omit<EchoJob, "kind" | "warmUp"> {
  kind: "flat";
}

/** Connects, logs in, has one message echoed, leaves: `times` over, `atOnce` at a time. */
export interface VisitJob extends Repeated {
  kind: "visit";
  times: number;
  atOnce: number;
}

/** `few` connections log in, then more up to `many`; nothing is said. */
export interface IdleJob extends Job {
  kind: "idle";
  few: number;
  many: number;
}

/** Holds `count` connections, logged in, until standard input ends. */
export interface HoldJob extends Job {
  kind: "hold";
  count: number;
}

/** How long an echo takes: `connections` each wait for it before they ask again. */
export interface LatencyJob extends Repeated {
  kind: "latency";
  connections: number;
  messages: number;
}

/** One speaks, `members` hear it, `messages` times, each when all have heard the one before. */
export interface ToAllJob extends Repeated {
  kind: "to-all";
  members: number;
  messages: number;
}

export interface Cost {
  count: number;
  /** Of the server. */
  cpuNs: number;
  wallNs: number;
}
export interface Memory {
  bytesPerConnection: number;
}
export interface Flatness {
  firstTenthBytes: number;
  endBytes: number;
}
export interface Held {
  held: number;
}
export interface Latency {
  p50Ns: number;
  p99Ns: number;
}

/** A job, and its result. */
export interface Results {
  echo: Cost;
  visit: Cost;
  "to-all": Cost;
  idle: Memory;
  flat: Flatness;
  hold: Held;
  latency: Latency;
}
export type AnyJob = EchoJob | FlatJob | VisitJob | IdleJob | HoldJob | LatencyJob | ToAllJob;
