// Reads what Linux's /proc says of processes. Other systems have none, and then there is nothing to be read.

import { readdirSync, readFileSync } from "node:fs";
import { systemCode } from "../base/errors.ts";

export interface ProcessStat {
  /** One letter, as in proc_pid_stat(5); `Z` is a zombie. */
  state: string;
  parent: number;
  group: number;
  session: number;
  /** The number of the device that is its controlling terminal; 0: none. */
  terminal: number;
}

/** The state of a process; `gone` when there is no such process. `unknown`: this process has no descriptor left to read it. */
export function processStat(pid: number | string): ProcessStat | "gone" | "unknown" {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch (error) {
    return systemCode(error) === "ENOENT" || systemCode(error) === "ESRCH" ? "gone" : "unknown";
  }
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" "); // after the name, which may contain any character
  const [state = "", parent, group, session, terminal] = fields;
  return {
    state,
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    terminal: Number(terminal),
  };
}

/** The ids of all processes. @throws the system's error, `ENOENT` where there is no /proc. */
export function allProcesses(): number[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number);
}

/** The children of this process's main thread; every process that it starts or adopts is one. None where they are not known. */
export function ownChildren(): number[] {
  try {
    const list = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8");
    return list.split(" ").filter(Boolean).map(Number);
  } catch (error) {
    // A kernel without the list: CONFIG_PROC_CHILDREN.
    return systemCode(error) === "ENOENT" && process.platform === "linux" ? childrenByParent() : [];
  }
}

function childrenByParent(): number[] {
  return allProcesses().filter((pid) => {
    const stat = processStat(pid);
    return typeof stat === "object" && stat.parent === process.pid;
  });
}

/** True when `name` was `value` in the environment that the process was started with, as far as that may be read. */
export function hasVariable(pid: number, name: string, value: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(`${name}=${value}`);
  } catch {
    return false; // another user's, or gone
  }
}
