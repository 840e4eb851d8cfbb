// What all jobs begin with, and what they measure.

import { Peer, type Target } from "../peer.ts";
import { cpuBetween, cpuTime } from "../usage.ts";
import type { Cost } from "./jobs.ts";

/** Logins under way at once. */
const LOGINS_AT_ONCE = 20;

/** `count` connections, logged in. */
export async function enter(target: Target, count: number): Promise<Peer[]> {
  const peers: Peer[] = [];
  while (peers.length < count) {
    const length = Math.min(LOGINS_AT_ONCE, count - peers.length);
    peers.push(...(await Promise.all(Array.from({ length }, () => Peer.enter(target)))));
  }
  return peers;
}

/** What the server's CPU does while `work` does `count` of something. */
export async function costOf(pid: number, count: number, work: () => Promise<unknown>): Promise<Cost> {
  const before = cpuTime(pid);
  const began = Bun.nanoseconds();
  await work();
  const wallNs = Bun.nanoseconds() - began;
  return { count, cpuNs: cpuBetween(before, cpuTime(pid)), wallNs };
}
