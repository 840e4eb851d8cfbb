// What clients can write to the log: the first lines as they come, the rest summed up, and none of it grows with the flood.

import { expect, jest, test } from "bun:test";
import {
  LOG_SUMMARY_MS,
  MAX_LOG_ALL_STDERR_BYTES,
  MAX_LOG_EVENT_BYTES,
  MAX_LOG_EVENTS,
  MAX_LOG_FIELD_LENGTH,
  MAX_LOG_GROUPS,
  MAX_LOG_REFUSALS,
  MAX_LOG_SOURCE_BYTES,
  MAX_LOG_STDERR_BYTES,
  MAX_LOG_SUMMARIES,
} from "../../src/base/limits.ts";
import type { LogEvent, LogFields } from "../../src/log/log.ts";
import { RateLimitedLog } from "../../src/log/rate-limited-log.ts";

function limited() {
  const lines: string[] = [];
  const write = (event: LogEvent, fields: LogFields = {}) => {
    const present = Object.entries(fields).filter(([, value]) => value !== undefined);
    lines.push([event, ...present.map(([name, value]) => `${name}=${value}`)].join(" "));
    log.bytes += Buffer.byteLength(lines.at(-1) ?? "") + 1;
  };
  const log = { debug: write, info: write, warn: write, error: write, bytes: 0 };
  /** The lines since the last call. */
  const take = () => lines.splice(0);
  return { log: new RateLimitedLog(log), take };
}

const bytesOf = (lines: readonly string[]) => Buffer.byteLength(lines.join("\n")) + 1;
/** The address number `n` of many. */
const address = (n: number) => `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`;

test("the first refusals of a source are lines, the rest is one that says how many; then it begins anew", () => {
  jest.useFakeTimers();
  const { log, take } = limited();
  for (const peer of ["192.0.2.1:5", "192.0.2.2:5"]) {
    for (let n = 0; n < MAX_LOG_REFUSALS + 7; n++) log.warn("refused", { peer, code: "full" });
    log.warn("refused", { peer, code: "denied" });
    const lines = take();
    expect(lines).toHaveLength(MAX_LOG_REFUSALS + 1);
    expect(lines.at(-1)).toBe(`refused peer=${peer} code=denied`);
  }
  jest.advanceTimersByTime(LOG_SUMMARY_MS);
  expect(take()).toEqual([
    "refused similar=7 source=192.0.2.1 code=full",
    "refused similar=7 source=192.0.2.2 code=full",
  ]);
  log.warn("refused", { peer: "192.0.2.1:6", code: "full" });
  jest.advanceTimersByTime(LOG_SUMMARY_MS);
  expect(take()).toEqual(["refused peer=192.0.2.1:6 code=full"]);
  jest.useRealTimers();
});

test("a network of IPv6 addresses is one source", () => {
  const { log, take } = limited();
  for (let n = 0; n < MAX_LOG_EVENTS + 1; n++) log.info("connected", { peer: `[2001:db8::${n + 1}]:5` });
  expect(take()).toHaveLength(MAX_LOG_EVENTS);
  log.flush();
  expect(take()).toEqual(["connected similar=1 source=2001:db8:0:0::/64"]);
});

test("everyday use loses no line: two logins a second from one address, with their ends", () => {
  const { log, take } = limited();
  for (let conn = 0; conn < MAX_LOG_EVENTS; conn++) {
    const facts = { conn, peer: `192.0.2.1:${conn}`, user: "ann" };
    log.info("connected", facts);
    log.info("logged-in", { ...facts, method: "token", token: "FpkA4xvP" });
    log.info("program-started", { ...facts, pid: 12345 });
    log.info("program-ended", { ...facts, pid: 12345, status: 0 });
    log.info("disconnected", { ...facts, received: 1, bye: "done" });
  }
  expect(take()).toHaveLength(5 * MAX_LOG_EVENTS);
  log.flush();
  expect(take()).toEqual([]);
});

