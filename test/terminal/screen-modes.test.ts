// The modes that output leaves set, however it is cut.

import { expect, test } from "bun:test";
import { ScreenModes } from "../../src/terminal/screen-modes.ts";

function after(...pieces: string[]): ScreenModes {
  const modes = new ScreenModes();
  for (const piece of pieces) modes.push(Buffer.from(piece, "latin1"));
  return modes;
}

test.each([
  ["plain text", "", ""],
  ["\x1b[31mred", "\x1b[m", ""],
  ["\x1b[?1049h\x1b[?25l", "\x1b[m\x1b[?1049l\x1b[?25h", "\x1b[?1049h\x1b[?25l"],
  ["\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l", "\x1b[m", ""],
  ["\x1b[?1000;1006h", "\x1b[m\x1b[?1000l\x1b[?1006l", "\x1b[?1000h\x1b[?1006h"],
  ["\x1b[?1h\x1b=", "\x1b[m\x1b[?1l\x1b>", "\x1b[?1h\x1b="],
  ["\x1b[?2004hx\x1b[?2004l\x1b>", "\x1b[m", ""],
  ["\x1b[?7h\x1b[?12;99999h", "\x1b[m", ""],
  ["\x1b[?1049", "\x1b[m", ""],
])("%j is ended by %j, and set again by %j", (output, end, restore) => {
  expect(after(output).end()).toBe(end);
  expect(after(output).restore()).toBe(restore);
  expect(after(...Array.from(output)).end()).toBe(end);
  for (let at = 1; at < output.length; at++) {
    expect(after(output.slice(0, at), output.slice(at)).restore()).toBe(restore);
  }
});

test("the alternate screen is known until it is left", () => {
  expect(after("\x1b[?1049h").isAlternate).toBe(true);
  expect(after("\x1b[?47h\x1b[?25l").isAlternate).toBe(true);
  expect(after("\x1b[?1049h", "\x1b[?1049l").isAlternate).toBe(false);
  expect(after("\x1b[?25l").isAlternate).toBe(false);
});

test("an escape sequence without an end takes no memory", () => {
  const modes = after("\x1b[?", ...Array.from({ length: 1000 }, () => "1;1;1;1;"), "1049h");
  expect(modes.isAlternate).toBe(false);
});
