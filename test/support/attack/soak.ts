// All attacks at once for a long time, beside honest clients that say a word each second and log in anew each minute. How long
// is PARLEY_SOAK, in seconds.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { PasswordHasher } from "../../../src/auth/password.ts";
import { parseToken } from "../../../src/auth/token.ts";
import { tokenLogin } from "../../../src/handshake/client.ts";
import type { Hello } from "../../../src/wire/message.ts";
import { descriptors, residentBytes, until } from "../attack.ts";
import { PASSWORD, run, start } from "../executable.ts";
import { tempFolder } from "../folder.ts";
import { Client, quantile } from "./client.ts";
import type { Figure } from "./target.ts";

const MIB = 1024 * 1024;
const SECONDS = Number(process.env["PARLEY_SOAK"] ?? 60);
/** How long the honest clients are alone first. */
const ALONE_SECONDS = Math.min(60, SECONDS);
const HONEST = 50;
/** Of the honest clients so many log in with their passwords each time, the others with a token. */
const BY_PASSWORD = 10;
const RELOGIN_MS = 60_000;
const ATTACKS = [
  "guesses",
  "tokens",
  "garbage",
  "silent",
  "health",
  "logins",
  "unread",
  "unfinished",
  "pings",
  "churn",
  "resume",
  "tell",
];

const HANDLER = `
const room = new Set();
const bytes = Buffer.alloc(64 * 1024);
export default {
  message(session, message) {
    const text = message.text();
    if (text === "talk") for (let n = 0; n < 64; n++) session.send(bytes);
    else if (text === "tell") { room.add(session); for (let n = 0; n < 16; n++) for (const one of room) one.send(bytes); }
    else session.send(message);
  },
  close(session) { room.delete(session); },
};`;

interface Tally {
  times: number[];
  lost: number;
  refusals: string[];
}

/** One honest client, until `isOver`: a word each second, and a new login each minute. */
async function honest(port: number, n: number, tally: () => Tally, isOver: () => boolean): Promise<void> {
  const from = `127.0.1.${n}`;
  let token: string | undefined;
  for (let word = 0; !isOver();) {
    using client = await Client.connect(port, from);
    const hello = await client.message();
    const parts = token === undefined || n <= BY_PASSWORD ? undefined : parseToken(token);
    const login =
      parts === undefined
        ? { type: "login", method: "password", user: `honest-${n}`, password: PASSWORD }
        : tokenLogin(hello as Hello, parts, new Uint8Array(0));
    if (hello?.["type"] === "hello") client.send(JSON.stringify(login));
    const welcome = hello?.["type"] === "hello" ? await client.message() : hello;
    if (welcome?.["type"] !== "welcome") {
      tally().refusals.push(`honest-${n}: ${JSON.stringify(welcome)}`);
      await delay(500);
      continue;
    }
    if (typeof welcome["token"] === "string") token = welcome["token"];
    const until = performance.now() + RELOGIN_MS * (0.5 + Math.random());
    while (!isOver() && performance.now() < until) {
      const text = `${n} says ${word++}`;
      const began = performance.now();
      client.send(text);
      const answer = await client.read();
      if (answer?.toString() !== text) {
        tally().lost++;
        break;
      }
      tally().times.push(performance.now() - began);
      await delay(1000);
    }
  }
}

