// What accounts in an engine do: two servers and the command line on one Redis server, over the compiled executable.
//
//     bun scripts/build.ts && bun scripts/bench-store.ts
//
// A Markdown table on stdout; exit 1 when a figure misses its goal. It needs redis-server.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { PASSWORD, run, serve, type Serving } from "../test/support/executable.ts";
import { tempFolder } from "../test/support/folder.ts";
import { Peer } from "../test/support/peer.ts";
import { startRedis, type TestRedis } from "../test/support/redis.ts";

const CONVERSATIONS = 300;
const ADDED = 30;
const RETURNS = 20;

interface Figure {
  what: string;
  value: number;
  unit: string;
  goal: number;
}

const figures: Figure[] = [];

function note(what: string, value: number, unit: string, goal: number): void {
  figures.push({ what, value, unit, goal });
  console.log(
    `| ${what} | ${Math.round(value * 10) / 10} ${unit} | ${goal} ${unit} |${value > goal ? " **missed**" : ""}`,
  );
}

/** Two servers on one engine, in folders of their own. */
async function two(redis: TestRedis, data: readonly string[]): Promise<[Serving, Serving]> {
  const flags = [
    "--store",
    redis.url,
    "--penalties",
    "off",
    "--max-per-user",
    "400",
    "--max-connections",
    "600",
    "--max-pending",
    "400",
    "--max-pending-per-address",
    "400",
  ];
  const [one, other] = await Promise.all(
    data.map((folder) => serve([...flags, "--metrics", "127.0.0.1:0"], { data: folder })),
  );
  if (one === undefined || other === undefined) throw new Error("no servers");
  return [one, other];
}

async function users(redis: TestRedis, data: string, argv: string[], stdin = ""): Promise<void> {
  const { exitCode, stderr } = await run(["users", ...argv, "--store", redis.url], { data, stdin });
  if (exitCode !== 0) throw new Error(stderr);
}

/** Logs in, and returns what the server says, and after how long. */
async function logIn(
  port: number,
  user: string,
): Promise<{ said: Record<string, unknown>; ms: number; peer: Peer }> {
  const peer = await Peer.connect(port);
  const since = performance.now();
  const said = await peer.logIn(user, PASSWORD);
  return { said, ms: performance.now() - since, peer };
}

/** Lets `count` users in at each server, with a token each. Their conversations, as promises of how they end. */
async function converse(
  servers: readonly Serving[],
  count: number,
): Promise<Promise<{ code: unknown; at: number }>[]> {
  const ends: Promise<{ code: unknown; at: number }>[] = [];
  for (let n = 0; n < count; n++) {
    const peer = await Peer.connect(servers[n % servers.length]?.port ?? 0);
    const said = await peer.logIn(`user-${n % 50}`, PASSWORD, { control: true });
    if (said["type"] !== "welcome") throw new Error(JSON.stringify(said));
    ends.push(endOf(peer));
  }
  return ends;
}

async function endOf(peer: Peer): Promise<{ code: unknown; at: number }> {
  for (;;) {
    const message = await peer.message();
    if (message["type"] === "bye") return { code: message["code"], at: performance.now() };
  }
}

/** Ends all tokens, and notes when the last conversation has heard of it. */
async function revokeAll(
  what: string,
  redis: TestRedis,
  data: string,
  ends: Promise<{ code: unknown; at: number }>[],
): Promise<void> {
  await users(redis, data, ["revoke", "--all"]);
  const since = performance.now();
  const heard = await Promise.all(ends);
  if (heard.some(({ code }) => code !== "revoked")) throw new Error("ended for another reason");
  note(what, Math.max(0, ...heard.map(({ at }) => at - since)), "ms after the command", 1000);
}

/** The longest wait for an echo until it is stopped. */
function echoing(peer: Peer): { stop(): Promise<{ longest: number; count: number }> } {
  let [longest, count, isOver] = [0, 0, false];
  const ended = (async () => {
    while (!isOver) {
      const since = performance.now();
      peer.send("x");
      if ((await peer.frame()) === null) throw new Error("a conversation has ended");
      longest = Math.max(longest, performance.now() - since);
      count++;
      await delay(20);
    }
  })();
  return {
    async stop() {
      isOver = true;
      await ended;
      return { longest, count };
    },
  };
}

async function health(server: Serving): Promise<number> {
  return (await fetch(`http://${String(server.ready["metrics"])}/healthz`)).status;
}

/** Milliseconds until `isMet`, which is asked all the time. */
async function until(isMet: () => Promise<boolean>): Promise<number> {
  const since = performance.now();
  while (!(await isMet())) await delay(5);
  return performance.now() - since;
}

