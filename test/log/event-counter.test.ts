// What --metrics counts: each event once, by its kind, whether it was written, summed up, or both.

import { expect, test } from "bun:test";
import { RateLimitedLog } from "../../src/log/rate-limited-log.ts";
import { EventCounter } from "../../src/log/event-counter.ts";

const NOWHERE = { debug() {}, info() {}, warn() {}, error() {} };

test("each event counts once, also where a flood of them is summed up", () => {
  const tally = new EventCounter();
  const log = tally.countingLogger(NOWHERE);
  const flood = new RateLimitedLog(log, 3);
  for (let conn = 0; conn < 10; conn++) {
    flood.log({ level: "warn", event: "refused", kind: { code: "full" }, source: "a", fields: { conn } });
  }
  flood.flush();
  log.info("logged-in", { method: "token", code: "no kind of it" });
  log.debug("stopping");
  expect([...tally]).toEqual([
    { event: "refused", kind: "full", count: 10 },
    { event: "logged-in", kind: "token", count: 1 },
    { event: "stopping", kind: "", count: 1 },
  ]);
});

test("an end is told apart by its bye, and by its code where it came to no conversation", () => {
  const tally = new EventCounter();
  const log = tally.countingLogger(NOWHERE);
  log.info("disconnected", { bye: "done" });
  log.info("disconnected", { bye: "done", code: "late" });
  log.info("disconnected", { code: "gone" });
  expect([...tally].map(({ kind, count }) => [kind, count])).toEqual([
    ["done", 2],
    ["gone", 1],
  ]);
});
