// The hooks of one session: which are called in which state.

import { expect, test } from "bun:test";
import { Host } from "../../src/services/host.ts";
import { HookRunner, type HookTarget } from "../../src/session/hook-runner.ts";

/** A runner, and what its service has heard. */
function runner() {
  const heard: string[] = [];
  const note = (name: string) => () => void heard.push(name);
  const names = ["open", "detached", "attached", "close"];
  const hooks = Object.fromEntries(names.map((name) => [name, note(name)]));
  const host = new Host((error) => {
    throw error;
  });
  const target = {} as HookTarget;
  const context = { service: { message: note("message"), ...hooks }, host };
  return { hooks: new HookRunner(context, target), heard, host };
}

test("the service hears the end of a session that was opened, once, and nothing after it", () => {
  const { hooks, heard, host } = runner();
  void hooks.open();
  expect(host.sessions.size).toBe(1);
  for (const step of ["detached", "attached", "close", "close", "detached", "attached"] as const)
    hooks[step]();
  expect([heard, host.sessions.size]).toEqual([["open", "detached", "attached", "close"], 0]);
});

test("it hears nothing of a session that ended before it was opened", () => {
  const { hooks, heard } = runner();
  for (const step of ["detached", "attached", "close"] as const) hooks[step]();
  expect(heard).toEqual([]);
});
