// What a process costs, as Linux counts it: CPU time and resident memory of a process and its children, from /proc.

import { readdirSync, readFileSync } from "node:fs";

const TICK_NS = 1e9 / 100; // USER_HZ is 100 on every Linux that Bun runs on

/** CPU time so far: by thread in nanoseconds, and in ticks of 10 ms, which also know the threads that have ended. */
export interface CpuTime {
  threads: ReadonlyMap<string, number>;
  ticks: number;
  /** Of children that have ended, in ticks; `ticks` has them, too. */
  reaped: number;
}

export function cpuTime(pid: number): CpuTime {
  const threads = new Map<string, number>();
  let [ticks, reaped] = [0, 0];
  for (const process of tree(pid)) {
    for (const thread of readdirSync(`/proc/${process}/task`)) {
      const text = readFileSync(`/proc/${process}/task/${thread}/schedstat`, "utf8");
      threads.set(`${process}/${thread}`, Number(text.split(" ")[0]));
    }
    // After the command's closing bracket: state is field 3, utime 14, stime 15, and 16 and 17 those of children.
    const fields = readFileSync(`/proc/${process}/stat`, "utf8").split(") ").at(-1)!.split(" ");
    const ended = Number(fields[13]) + Number(fields[14]);
    reaped += ended;
    ticks += Number(fields[11]) + Number(fields[12]) + ended;
  }
  return { threads, ticks, reaped };
}

/** User and system time between two readings, in nanoseconds. */
export function cpuBetween(before: CpuTime, after: CpuTime): number {
  const lost = [...before.threads.keys()].some((thread) => !after.threads.has(thread));
  if (lost) return (after.ticks - before.ticks) * TICK_NS;
  let sum = (after.reaped - before.reaped) * TICK_NS; // of children that came and went
  for (const [thread, time] of after.threads) sum += time - (before.threads.get(thread) ?? 0);
  return sum;
}

/** Resident memory, in bytes. */
export function residentBytes(pid: number): number {
  let kib = 0;
  for (const process of tree(pid)) {
    kib += Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${process}/status`, "utf8"))?.[1]);
  }
  return kib * 1024;
}

/** The cores this process may use. */
export function allowedCores(): number[] {
  const list = /^Cpus_allowed_list:\s+(\S+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "";
  return list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

function tree(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").filter(Boolean).map(Number),
  );
  return [pid, ...children.flatMap(tree)];
}
