// What output leaves set on a terminal, however it is cut.

import { describe, expect, test } from "bun:test";
import { ScreenModes } from "../../src/terminal/screen-modes.ts";

function after(...pieces: string[]): ScreenModes {
  const modes = new ScreenModes();
  for (const piece of pieces) modes.push(Buffer.from(piece, "latin1"));
  return modes;
}

const E = "\x1b";

describe.each<[what: string, ...[output: string, end: string, restore: string][]]>([
  ["nothing", ["plain text\x07", "", ""], [`${E}[31mred`, `${E}[m`, ""], [`${E}[?1049`, `${E}[m`, ""]],
  [
    "screens and the cursor",
    [`${E}[?1049h${E}[?25l`, `${E}[m${E}[?25h${E}[?1049l`, `${E}[?1049h${E}[?25l`],
    [`${E}[?1049h${E}[?25l${E}[?25h${E}[?1049l`, `${E}[m`, ""],
    [`${E}[4 q`, `${E}[m${E}[0 q`, `${E}[4 q`],
    [`${E}[4 q${E}[ q`, `${E}[m`, ""],
    [`${E}[?7l`, `${E}[m${E}[?7h`, `${E}[?7l`],
    [`${E}[?7h${E}[?12;99999h`, `${E}[m`, ""],
  ],
  [
    "reports",
    [`${E}[?1000;1006h`, `${E}[m${E}[?1006l${E}[?1000l`, `${E}[?1000h${E}[?1006h`],
    [`${E}[?2004hx${E}[?2004l`, `${E}[m`, ""],
    [`${E}[?1004;2004h`, `${E}[m${E}[?2004l${E}[?1004l`, `${E}[?1004h${E}[?2004h`],
  ],
  [
    "keys",
    [`${E}[?1h${E}=`, `${E}[m${E}>${E}[?1l`, `${E}[?1h${E}=`],
    [`${E}=${E}>`, `${E}[m`, ""],
    [`${E}[>4;2m`, `${E}[m${E}[>4;0m`, `${E}[>4;2m`],
    [`${E}[>4;2m${E}[>4;0m`, `${E}[m`, ""],
    [`${E}[>4;2m${E}[>4m`, `${E}[m`, ""],
    [`${E}[>4;2m${E}[>4n`, `${E}[m`, ""],
    [`${E}[>99;2m`, `${E}[m`, ""],
  ],
  [
    "keys by kitty's protocol",
    [`${E}[>1u`, `${E}[m${E}[<u`, `${E}[>1u`],
    [`${E}[>1u${E}[>31u`, `${E}[m${E}[<u${E}[<u`, `${E}[>1u${E}[>31u`],
    [`${E}[>1u${E}[>3u${E}[<u`, `${E}[m${E}[<u`, `${E}[>1u`],
    [`${E}[>1u${E}[>3u${E}[<2u`, `${E}[m`, ""],
    [`${E}[>1u${E}[<9u${E}[<u`, `${E}[m`, ""],
    [`${E}[=5;1u`, `${E}[m${E}[=0u`, `${E}[=5;1u`],
    [`${E}[=5;1u${E}[=0u`, `${E}[m`, ""],
    [`${E}[?1u`, `${E}[m`, ""], // asks which are set
    // Each screen has its own: what the program left on the second one is gone with it.
    [`${E}[>1u${E}[?1049h${E}[>3u`, `${E}[m${E}[<u${E}[?1049l${E}[<u`, `${E}[>1u${E}[?1049h${E}[>3u`],
    [`${E}[>1u${E}[?1049h${E}[>3u${E}[?1049l`, `${E}[m${E}[<u`, `${E}[>1u`],
  ],
  [
    "rows and letters",
    [`${E}[2;9r`, `${E}[m${E}7${E}[r${E}8`, `${E}7${E}[2;9r${E}8`],
    [`${E}[2;9r${E}[r`, `${E}[m`, ""],
    [`${E}[?2;9r`, `${E}[m`, ""],
    [`${E}[?6h`, `${E}[m${E}[?6l${E}[999;1H`, `${E}[?6h`],
    [`${E}[4h`, `${E}[m${E}[4l`, `${E}[4h`],
    [`${E}(0qqq`, `${E}[m${E}(B`, `${E}(0`],
    [`${E}(0qqq${E}(B`, `${E}[m`, ""],
    [`${E})0\x0eqqq`, `${E}[m\x0f${E})B`, `${E})0\x0e`],
    ["\x0eqqq\x0f", `${E}[m`, ""],
  ],
  [
    "strings for the terminal",
    [`${E}]0;a title`, `${E}\\${E}[m`, ""],
    [`${E}]0;a title\x07text`, `${E}[m`, ""],
    [`${E}]0;a title${E}\\text`, `${E}[m`, ""],
    [`${E}Pq#0;2;0;0;0#0~~@@vv`, `${E}\\${E}[m`, ""],
    [`${E}]8;;http://a/\x07a link`, `${E}[m${E}]8;;${E}\\`, ""],
    [`${E}]8;;htt`, `${E}\\${E}[m${E}]8;;${E}\\`, ""],
  ],
  ["a reset of all", [`${E}[?1049h${E}[>1u${E}(0${E}c`, `${E}[m`, ""]],
])("%s:", (_, ...cases) => {
  test.each(cases)("%j is ended by %j, and set again by %j", (output, end, restore) => {
    expect(after(output).end()).toBe(end);
    expect(after(output).restore()).toBe(restore);
    expect(after(...Array.from(output)).end()).toBe(end);
    expect(after(end === "" ? "" : output, end, restore).restore()).toBe(restore);
    for (let at = 1; at < output.length; at++) {
      expect(after(output.slice(0, at), output.slice(at)).restore()).toBe(restore);
    }
  });

  test.each(cases)("of %j the end leaves nothing", (output, end) => {
    expect(after(output, end).restore().replaceAll("\x1b]8;;\x1b\\", "")).toBe("");
  });
});

test("the alternate screen is known until it is left", () => {
  expect(after("\x1b[?1049h").isAlternate).toBe(true);
  expect(after("\x1b[?47h\x1b[?25l").isAlternate).toBe(true);
  expect(after("\x1b[?1049h", "\x1b[?1049l").isAlternate).toBe(false);
  expect(after("\x1b[?25l").isAlternate).toBe(false);
});

test.each([
  ["text", "note"],
  [`${E}[31mred`, "note"],
  [`${E}[38;5;1`, `${E}\\note${E}[38;5;1`],
  [E, `${E}\\note${E}`],
  [`${E}]0;a ti`, `${E}\\note`],
])("a note after %j is %j", (output, shown) => {
  expect(after(output).between("note")).toBe(shown);
});

test("lines wrap until that is ended", () => {
  expect([after("").wraps, after("\x1b[?7l").wraps, after("\x1b[?7l", "\x1b[?7h").wraps]).toEqual([
    true,
    false,
    true,
  ]);
});

test("an escape sequence without an end takes no memory", () => {
  const modes = after("\x1b[?", ...Array.from({ length: 1000 }, () => "1;1;1;1;"), "1049h");
  expect(modes.isAlternate).toBe(false);
  const keyboards = after(..."\x1b[>1u ".repeat(1000).split(" "));
  expect(keyboards.restore().length).toBeLessThan(100);
});
