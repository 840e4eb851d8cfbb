// Waiting ends with the reason of a signal, whether that is aborted before, meanwhile or never.

import { expect, test } from "bun:test";
import { Cancellation, onAbort, pause } from "../../src/base/abort.ts";

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

test("work that is ended has one reason, whether its signal was asked for before or after", () => {
  const [early, late] = [new Cancellation(), new Cancellation()];
  const { signal } = early;
  for (const one of [early, late]) {
    one.throwIfAborted();
    expect(one.aborted).toBe(false);
    one.abort(REASON);
    one.abort("again");
    expect(one.aborted).toBe(true);
    expect(() => one.throwIfAborted()).toThrow(REASON);
    expect(one.signal.reason).toBe(REASON);
  }
  expect(early.signal).toBe(signal);
  expect(signal.aborted).toBe(true);
});
