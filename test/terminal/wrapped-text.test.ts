// Where text ends on a terminal of a given width.

import { expect, test } from "bun:test";
import { cellAfter } from "../../src/terminal/wrapped-text.ts";

test.each([
  ["nothing", "", 0, 0],
  ["less than a row", "123456789", 0, 9],
  ["a full row", "1234567890", 1, 0],
  ["one more", "12345678901", 1, 1],
  ["two full rows", "12345678901234567890", 2, 0],
  ["wide characters", "漢字漢字", 0, 8],
  ["a wide one that has no room left", "123456789漢", 1, 2],
  ["what takes no room", "e\u0301", 0, 1],
  ["a non-joiner", "می\u200cخ", 0, 3],
  ["emoji that are joined, as readline counts them", "👨\u200d👩", 0, 4],
  ["a tab, up to its stop", "1\t2", 0, 9],
])("%s", (_, text, row, column) => {
  expect(cellAfter(text, 10)).toEqual({ row, column });
});

test("no width is one row", () => {
  expect(cellAfter("x".repeat(500), Infinity)).toEqual({ row: 0, column: 500 });
});
