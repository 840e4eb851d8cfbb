// Every state of a link, and what each event makes of it: the whole table.

import { describe, expect, test } from "bun:test";
import { nextState, type LinkEvent, type LinkState } from "../../src/engine/link-state.ts";

const EVENTS: LinkEvent[] = ["try", "session", "loss", "close"];

/** The state after each event, in the order of EVENTS; undefined: that cannot happen. */
const TABLE: Record<LinkState, (LinkState | undefined)[]> = {
  waiting: ["connecting", undefined, undefined, "closed"],
  connecting: [undefined, "established", "waiting", "closed"],
  established: [undefined, undefined, "waiting", "closed"],
  closed: [undefined, undefined, undefined, undefined],
};

describe("a link", () => {
  for (const [state, after] of Object.entries(TABLE) as [LinkState, (LinkState | undefined)[]][]) {
    for (const [index, event] of EVENTS.entries()) {
      const next = after[index];
      test(`that is ${state}, after ${event}: ${next ?? "that cannot happen"}`, () => {
        if (next === undefined) expect(() => nextState(state, event)).toThrow(`${state} has no ${event}`);
        else expect(nextState(state, event)).toBe(next);
      });
    }
  }
});
