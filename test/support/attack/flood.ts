// Wrong passwords without end, while somebody else wants in, or only to be answered.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PASSWORD } from "../executable.ts";
import { residentBytes } from "../attack.ts";
import { logIn, quantile } from "./client.ts";
import { LIFTED, target, type Figure } from "./target.ts";

export interface FloodOptions {
  /** Guesses outstanding, and from how many addresses. */
  guesses: number;
  addresses: number;
  /** Without penalties, and as many connections as one likes: the worst that an operator can allow. */
  lifted: boolean;
  logins: number;
  roundTrips: number;
}

const MIB = 1024 * 1024;

/** Floods a server of its own; what a victim at another address noticed, and what the log has of the guesses. */
export async function flood(options: FloodOptions): Promise<Figure[]> {
  const { guesses, addresses, logins, roundTrips, lifted } = options;
  const attack = `${guesses} guesses from ${addresses}${lifted ? ", no penalties" : ""}`;
  const figures: Figure[] = [];
  const note = (what: string, value: number, unit: Figure["unit"], limit?: number) =>
    figures.push({ attack, what, value, unit, target: limit });
  await using server = await target(lifted ? LIFTED : []);
  const { port, pid } = server;
  const victim = "127.0.0.3";
  const measure = async (when: string, credential: object, count: number) => {
    const times: number[] = [];
    while (times.length < count) {
      const { ms, client } = await logIn(port, victim, credential);
      client[Symbol.dispose]();
      times.push(ms);
    }
    note(`${when}, shortest`, Math.min(...times), "ms");
    note(`${when}, median`, quantile(times, 0.5), "ms", when.includes("flood") ? 1000 : undefined);
    note(`${when}, longest`, Math.max(...times), "ms");
  };
  const first = await logIn(port, victim, { password: PASSWORD });
  using talker = first.client;
  const token = { token: String(first.welcome["token"]) };
  await measure("password login, idle", { password: PASSWORD }, logins);
  const idle = await talker.roundTrips(roundTrips);
  const before = residentBytes(pid);

  const froms = Array.from({ length: guesses }, (_, index) => {
    const host = index % addresses;
    return addresses === 1 ? "127.0.0.2" : `127.0.${1 + Math.floor(host / 200)}.${1 + (host % 200)}`;
  });
  const script = join(import.meta.dir, "guesses.ts");
  const attacker = Bun.spawn([process.execPath, script, String(port), ...froms], { stdout: "pipe" });
  try {
    await attacker.stdout.getReader().read(); // "guessing"
    const began = performance.now();
    const flooded = await talker.roundTrips(roundTrips);
    await measure("token login, flood", token, logins);
    await measure("password login, flood", { password: PASSWORD }, logins);
    note("echo idle, p50", quantile(idle, 0.5), "ms");
    note("echo idle, p99", quantile(idle, 0.99), "ms");
    note("echo flood, p50", quantile(flooded, 0.5), "ms");
    note("echo flood, p99", quantile(flooded, 0.99), "ms", 2 * quantile(idle, 0.99));
    note("server memory, growth", (residentBytes(pid) - before) / MIB, "MiB", 80);
    const seconds = (performance.now() - began) / 1000;
    const log = readFileSync(server.log, "utf8");
    note("log written a second", log.length / MIB / seconds, "MiB");
  } finally {
    attacker.kill();
    await attacker.exited;
  }
  return figures;
}
