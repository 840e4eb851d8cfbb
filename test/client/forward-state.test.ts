// Every state of a forwarded connection, and what each event makes of it: the whole table.

import { describe, expect, test } from "bun:test";
import { nextState, type ForwardEvent, type ForwardState } from "../../src/client/forward-state.ts";

const EVENTS: ForwardEvent[] = ["login", "loss", "resume", "done", "ended", "close"];

/** The state after each event, in the order of EVENTS; undefined: that cannot happen. */
const TABLE: Record<ForwardState, (ForwardState | undefined)[]> = {
  waiting: ["open", undefined, undefined, undefined, undefined, "closed"],
  open: [undefined, "away", undefined, "finishing", "confirming", "closed"],
  away: [undefined, undefined, "open", undefined, "confirming", "closed"],
  finishing: [undefined, undefined, undefined, undefined, undefined, "closed"],
  confirming: [undefined, undefined, undefined, undefined, undefined, "closed"],
  closed: [undefined, undefined, undefined, undefined, undefined, undefined],
};

describe("a forwarded connection", () => {
  for (const [state, after] of Object.entries(TABLE) as [ForwardState, (ForwardState | undefined)[]][]) {
    for (const [index, event] of EVENTS.entries()) {
      const next = after[index];
      test(`that is ${state}, after ${event}: ${next ?? "that cannot happen"}`, () => {
        if (next === undefined) expect(() => nextState(state, event)).toThrow(`${state} has no ${event}`);
        else expect(nextState(state, event)).toBe(next);
      });
    }
  }
});
