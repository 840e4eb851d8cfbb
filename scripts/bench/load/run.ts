// Runs the load generator: what each of its jobs is asked for, and what it answers. Times are nanoseconds.

import type { Login } from "../peer.ts";

/** Whom it talks to. */
export interface Target {
  port: number;
  /** Of the server: its CPU time and its memory are read right before and after. */
  pid: number;
  tls: boolean;
  login: Login;
}

export interface Cost {
  count: number;
  /** Of the server. */
  cpuNs: number;
  wallNs: number;
}
export interface Times {
  p50: number;
  p99: number;
  max: number;
}

interface Jobs {
  /** `connections` keep `inFlight` messages of `bytes` each on their way until `messages` have come back. */
  echo: {
    asks: { connections: number; inFlight: number; bytes: number; warmUp: number; messages: number };
    /** `took`: each message, with one in flight. */
    gives: Cost & { residentBefore: number; residentAfter: number; took?: Times };
  };
  /** Connects, logs in, has one message echoed, leaves: `times` over, `slots` at a time. Times are since the connect. */
  enter: {
    asks: { slots: number; warmUp: number; times: number };
    gives: Cost & { hello?: Times; welcome?: Times; echoed: Times; closed: Times };
  };
  /** One speaks, `members` hear it, `messages` times, each when all have heard the one before. */
  "to-all": { asks: { members: number; warmUp: number; messages: number }; gives: Cost };
  /** `few` connections log in, then more up to `many`; each begins a message of `begun` bytes, or says nothing. */
  idle: { asks: { few: number; many: number; begun?: number }; gives: { bytesPerConnection: number } };
  /** Holds `connections`, logged in, until standard input ends. */
  hold: { asks: { connections: number }; gives: { held: number } };
}

export type Kind = keyof Jobs;
export type Asks<K extends Kind> = Jobs[K]["asks"];
export type Gives<K extends Kind> = Jobs[K]["gives"];

/** The arguments of the load generator. */
export function argumentsFor<K extends Kind>(
  kind: K,
  { port, pid, tls, login }: Target,
  asks: Asks<K>,
): string[] {
  const { method: _, ...who } = login;
  return [kind, "--login", login.method, ...flags({ port, pid, tls, ...who }), ...flags(asks)];
}

function flags(values: object): string[] {
  return Object.entries(values).flatMap(([name, value]: [string, string | number | boolean | undefined]) => {
    const flag = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    if (value === true) return [flag];
    return value === false || value === undefined ? [] : [flag, String(value)];
  });
}
