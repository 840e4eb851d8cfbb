// What the attacks share: a client that minds nothing and only notes how it ended, and what the server's process holds.

import { readdirSync, readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { ServerOptions } from "../../src/server/options.ts";

/** Room for as many as like to log in at once, all from one address: nobody is held, and in the end refused. */
export const CROWD: Partial<ServerOptions> = {
  maxPending: { start: 1000, rate: 30, full: 1000 },
  maxPendingPerAddress: 1000,
};

/** Limits that keep a flood from one address away from what is to be attacked. */
export const LENIENT: Partial<ServerOptions> = {
  ...CROWD,
  maxPerUser: 1000,
  penalties: false,
  resumeForMs: 100,
};

/** Longer than anything takes on a busy machine: whatever is not there by then hangs. */
export const PATIENCE_MS = 30_000;

export interface Attacker {
  socket: Socket;
  /** Bytes received, counted but not kept. */
  received: number;
  /** Resolves once the first bytes have come, or the socket is closed. */
  greeted: Promise<void>;
  /** Resolves when the socket is closed. */
  closed: Promise<void>;
}

/** Connects from `from`; FIN is answered with FIN, whatever comes is discarded. */
export function attack(port: number, from = "127.0.0.1"): Promise<Attacker> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", localAddress: from, noDelay: true });
    const closed = new Promise<void>((done) => socket.on("close", () => done()));
    const greeted = Promise.withResolvers<void>();
    const attacker: Attacker = { socket, received: 0, greeted: greeted.promise, closed };
    socket.on("data", (chunk: Buffer) => {
      attacker.received += chunk.length;
      greeted.resolve();
    });
    socket.on("close", () => greeted.resolve());
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.on("error", () => undefined);
      resolve(attacker);
    });
  });
}

/** What `work` comes to, or a failure that names `what` when it takes longer than anything may. */
export async function within<T>(what: string, work: Promise<T>, ms = PATIENCE_MS): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what}: not within ${ms} ms`)), ms);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until `state` is `wanted`; fails with what it was instead. The longer it takes, the rarer it looks. */
export async function until<T>(what: string, wanted: T, state: () => T | Promise<T>): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (let pause = 2; ; pause = Math.min(50, pause * 1.25)) {
    const found = await state();
    if (JSON.stringify(found) === JSON.stringify(wanted)) return;
    if (performance.now() > deadline) {
      throw new Error(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
    }
    await delay(pause);
  }
}

export function residentBytes(pid: number | "self"): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
}

/** Open descriptors. */
export function descriptors(pid: number | "self"): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
