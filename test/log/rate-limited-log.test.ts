// Floods of equal events: the first few are logged, the rest summed up, and none of it grows with the flood.

import { expect, test } from "bun:test";
import type { LogEvent, LogFields } from "../../src/log/log.ts";
import { RateLimitedLog, type Entry } from "../../src/log/rate-limited-log.ts";

const BURST = 3;

function flooded() {
  const lines: string[] = [];
  let suppressed = 0;
  const write = (event: LogEvent, fields: LogFields = {}) => {
    lines.push([event, ...Object.entries(fields).map(([name, value]) => `${name}=${value}`)].join(" "));
  };
  const log = { debug: write, info: write, warn: write, error: write, suppressed: () => void suppressed++ };
  return { flood: new RateLimitedLog(log, BURST), lines, suppressed: () => suppressed };
}

function refusal(source: string, kind: LogFields, conn: number): Entry {
  return { level: "warn", event: "refused", kind, source, fields: { conn } };
}

test("the first few are lines, the rest is one that says how many and from where; then it begins anew", () => {
  const { flood, lines, suppressed } = flooded();
  for (let conn = 1; conn <= 10; conn++) flood.log(refusal("a", { code: "full" }, conn));
  flood.log(refusal("a", { code: "denied" }, 11));
  expect(suppressed()).toBe(7);
  flood.flush();
  for (let conn = 12; conn <= 16; conn++) flood.log(refusal(`s${conn}`, { code: "full" }, conn));
  flood.flush();
  expect(lines).toEqual([
    ...[1, 2, 3].map((conn) => `refused conn=${conn} code=full`),
    "refused conn=11 code=denied",
    "refused similar=7 code=full source=a",
    ...[12, 13, 14].map((conn) => `refused conn=${conn} code=full`),
    "refused similar=2 code=full sources=2",
  ]);
});

test("a flood from very many sources, each of a kind of its own, is summed up, too", () => {
  const { flood, lines } = flooded();
  const many = 10_000;
  for (let n = 0; n < many; n++) flood.log(refusal(`s${n}`, { code: "bad", source: `s${n}` }, n));
  expect(lines.length).toBeLessThan(many / 10);
  const logged = lines.length;
  flood.flush();
  expect(lines.slice(logged)).toEqual([`refused similar=${many - logged} sources=1000`]);
});

test("in a flood what may come to nothing is a line only once it comes to something", () => {
  const { flood, lines } = flooded();
  const begun = Array.from({ length: 2 * BURST + 2 }, (_, conn) => flood.logIfQuiet("connected", { conn }));
  expect(lines).toHaveLength(2 * BURST);
  begun.at(-1)?.();
  begun[0]?.();
  expect(lines.slice(2 * BURST)).toEqual([`connected conn=${2 * BURST + 1}`]);
  flood.flush();
});
