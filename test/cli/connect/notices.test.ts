// Lines about forwarded connections: one of a kind, then how many more there were.

import { afterEach, beforeEach, expect, jest, test } from "bun:test";
import { Notices } from "../../../src/cli/connect/notices.ts";
import { FORWARD_NOTICE_MS } from "../../../src/base/limits.ts";

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

function notices() {
  const said: string[] = [];
  const noted: string[] = [];
  const events: unknown[] = [];
  const terminal = {
    say: (...lines: string[]) => void said.push(...lines),
    note: (line: string) => void noted.push(line),
    isWatched: true,
  };
  const printer = {
    event: (event: string, fields?: object) => {
      events.push({ event, ...fields });
      return undefined;
    },
  };
  return { said, noted, events, notices: new Notices(terminal, printer) };
}

test("the first line of a kind is said at once, and the others as one", () => {
  const { said, events, notices: all } = notices();
  for (let n = 1; n <= 5; n++) all.say("reset", "reset", `line ${n}`, { n });
  all.say("unreachable", "reset", "another", { n: 0 });
  expect(said).toEqual(["line 1", "another"]);
  jest.advanceTimersByTime(FORWARD_NOTICE_MS);
  expect(said.slice(2)).toEqual(["line 5 (and 3 lines like this before it)"]);
  expect(events.at(-1)).toEqual({ event: "reset", n: 5, more: 3 });
  jest.advanceTimersByTime(10 * FORWARD_NOTICE_MS);
  expect(said.length).toBe(3);
  all.say("reset", "reset", "line 6", {});
  expect(said.at(-1)).toBe("line 6");
});

test("what was left out is said at the end", () => {
  const { noted, notices: all } = notices();
  for (let n = 1; n <= 2; n++) all.note("lost", `line ${n}`, {});
  all.stop();
  expect(noted).toEqual(["line 1", "line 2"]);
});
