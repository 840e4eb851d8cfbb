// What the operator's terminal shows of a handler's errors, and how often.

import { expect, test } from "bun:test";
import { MAX_SHOWN_EQUAL_FAULTS, MAX_SHOWN_FAULTS } from "../../src/base/limits.ts";
import { FaultDisplay } from "../../src/server/fault-display.ts";
import { HandlerError } from "../../src/services/handler/handler.ts";

function fault(place: string | undefined, message = "on purpose", hint?: string): HandlerError {
  const error = new HandlerError("threw", message, { hint });
  error.place = place;
  return error;
}

function display() {
  const shown: string[] = [];
  return { shown, display: new FaultDisplay((...lines) => void shown.push(...lines)) };
}

test("an error of one place is shown a few times, whatever it says, and hides no other", () => {
  const { shown, display: faults } = display();
  for (let n = 0; n < 3 * MAX_SHOWN_FAULTS; n++) faults.show(fault("quiz.ts:7:1", `number ${n}`), "it");
  const headlines = shown.filter((line) => line === "error in the handler: it");
  expect(headlines).toHaveLength(MAX_SHOWN_EQUAL_FAULTS);
  expect(shown.at(-1)).toBe("this error is only in the log when it comes again within a minute");
  faults.show(fault("quiz.ts:8:1", "another", "8 | throw another\n    ^"), "the session of ann has ended");
  expect(shown.slice(-3)).toEqual([
    "error in the handler: the session of ann has ended",
    "8 | throw another",
    "    ^",
  ]);
});

test("errors without a place are told apart by what they say", () => {
  const { shown, display: faults } = display();
  for (let n = 0; n <= MAX_SHOWN_EQUAL_FAULTS; n++) faults.show(fault(undefined, "one"), "it");
  faults.show(fault(undefined, "two"), "it");
  expect(shown.slice(-2)).toEqual(["error in the handler: it", "two"]);
});

test("the errors of all places are bounded, and the last line says so", () => {
  const { shown, display: faults } = display();
  for (let n = 0; n < 2 * MAX_SHOWN_FAULTS; n++) faults.show(fault(`quiz.ts:${n}:1`), "it");
  expect(shown.filter((line) => line === "error in the handler: it")).toHaveLength(MAX_SHOWN_FAULTS);
  expect(shown.at(-1)).toBe("further errors within a minute are only in the log");
});
