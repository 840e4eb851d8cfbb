// The processes of one program: its process group or, on a terminal, every group of its session, and its orphans, which have left
// both. process.ts signals them, and waits for their end.
//
// An orphan is known by its parent, which is this process, and by a variable of its environment with a value that only this
// program was given: it inherits that, whatever sessions and parents it has had. (Parentage alone does not tell of which program it
// is, a session is left by setsid, and a number of any of them may be used again.) One that runs with an environment of its own, or
// as another user, is not known; it is ended with the server. Descendants whose parents still run become orphans when those end.

import { setTimeout as delay } from "node:timers/promises";
import { systemCode } from "../../base/errors.ts";
import type { Orphans } from "../../os/orphans.ts";
import { allProcesses, hasVariable, processStat } from "../../os/processes.ts";

/** The variable with the mark of a program. */
export const MARK_VARIABLE = "PARLEY_RUN";

export interface ProcessGroupOptions {
  /** The process id of the program, which leads its group and its session. */
  leader: number;
  /** True for a program on a terminal, where a shell makes a process group of each job. */
  hasTerminal: boolean;
  /** The value of {@link MARK_VARIABLE} in the environment of the program. */
  mark: string;
  orphans: Orphans;
}

export class ProcessGroup {
  readonly #options: ProcessGroupOptions;
  /** True once no process is left in its groups. Then the number may belong to other processes, and is not signalled any more. */
  #isGone = false;
  /** The signal that was sent last, and the orphans that have got it. */
  #sent: { signal: NodeJS.Signals; to: Set<number> } | undefined;

  constructor(options: ProcessGroupOptions) {
    this.#options = options;
  }

  /** Signals every process that is left and may be signalled; false when there is none. 0 sends nothing new, and only looks. */
  signal(signal: "SIGTERM" | "SIGKILL" | 0): boolean {
    if (signal !== 0) this.#sent = { signal, to: new Set() };
    const isInGroup = this.#signalGroups(signal);
    return this.#signalOrphans() || isInGroup;
  }

  /** Waits until no process is left; false when there is one after `withinMs`. */
  async waitUntilGone(withinMs: number): Promise<boolean> {
    const deadline = performance.now() + withinMs;
    for (let pause = 5; this.signal(0); pause = Math.min(50, 2 * pause)) {
      if (performance.now() >= deadline) return false;
      await delay(Math.min(pause, withinMs));
    }
    return true;
  }

  #signalGroups(signal: NodeJS.Signals | 0): boolean {
    if (this.#isGone) return false;
    const { leader, hasTerminal } = this.#options;
    const { groups, isComplete } = hasTerminal ? groupsOf(leader) : { groups: [leader], isComplete: true };
    const outcomes = groups.map((group) => send(-group, signal));
    this.#isGone = isComplete && outcomes.every((outcome) => outcome === "gone");
    return outcomes.includes("hit");
  }

  /** Sends the last signal to each orphan that has not got it. */
  #signalOrphans(): boolean {
    const { orphans, mark } = this.#options;
    const { running, isComplete } = orphans.look();
    const own = running.filter((pid) => hasVariable(pid, MARK_VARIABLE, mark));
    for (const pid of own) {
      if (this.#sent === undefined || this.#sent.to.has(pid)) continue;
      this.#sent.to.add(pid);
      send(pid, this.#sent.signal);
    }
    return own.length > 0 || !isComplete;
  }
}

/**
 * Signals a process or, by its negative number, a process group. `gone`: there is none. `refused`: all that are left belong to
 * another user, as by su(1).
 */
function send(target: number, signal: NodeJS.Signals | 0): "hit" | "gone" | "refused" {
  try {
    process.kill(target, signal);
    return "hit";
  } catch (error) {
    const code = systemCode(error);
    if (code === "ESRCH") return "gone";
    if (code === "EPERM") return "refused";
    throw error;
  }
}

/** Ends every orphan that has been adopted, of whatever program, when there are no more programs; waits for `withinMs` at most. */
export async function endAllOrphans(orphans: Orphans, withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const { running, isComplete } = orphans.look();
    if (running.length === 0 && isComplete) return;
    for (const pid of running) send(pid, "SIGKILL");
    if (performance.now() >= deadline) return;
    await delay(10);
  }
}

/**
 * The process groups of a session, found by its leader. Without `/proc` it is the leader's own group alone.
 *
 * `isComplete`: false when the list may lack groups, since this process has no descriptor left to read `/proc` with.
 */
function groupsOf(session: number): { groups: number[]; isComplete: boolean } {
  const groups = new Set([session]);
  let isComplete = true;
  try {
    for (const pid of allProcesses()) {
      const stat = processStat(pid);
      if (stat === "unknown") isComplete = false;
      else if (stat !== "gone" && stat.session === session) groups.add(stat.group);
    }
  } catch (error) {
    isComplete = systemCode(error) === "ENOENT"; // no /proc: not Linux
  }
  return { groups: [...groups], isComplete };
}
