// The processes of one program: its process group or, on a terminal, every group of its session. process.ts signals them, and
// waits for their end.

import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { systemCode } from "../../base/errors.ts";

export class ProcessGroup {
  /** The process id of the program, which leads its group and its session. */
  readonly #leader: number;
  readonly #hasTerminal: boolean;
  /** True once no process is left. Then the number may belong to other processes, and is not signalled any more. */
  #isGone = false;

  /** @param hasTerminal true for a program on a terminal, where a shell makes a process group of each job. */
  constructor(leader: number, hasTerminal: boolean) {
    this.#leader = leader;
    this.#hasTerminal = hasTerminal;
  }

  /** Signals every process that is left and may be signalled; false when there is none. 0 sends nothing, and only looks. */
  signal(signal: "SIGTERM" | "SIGKILL" | 0): boolean {
    if (this.#isGone) return false;
    const { groups, isComplete } = this.#hasTerminal
      ? groupsOf(this.#leader)
      : { groups: [this.#leader], isComplete: true };
    const outcomes = groups.map((group) => signalGroup(group, signal));
    this.#isGone = isComplete && outcomes.every((outcome) => outcome === "gone");
    return outcomes.includes("hit");
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
}

/** Signals a process group. `gone`: no process is left in it. `refused`: all that are left belong to another user, as by su(1). */
function signalGroup(group: number, signal: NodeJS.Signals | 0): "hit" | "gone" | "refused" {
  try {
    process.kill(-group, signal);
    return "hit";
  } catch (error) {
    const code = systemCode(error);
    if (code === "ESRCH") return "gone";
    if (code === "EPERM") return "refused";
    throw error;
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
    for (const entry of readdirSync("/proc")) {
      if (!/^\d+$/.test(entry)) continue;
      const fields = statOf(entry);
      if (fields === "unknown") isComplete = false;
      else if (Number(fields[3]) === session) groups.add(Number(fields[2]));
    }
  } catch (error) {
    isComplete = systemCode(error) === "ENOENT"; // no /proc: not Linux
  }
  return { groups: [...groups], isComplete };
}

/** State, parent, group, session and further fields of a process; none once it has ended. */
function statOf(pid: string): string[] | "unknown" {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" "); // after the name, which may contain any character
  } catch (error) {
    return systemCode(error) === "ENOENT" || systemCode(error) === "ESRCH" ? [] : "unknown";
  }
}
