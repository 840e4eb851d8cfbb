// The executables over a way that breaks again and again: every message once and in order.
//
// PARLEY_MESSAGES, PARLEY_CUTS, PARLEY_SEEDS: how many of each.

import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { cuttingProxy } from "../../support/cutting-proxy.ts";
import { run, serve, start } from "../../support/executable.ts";

const MESSAGES = Number(process.env["PARLEY_MESSAGES"] ?? 500);
const CUTS = Number(process.env["PARLEY_CUTS"] ?? 20);
const SEEDS = Number(process.env["PARLEY_SEEDS"] ?? 2);
const IS_LONG = process.env["PARLEY_CUTS"] !== undefined;
const PATIENCE_MS = 30_000 + CUTS * 6000;
const OPEN = ["--auth", "none", "--penalties", "off"];

/** What is said of each return. */
const RETURN = /^reconnected after [\d.]+ \w+(?:, resent \d+ messages?)?, nothing lost$/;

/** Services that number what they are told: the answers say in which order they have heard it. */
const HANDLER = ["--handler", join(import.meta.dir, "../../support/numbering-handler.ts")];
const WAYS: [string, string[], string[]][] = [
  ["a handler", [...OPEN, "--no-tls", ...HANDLER], ["--no-tls"]],
  ["a handler over TLS", [...OPEN, "--tls", ...HANDLER], ["--tls"]],
  ["a program", [...OPEN, "--no-tls", "--", "cat", "-n"], ["--no-tls"]],
];

/** Bytes between cuts, so that all cuts come before the messages are through. */
function stride(bytes: number, tls: boolean): { first: number; least: number; most: number } {
  const most = Math.max(tls ? 9000 : 1200, Math.min(6000, (2 * bytes) / CUTS));
  return { first: tls ? 6000 : 2000, least: tls ? 4000 : 100, most };
}

const seeds = Array.from({ length: SEEDS }, (_, n) => n + 1);
const cases = WAYS.flatMap(([name, server, client]) =>
  seeds.flatMap((seed) => [
    { name, server, client, seed, late: 0 },
    // They take long: after each the client waits longer.
    ...(seed === 1 || IS_LONG
      ? [{ name: `${name}, with late resumes`, server, client, seed, late: 0.5 }]
      : []),
  ]),
);

describe(`${MESSAGES} messages through up to ${CUTS} cuts`, () => {
  test.concurrent.each(cases)(
    "$name, seed $seed",
    async ({ server, client, seed, late }) => {
      await using serving = await serve(server);
      const lines = Array.from({ length: MESSAGES }, (_, n) => `${n + 1} ${"x".repeat(n % 97)}`);
      const stdin = `${lines.join("\n")}\n`;
      const isTls = client.includes("--tls");
      using proxy = await cuttingProxy({
        port: serving.port,
        cuts: CUTS,
        seed,
        late,
        ...stride(stdin.length, isTls),
      });
      const pin = isTls ? ["--pin", String(serving.ready["tls"])] : [];
      const began = performance.now();
      const result = await run(["connect", proxy.address, ...client, ...pin, "--retry", "forever"], {
        stdin,
      });
      if (IS_LONG) {
        console.log(
          `${proxy.done} cuts, ${proxy.late} late, ${Math.round((performance.now() - began) / 1000)} s`,
        );
      }
      const answers = result.stdout.split("\n").slice(0, -1);
      expect(answers.map((line) => line.trimStart())).toEqual(lines.map((line, n) => `${n + 1}\t${line}`));
      expect(result.exitCode).toBe(0);
      const said = result.stderr.split("\n").slice(0, -1);
      expect(said.filter((line) => !RETURN.test(line))).toEqual([]);
      expect(said.length).toBeGreaterThan(0); // a cut while it came back is no loss of its own
      expect(said.length).toBeLessThanOrEqual(proxy.done);
      expect(proxy.done).toBeGreaterThan(2);
      if (late > 0) expect(proxy.late).toBeGreaterThan(0);
    },
    PATIENCE_MS,
  );
});

test.concurrent.each(seeds)(
  "two members of a chat hear both, each message once and in the same order, seed %p",
  async (seed) => {
    const each = Math.ceil(MESSAGES / 4);
    await using serving = await serve([...OPEN, "--no-tls", "--service", "chat"]);
    using proxy = await cuttingProxy({
      port: serving.port,
      cuts: CUTS,
      seed,
      least: 100,
      most: 4000,
    });
    const argv = ["connect", proxy.address, "--no-tls", "--retry", "forever"];
    await using one = start(argv);
    await one.stdout.see("here:");
    proxy.connections = 0; // the other one's first is a first one too
    await using two = start(argv);
    await two.stdout.see("here:");
    for (let n = 0; n < each; n++) {
      one.write(`one${n}.\n`);
      two.write(`two${n}.\n`);
    }
    for (const member of [one, two]) {
      await member.stdout.see(`one${each - 1}.`, 0, PATIENCE_MS);
      await member.stdout.see(`two${each - 1}.`, 0, PATIENCE_MS);
    }
    const heard = [one, two].map(({ stdout }) => stdout.text.match(/(?:one|two)\d+\./g) ?? []);
    expect(heard[0]).toEqual(heard[1] ?? []);
    for (const name of ["one", "two"]) {
      expect(heard[0]?.filter((text) => text.startsWith(name))).toEqual(
        Array.from({ length: each }, (_, n) => `${name}${n}.`),
      );
    }
    one.endInput();
    two.endInput();
    expect(await Promise.all([one.exited, two.exited])).toEqual([0, 0]);
  },
  PATIENCE_MS,
);

test.concurrent.each(seeds)(
  "messages that come in many chunks are sent on, and sent again, as they came, seed %p",
  async (seed) => {
    const handler = join(import.meta.dir, "../../support/echo-handler.ts");
    await using serving = await serve([...OPEN, "--no-tls", "--handler", handler]);
    using proxy = await cuttingProxy({ port: serving.port, cuts: 8, seed, least: 300_000, most: 4_000_000 });
    const lines = Array.from({ length: 30 }, (_, n) => `${n} `.repeat((60_000 + 3000 * n) >> (n % 3)));
    const argv = ["connect", proxy.address, "--no-tls", "--retry", "forever"];
    const result = await run(argv, { stdin: `${lines.join("\n")}\n` });
    const answers = result.stdout.split("\n").slice(0, -1);
    expect(answers.map((line) => Bun.hash(line))).toEqual(lines.map((line) => Bun.hash(line)));
    const said = result.stderr.split("\n").slice(0, -1);
    expect([result.exitCode, said.filter((line) => !RETURN.test(line))]).toEqual([0, []]);
    expect(said.length).toBeGreaterThan(0);
  },
  PATIENCE_MS,
);
