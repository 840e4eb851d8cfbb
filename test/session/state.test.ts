// Every state of a session, and what each event makes of it: the whole table.

import { describe, expect, test } from "bun:test";
import {
  isAttached,
  isDetached,
  transition,
  type SessionEvent,
  type SessionState,
} from "../../src/session/state.ts";

/** State, event, and the state after it; undefined: that cannot happen. */
const TABLE: [SessionState, SessionEvent, SessionState | undefined][] = [
  ["attached", "bye", "closing"],
  ["attached", "loss", "detached"],
  ["attached", "resume", undefined], // the connection that it has is let go first
  ["attached", "end", "closed"],
  ["detached", "bye", "detached-closing"],
  ["detached", "loss", undefined],
  ["detached", "resume", "attached"],
  ["detached", "end", "closed"],
  ["closing", "bye", undefined],
  ["closing", "loss", "detached-closing"],
  ["closing", "resume", undefined],
  ["closing", "end", "closed"],
  ["detached-closing", "bye", undefined],
  ["detached-closing", "loss", undefined],
  ["detached-closing", "resume", "closing"],
  ["detached-closing", "end", "closed"],
  ["closed", "bye", undefined],
  ["closed", "loss", undefined],
  ["closed", "resume", undefined],
  ["closed", "end", undefined],
];

describe("a session", () => {
  for (const [state, event, next] of TABLE) {
    test(`that is ${state}, after ${event}: ${next ?? "that cannot happen"}`, () => {
      if (next === undefined) expect(() => transition(state, event)).toThrow(`${state} has no ${event}`);
      else expect(transition(state, event)).toBe(next);
    });
  }

  test("has a connection, or waits for one, or is over", () => {
    const states: SessionState[] = ["attached", "closing", "detached", "detached-closing", "closed"];
    expect(states.map((state) => [isAttached(state), isDetached(state)])).toEqual([
      [true, false],
      [true, false],
      [false, true],
      [false, true],
      [false, false],
    ]);
  });
});
