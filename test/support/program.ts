// A server whose service is a program, what it logged, and what is left of processes: for the tests of programs.

import { readdirSync, readFileSync } from "node:fs";
import type { LogEvent, LogFields, Logger } from "../../src/log/log.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { program, type ProgramOptions } from "../../src/services/program/program.ts";
import { until, within } from "./attack.ts";
import type { Peer } from "./peer.ts";
import { startServer, type TestServer } from "./server.ts";

export interface Note {
  event: LogEvent;
  fields: LogFields;
}

/** A log that is only remembered. */
export function remember(): { log: Logger; notes: Note[] } {
  const notes: Note[] = [];
  const note = (event: LogEvent, fields: LogFields = {}) => void notes.push({ event, fields });
  return { notes, log: { debug: note, info: note, warn: note, error: note } };
}

/** Starts a server that runs `argv` for each conversation; `notes`: what the program's service logged. */
export async function runProgram(
  argv: readonly [string, ...string[]],
  options: Partial<ProgramOptions> = {},
  serverOptions: Partial<ServerOptions> = {},
): Promise<TestServer & { notes: Note[] }> {
  const { log, notes } = remember();
  const service = program({
    argv,
    io: "lines",
    stderr: "log",
    pty: false,
    passEnv: [],
    maxMessage: 1024 * 1024,
    log,
    ...options,
  });
  const server = await startServer({ auth: "none", service, serviceName: "program", ...serverOptions });
  return Object.assign(server, { notes });
}

export interface Heard {
  /** Payloads. */
  said: Buffer[];
  texts: string[];
  /** Lines of standard error. */
  asides: string[];
  /** The last control frame. */
  bye: Record<string, unknown> | undefined;
}

/** Everything until the end of the conversation. */
export async function hear(peer: Peer): Promise<Heard> {
  const frames = await within("the end of the conversation", peer.rest());
  const said = frames.filter(({ control }) => !control).map(({ payload }) => payload);
  const controls = frames
    .filter(({ control }) => control)
    .map(({ payload }) => JSON.parse(payload.toString()) as Record<string, unknown>);
  return {
    said,
    texts: said.map((payload) => payload.toString()),
    asides: controls.filter(({ type }) => type === "stderr").map(({ text }) => String(text)),
    bye: controls.find(({ type }) => type === "bye"),
  };
}

/** Enters, sends `messages`, ends the input, and hears what the program says to that. */
export async function converse(server: TestServer, messages: (string | Uint8Array)[]): Promise<Heard> {
  using peer = await server.peer();
  await peer.enter();
  for (const message of messages) peer.send(message);
  peer.control({ type: "end" });
  return await hear(peer);
}

/** A program that ignores TERM and the end of its input, with a grandchild that does too; says its process group. */
export const STUBBORN = "trap '' TERM HUP INT; (sleep 1000; :) & echo $$; while :; do sleep 1000; done";

/** Enters; the process group of {@link STUBBORN}. */
export async function enterGroup(peer: Peer): Promise<number> {
  await peer.enter();
  const group = Number(await peer.text());
  // The first process, and the grandchild's two.
  await until("processes of the group", true, () => processesOf(group).length >= 3);
  return group;
}

/** The processes of a group that run. A zombie does not: process 1 reaps it when it likes. */
export function processesOf(group: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => stateOf(pid)?.group === group);
}

/** Its children that run or are not reaped. */
export function childrenOf(parent: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => stateOf(pid, true)?.parent === parent);
}

function stateOf(pid: number, zombies = false): { parent: number; group: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [state, parent, group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return state === "Z" && !zombies ? undefined : { parent: Number(parent), group: Number(group) };
  } catch {
    return undefined;
  }
}
