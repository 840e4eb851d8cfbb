// Waiting ends with the reason of a signal, whether that is aborted before, meanwhile or never.

import { expect, test } from "bun:test";
import { onAbort, pause } from "../../src/base/abort.ts";

const REASON = new Error("no use any more");

test("a callback gets the reason once: later, at once, or never after it was disposed of", () => {
  const reasons: unknown[] = [];
  const controller = new AbortController();
  using _ = onAbort(controller.signal, (reason) => reasons.push(reason));
  onAbort(controller.signal, () => reasons.push("disposed of"))[Symbol.dispose]();
  expect(reasons).toEqual([]);
  controller.abort(REASON);
  controller.abort("again");
  expect(reasons).toEqual([REASON]);
  using __ = onAbort(controller.signal, (reason) => reasons.push(reason));
  expect(reasons).toEqual([REASON, REASON]);
});

test("without a signal nothing is called", () => {
  expect(() => onAbort(undefined, () => expect.unreachable())[Symbol.dispose]()).not.toThrow();
});

test("a pause ends with the reason, and without one when its time is over", async () => {
  const { signal } = new AbortController();
  expect(await pause(1, signal)).toBeUndefined();
  const thrown = (error: unknown) => error;
  expect(await pause(600_000, AbortSignal.abort(REASON)).catch(thrown)).toBe(REASON);
  const controller = new AbortController();
  const paused = pause(600_000, controller.signal).catch(thrown);
  controller.abort(REASON);
  expect(await paused).toBe(REASON);
});