export async function soak(seconds = SECONDS, kinds = ATTACKS): Promise<Figure[]> {
  using folder = tempFolder();
  const data = join(folder.path, "data");
  const log = join(folder.path, "log");
  const handler = join(folder.path, "soak.ts");
  writeFileSync(handler, HANDLER);
  const hash = await new PasswordHasher().hash(PASSWORD);
  const names = [
    ...Array.from({ length: HONEST }, (_, n) => `honest-${n + 1}`),
    ...ATTACKS.map((kind) => `mallory-${kind}`),
  ];
  const stdin = names.map((name) => `${JSON.stringify({ name, password: hash })}\n`).join("");
  const made = await run(["users", "import", "-"], { data, stdin });
  if (made.exitCode !== 0) throw new Error(made.stderr);
  const flags = [
    "--no-tls",
    "--port",
    "0",
    "--json",
    "--log",
    log,
    "--handler",
    handler,
    "--metrics",
    "127.0.0.1:0",
  ];
  await using server = start(["serve", ...flags], { data });
  await server.stdout.see("\n");
  const ready = JSON.parse(server.stdout.text) as { port: number; metrics: string };
  const { port } = ready;
  const metrics = Number(ready.metrics.split(":").at(-1));

  const alone: Tally = { times: [], lost: 0, refusals: [] };
  const beside: Tally = { times: [], lost: 0, refusals: [] };
  let tally = alone;
  let isOver = false;
  const clients: Promise<void>[] = [];
  for (let n = 1; n <= HONEST; n++) {
    clients.push(
      honest(
        port,
        n,
        () => tally,
        () => isOver,
      ),
    );
    await delay(250);
  }
  await delay(ALONE_SECONDS * 1000);
  const before = { memory: residentBytes(server.pid), descriptors: descriptors(server.pid) };
  tally = beside;
  const script = join(import.meta.dir, "soaker.ts");
  const attackers = kinds.map((kind) =>
    Bun.spawn(
      ["nice", "-n", "19", process.execPath, script, kind, `${port}`, `${metrics}`, `${seconds + 60}`],
      {
        stdout: "ignore",
        stderr: "ignore",
      },
    ),
  );
  let most = before.memory;
  let mostDescriptors = before.descriptors;
  const slowHealth: number[] = [];
  try {
    for (const end = performance.now() + seconds * 1000; performance.now() < end;) {
      await delay(1000);
      most = Math.max(most, residentBytes(server.pid));
      mostDescriptors = Math.max(mostDescriptors, descriptors(server.pid));
      const began = performance.now();
      const isWell = await fetch(`http://127.0.0.1:${metrics}/healthz`, {
        signal: AbortSignal.timeout(10_000),
      })
        .then((answer) => answer.ok)
        .catch(() => false);
      slowHealth.push(isWell ? performance.now() - began : 10_000);
    }
  } finally {
    for (const attacker of attackers) attacker.kill();
    await Promise.all(attackers.map(({ exited }) => exited));
  }
  const logBytes = readFileSync(log).length;
  await until("descriptors as before", true, () => descriptors(server.pid) <= before.descriptors + 2).catch(
    () => undefined,
  );
  await delay(15_000);
  const after = { memory: residentBytes(server.pid), descriptors: descriptors(server.pid) };
  isOver = true;
  await Promise.all(clients);
  const attack = `all at once, ${seconds} s`;
  const p99 = (one: Tally) => quantile(one.times, 0.99);
  process.stderr.write([...alone.refusals, ...beside.refusals].slice(0, 20).join("\n"));
  return [
    {
      attack,
      what: `honest echoes lost, of ${beside.times.length}`,
      value: alone.lost + beside.lost,
      unit: "",
      target: 1,
    },
    {
      attack,
      what: "honest logins refused",
      value: alone.refusals.length + beside.refusals.length,
      unit: "",
      target: 1,
    },
    { attack, what: "honest echo alone, p50", value: quantile(alone.times, 0.5), unit: "ms" },
    { attack, what: "honest echo alone, p99", value: p99(alone), unit: "ms" },
    { attack, what: "honest echo, p50", value: quantile(beside.times, 0.5), unit: "ms" },
    { attack, what: "honest echo, p99", value: p99(beside), unit: "ms", target: 3 * p99(alone) },
    { attack, what: "health, p99", value: quantile(slowHealth, 0.99), unit: "ms", target: 1000 },
    { attack, what: "server memory at most", value: most / MIB, unit: "MiB" },
    {
      attack,
      what: "server memory afterwards, growth",
      value: (after.memory - before.memory) / MIB,
      unit: "MiB",
      target: 64,
    },
    { attack, what: "descriptors at most", value: mostDescriptors, unit: "" },
    {
      attack,
      what: "descriptors afterwards, growth",
      value: Math.max(0, after.descriptors - before.descriptors),
      unit: "",
      target: 3,
    },
    { attack, what: "log written a second", value: logBytes / MIB / (seconds + ALONE_SECONDS), unit: "MiB" },
  ];
}
