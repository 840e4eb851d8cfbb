// What --metrics counts: each event once, by its kind, whether it was written, summed up, or both.

import { expect, test } from "bun:test";
import { MAX_LOG_REFUSALS } from "../../src/base/limits.ts";
import { RateLimitedLog } from "../../src/log/rate-limited-log.ts";
import { EventCounter } from "../../src/log/event-counter.ts";

const NOWHERE = { debug() {}, info() {}, warn() {}, error() {}, bytes: 0 };

test("each event counts once, also where a flood of them is summed up", () => {
  const tally = new EventCounter();
  const limited = new RateLimitedLog(NOWHERE);
  const log = tally.countingLogger(limited);
  for (let conn = 0; conn < 2 * MAX_LOG_REFUSALS; conn++) log.warn("refused", { conn, code: "full" });
  limited.flush();
  log.info("logged-in", { method: "token", code: "no kind of it" });
  log.debug("stopping");
  expect([...tally]).toEqual([
    { event: "refused", kind: "full", count: 2 * MAX_LOG_REFUSALS },
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