test("one source is bounded over all its events, and hides no other source", () => {
  const { log, take } = limited();
  const reason = "x".repeat(1000);
  for (let n = 0; n < 1000; n++) {
    for (const event of ["service-failed", "handler-failed", "dropped", "lost", "resumed"] as const) {
      log.info(event, { peer: "192.0.2.1:5", reason });
    }
  }
  const bytes = bytesOf(take());
  expect(bytes).toBeGreaterThan(MAX_LOG_SOURCE_BYTES - 1100);
  expect(bytes).toBeLessThan(MAX_LOG_SOURCE_BYTES + 1100);
  log.info("lost", { peer: "192.0.2.2:5" });
  expect(take()).toEqual(["lost peer=192.0.2.2:5"]);
});

test("one event is bounded over all sources, with its summaries, and hides no other", () => {
  const { log, take } = limited();
  const sources = 2 * MAX_LOG_GROUPS;
  for (let n = 0; n < sources; n++) log.warn("refused", { peer: `${address(n)}:5`, code: "penalised" });
  log.info("logged-in", { peer: "192.0.2.9:5", method: "token" });
  const lines = take();
  expect(lines.at(-1)).toStartWith("logged-in");
  expect(bytesOf(lines)).toBeLessThan(MAX_LOG_EVENT_BYTES + 200);
  log.flush();
  const summaries = take();
  expect(summaries).toHaveLength(MAX_LOG_SUMMARIES + 1);
  const counted = summaries.reduce((sum, line) => sum + Number(/ similar=(\d+)/.exec(line)?.[1]), 0);
  expect(counted).toBe(sources - (lines.length - 1));
});

test("standard error is bounded for each conversation, source, and in all, and hides no other event", () => {
  const { log, take } = limited();
  const text = "x".repeat(100);
  const say = (conn: number, peer: string) => {
    for (let n = 0; n < 1000; n++) log.info("program-stderr", { conn, peer, text });
    return bytesOf(take());
  };
  const near = (bytes: number, limit: number) => Math.abs(bytes - limit) < 300;
  expect(near(say(1, "192.0.2.1:1"), MAX_LOG_STDERR_BYTES)).toBe(true);
  let ofSource = MAX_LOG_STDERR_BYTES;
  for (let conn = 2; conn < 6; conn++) ofSource += say(conn, "192.0.2.1:1");
  expect(near(ofSource, MAX_LOG_SOURCE_BYTES)).toBe(true);
  let all = ofSource;
  for (let n = 0; n < 40; n++) all += say(100 + n, `${address(n)}:1`);
  expect(near(all, MAX_LOG_ALL_STDERR_BYTES)).toBe(true);
  log.info("program-ended", { conn: 1, peer: "192.0.2.1:1" });
  expect(take()).toHaveLength(1);
  log.flush();
  expect(take()).toContain("program-stderr similar=1000 conn=139 source=10.0.0.39");
});

test("what a client says in a field does not make a line long", () => {
  const { log, take } = limited();
  log.error("service-failed", { peer: "192.0.2.1:5", reason: "x".repeat(1_000_000) });
  expect(take()).toEqual([`service-failed peer=192.0.2.1:5 reason=${"x".repeat(MAX_LOG_FIELD_LENGTH)}…`]);
});

test("lines of the operator are never left out, and come after the summaries of what was before them", () => {
  const { log, take } = limited();
  for (let n = 0; n < 2 * MAX_LOG_EVENTS; n++) log.info("users-flawed", { user: "ann" });
  for (let n = 0; n < MAX_LOG_REFUSALS + 1; n++) log.warn("key-refused", { peer: "192.0.2.1:5" });
  take();
  log.info("stopping");
  for (let n = 0; n < 3; n++) log.warn("key-refused", { peer: "192.0.2.1:5" });
  log.info("stopped");
  // What was there before still counts.
  expect(take()).toEqual([
    "key-refused similar=1 source=192.0.2.1",
    "stopping",
    "key-refused similar=3 source=192.0.2.1",
    "stopped",
  ]);
});

test("failures without a client are bounded, too", () => {
  const { log, take } = limited();
  for (let n = 0; n < 10_000; n++) log.warn("users-failed", { reason: "the disk is full" });
  expect(take()).toHaveLength(MAX_LOG_EVENTS);
});