/** The engine is away while `work` runs: what newcomers and conversations meet, and when all is well again. */
async function away(
  what: string,
  server: Serving,
  leave: () => Promise<void> | void,
  comeBack: () => Promise<void> | void,
): Promise<void> {
  const { peer } = await logIn(server.port, "user-0");
  const echo = echoing(peer);
  await leave();
  const [first, unwell] = await Promise.all([
    logIn(server.port, "user-1"),
    until(async () => (await health(server)) === 503),
  ]);
  const second = await logIn(server.port, "user-1");
  for (const { said } of [first, second]) {
    if (said["code"] !== "busy" || said["retry_after"] !== 1) throw new Error(JSON.stringify(said));
  }
  note(`${what}: a login gets busy, at its beginning`, first.ms, "ms", 1500);
  note(`${what}: later`, second.ms, "ms", 1500);
  note(`${what}: /healthz says 503`, unwell, "ms", 2000);
  await comeBack();
  const well = await until(
    async () =>
      (await health(server)) === 200 && (await logIn(server.port, "user-1")).said["type"] === "welcome",
  );
  note(`${what}: well again after its return`, well, "ms", 2000);
  const { longest, count } = await echo.stop();
  note(`${what}: the longest of ${count} echoes, none lost`, longest, "ms", 500);
  peer.end();
}

/** Four processes change records of the same store, 500 times a second each. */
async function writers(redis: TestRedis): Promise<void> {
  const script = join(import.meta.dir, "../test/support/engine-writer.ts");
  const children = Array.from({ length: 4 }, () =>
    Bun.spawn(["bun", script, redis.url, "5", "500"], { stdout: "pipe" }),
  );
  const said = await Promise.all(
    children.map(
      async (child) =>
        JSON.parse(await new Response(child.stdout).text()) as { perSecond: number; p99: number },
    ),
  );
  note(
    "changes a second that four processes miss of 2,000",
    2000 - said.reduce((sum, { perSecond }) => sum + perSecond, 0),
    "",
    20,
  );
  note(
    "what the slowest misses of its 500",
    500 - Math.min(...said.map(({ perSecond }) => perSecond)),
    "",
    250,
  );
  note("a change among them, p99", Math.max(...said.map(({ p99 }) => p99)), "ms", 20);
}

console.log("| what | figure | goal |\n| --- | ---: | ---: |");
await using redis = await startRedis({ appendonly: true });
using folder = tempFolder();
const data = ["one", "other", "command"].map((name) => join(folder.path, name));
const [one = "", other = "", command = ""] = data;
const hash = await Bun.password.hash(PASSWORD, { algorithm: "argon2id", memoryCost: 8192, timeCost: 1 });
const lines = Array.from({ length: 50 }, (_, n) => JSON.stringify({ name: `user-${n}`, password: hash }));
await users(redis, command, ["import", "-"], lines.join("\n"));
const servers = await two(redis, [one, other]);
const [near] = servers;

let missing = 0;
for (let n = 0; n < ADDED; n++) {
  await users(redis, command, ["add", `new-${n}`, "--password-stdin"], PASSWORD);
  const { said, peer } = await logIn(servers[n % 2]?.port ?? 0, `new-${n}`);
  if (said["type"] !== "welcome") missing++;
  peer.end();
}
note(`users of ${ADDED} that are not let in at once`, missing, "", 0);

await revokeAll(
  `the last of ${CONVERSATIONS} conversations hears of revoke --all`,
  redis,
  command,
  await converse(servers, CONVERSATIONS),
);
const ends = await converse(servers, CONVERSATIONS);
let isCutting = true;
const cutting = (async () => {
  while (isCutting) {
    await redis.killClients();
    await delay(100);
  }
})();
await revokeAll("the same, while all connections to the engine are cut every 100 ms", redis, command, ends);
isCutting = false;
await cutting;

await away(
  "frozen",
  near,
  () => redis.freeze(),
  () => redis.thaw(),
);
await away(
  "killed",
  near,
  () => redis.kill(),
  () => redis.restart(),
);
let slowest = 0;
for (let n = 0; n < RETURNS; n++) {
  await redis.kill();
  await until(async () => (await health(near)) === 503);
  await redis.restart();
  slowest = Math.max(slowest, await until(async () => (await health(near)) === 200));
}
note(`the slowest of ${RETURNS} returns`, slowest, "ms", 2000);
await writers(redis);
for (const server of servers) await server.stop();
const log = readFileSync(join(one, "parley.log"), "utf8");
console.log(
  `\nThe log of the first server has ${log.split("\n").filter((line) => / store-(lost|found|rolled-back) /.test(line)).length} lines on its store.`,
);
process.exitCode = figures.some(({ value, goal }) => value > goal) ? 1 : 0;
