// What accounts cost: the start of a server with so many users and tokens, its memory, and how long an echo waits beside ten logins
// with a password, each of which is a change of the store.
//
//     bun scripts/build.ts && bun scripts/bench-accounts.ts [--engine] [COUNT…]
//
// With --engine the accounts are in a Redis server, which it starts.
// A Markdown table on stdout. $PARLEY_EXECUTABLE measures another executable.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { PASSWORD, run, serve } from "../test/support/executable.ts";
import { startRedis } from "../test/support/redis.ts";
import { tempFolder } from "../test/support/folder.ts";
import { Peer } from "../test/support/peer.ts";

const WORDS = process.argv.slice(2);
const IS_ENGINE = WORDS.includes("--engine");
const COUNTS = WORDS.filter((word) => word !== "--engine").map(Number);
const LOGINS = 10;
const CHANGES = 30;
const HASH = await Bun.password.hash(PASSWORD, { algorithm: "argon2id", memoryCost: 8192, timeCost: 1 });

interface Figures {
  startMs: number;
  idleEchoMs: number;
  busyEchoMs: number;
  changeP50Ms: number;
  changeP99Ms: number;
  foreignEchoMs: number;
  startMib: number;
  peakMib: number;
}

/** A data folder with so many users, a token each. */
function fill(folder: string, count: number): void {
  const now = new Date();
  const at = now.toISOString();
  const expires = new Date(now.getTime() + 30 * 24 * 3600 * 1000).toISOString();
  const users: Record<string, object> = {};
  const tokens: Record<string, object> = {};
  for (let n = 0; n < count; n++) {
    const key = Buffer.alloc(32, String(n)).toString("base64");
    users[`user-${n}`] = { id: `id-of-user-number-${n}`, password: HASH, created: at, disabled: null };
    tokens[`T${1_000_000 + n}`] = {
      user: `user-${n}`,
      key,
      created: at,
      used: at,
      expires,
      peer: "127.0.0.1",
      via: "plain",
    };
  }
  const file = { version: 1, rev: 1, users, tokens, hosts: {} };
  writeFileSync(join(folder, "users.json"), `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600 });
}

/** Echoes one message after the other; `longest` gives the longest wait since the last call. */
function echoing(peer: Peer) {
  let [longest, isOver] = [0, false];
  const ended = (async () => {
    while (!isOver) {
      const since = performance.now();
      peer.send("x");
      await peer.frame();
      longest = Math.max(longest, performance.now() - since);
      await delay(1);
    }
  })();
  return {
    longest() {
      const found = longest;
      longest = 0;
      return found;
    },
    stop() {
      isOver = true;
      return ended;
    },
  };
}

async function logIn(port: number, user: string): Promise<{ ms: number; peer: Peer }> {
  const peer = await Peer.connect(port);
  const since = performance.now();
  const welcome = await peer.logIn(user, PASSWORD);
  if (welcome["type"] !== "welcome") throw new Error(JSON.stringify(welcome));
  return { ms: performance.now() - since, peer };
}

function memoryMib(pid: number, member: "VmRSS" | "VmHWM"): number {
  const found = new RegExp(`${member}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(found?.[1]) / 1024;
}

async function measure(count: number): Promise<Figures> {
  using folder = tempFolder();
  fill(folder.path, count);
  await using redis = IS_ENGINE ? await startRedis({ appendonly: true }) : undefined;
  const store = redis === undefined ? [] : ["--store", redis.url];
  if (redis !== undefined) await move(folder.path, redis.url);
  const began = performance.now();
  await using server = await serve(store, { data: folder.path });
  const startMs = performance.now() - began;
  const startMib = memoryMib(server.pid, "VmRSS");
  const { peer } = await logIn(server.port, "user-0");
  const echo = echoing(peer);
  await delay(1000);
  echo.longest();
  await delay(1000);
  const idleEchoMs = echo.longest();
  for (let n = 1; n <= LOGINS; n++) await logIn(server.port, `user-${n}`);
  await delay(1000);
  const busyEchoMs = echo.longest();
  const changes: number[] = [];
  for (let n = 0; n < CHANGES; n++) {
    const { ms, peer: other } = await logIn(server.port, "user-11");
    changes.push(ms);
    other.end();
  }
  changes.sort((a, b) => a - b);
  const at = (share: number) => changes[Math.min(CHANGES - 1, Math.floor(share * CHANGES))] ?? 0;
  await delay(1000);
  echo.longest();
  await users(folder.path, ["disable", "user-10", ...store]);
  await delay(1500);
  const foreignEchoMs = echo.longest();
  await echo.stop();
  const peakMib = memoryMib(server.pid, "VmHWM");
  return {
    startMs,
    idleEchoMs,
    busyEchoMs,
    changeP50Ms: at(0.5),
    changeP99Ms: at(0.99),
    foreignEchoMs,
    startMib,
    peakMib,
  };
}

async function users(data: string, argv: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await run(["users", ...argv], { data });
  if (exitCode !== 0) throw new Error(stderr);
  return stdout;
}

/** Puts the accounts of a data folder into an engine. */
async function move(data: string, url: string): Promise<void> {
  const all = join(data, "all.ndjson");
  writeFileSync(all, await users(data, ["export", "--all"]));
  await users(data, ["import", "--all", all, "--store", url]);
}

const HEAD =
  "start | echo alone | beside logins | login p50 | login p99 | beside `users` | RSS at start | RSS at most";
console.log(`| users and tokens | ${HEAD} |\n|${" ---: |".repeat(9)}`);
for (const count of COUNTS.length > 0 ? COUNTS : [12, 10_000, 100_000]) {
  const figures = await measure(count);
  const cells = Object.entries(figures).map(([name, value]) => {
    return name.endsWith("Ms") ? `${(value as number).toFixed(1)} ms` : `${Math.round(value as number)} MiB`;
  });
  console.log(`| ${count} | ${cells.join(" | ")} |`);
}
