// The timers of a session or a server: when they call, and that they end.

import { expect, test } from "bun:test";
import { Timers } from "../../src/services/timers.ts";

const failing = (): never => {
  throw new Error("no timer may fail");
};

test("every calls again only after the promise of its callback is settled", async () => {
  const timers = new Timers(failing);
  const gate = Promise.withResolvers<void>();
  const more = Promise.withResolvers<void>();
  let calls = 0;
  timers.every(1, () => (++calls === 1 ? gate.promise : more.resolve()));
  const others = Promise.withResolvers<void>();
  let ticks = 0;
  timers.every(1, () => void (++ticks === 10 && others.resolve()));
  await others.promise;
  expect(calls).toBe(1);
  gate.resolve();
  await more.promise;
  timers.end();
});

test("none runs after the end, or is started then", async () => {
  const timers = new Timers(failing);
  timers.after(0, failing);
  timers.every(0, failing);
  timers.end();
  timers.after(0, failing);
  timers.every(0, failing)();
  const other = new Timers(failing);
  const passed = Promise.withResolvers<void>();
  other.after(5, passed.resolve);
  await passed.promise;
});

test("what is stopped does not run", async () => {
  const timers = new Timers(failing);
  timers.after(0, failing)();
  const stop = timers.every(1, failing);
  stop();
  stop();
  const passed = Promise.withResolvers<void>();
  timers.after(5, passed.resolve);
  await passed.promise;
});
