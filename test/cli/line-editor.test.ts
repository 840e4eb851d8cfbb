// The half-typed line on the screen: the rows that it takes, and another width.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { serve, type Serving } from "../support/executable.ts";
import { Screen } from "../support/screen.ts";

setDefaultTimeout(90_000);

const CTRL_C = "\u0003";
const LEFT = "\u001b[D";

let echo: Serving;
let chat: Serving;
beforeAll(async () => {
  echo = await serve(["--auth", "none"]);
  chat = await serve(["--auth", "none", "--service", "chat"]);
});
afterAll(async () => {
  for (const server of [echo, chat]) {
    await server.stop();
    await server[Symbol.asyncDispose]();
  }
});

/** How many rows up the cursor was sent, from `start` until `text` was shown. */
function rowsUp(raw: string, start: number, text: string): number {
  const end = raw.indexOf(text, start);
  expect(end).toBeGreaterThan(-1);
  const rows = raw
    .slice(start, end)
    .split("\u001b[")
    .flatMap((move) => /^(\d*)A/.exec(move)?.[1] ?? []);
  return rows.reduce((sum, count) => sum + Number(count || 1), 0);
}

/** So many characters, none of them but the last a bar. */
function textOf(length: number): string {
  return `${"0123456789".repeat(20).slice(0, length - 1)}|`;
}

describe("another width:", () => {
  /** Widths one after the other, and the rows above the cursor once the terminal has wrapped the line for each. */
  const WIDTHS: [what: string, length: number, steps: [columns: number, rows: number][]][] = [
    [
      "the rows that the line takes by then are drawn anew, and no others",
      50,
      [
        [30, 1],
        [20, 2],
        [80, 0],
      ],
    ],
    [
      "a line that fills its row to the edge stays in that row",
      50,
      [
        [26, 1],
        [52, 1], // it was full before, and a space stood behind it
        [53, 0],
      ],
    ],
    ["a line that filled its row has a cell more", 58, [[30, 2]]],
  ];
  test.each(WIDTHS)("%s", async (_, length, steps) => {
    await using screen = new Screen(["connect", echo.address], { cols: 60 });
    await screen.see("> ");
    screen.type(textOf(length));
    await screen.see("|");
    for (const [columns, rows] of steps) {
      const before = screen.raw.length;
      screen.resize(columns);
      await screen.see("|");
      expect([columns, rowsUp(screen.raw, before, "> 0123")]).toEqual([columns, rows]);
    }
  });

  test("xterm wraps nothing anew: the line is where it was", async () => {
    const env = { XTERM_VERSION: "XTerm(379)" };
    await using screen = new Screen(["connect", echo.address], { cols: 60, env });
    await screen.see("> ");
    screen.type(textOf(50));
    await screen.see("|");
    const before = screen.raw.length;
    screen.resize(30);
    await screen.see("|");
    expect(rowsUp(screen.raw, before, "> 0123")).toBe(0);
  });

  test("Ctrl-C drops the line, and leaves all of it to be read", async () => {
    await using screen = new Screen(["connect", echo.address], { cols: 60 });
    await screen.see("> ");
    screen.type(textOf(50));
    await screen.see("|");
    screen.resize(30);
    await screen.see("|");
    const before = screen.raw.length;
    screen.type(CTRL_C);
    await screen.see("^C");
    await screen.see("> ");
    expect(rowsUp(screen.raw, before, "> ")).toBe(0);
  });
});

test("keys that came in one read count the rows that they fill", async () => {
  await using screen = new Screen(["connect", echo.address], { cols: 40 });
  await screen.see("> ");
  screen.type(textOf(90));
  await screen.see("|");
  const before = screen.raw.length;
  screen.type(LEFT);
  screen.type("x");
  await screen.see("x|");
  expect(rowsUp(screen.raw, before, "> 0123")).toBe(2);
});

test.each([37, 38, 39])(
  "a chat takes back all rows of a line of %d characters, and no more",
  async (length) => {
    await using screen = new Screen(["connect", chat.address], { cols: 40 });
    await screen.see(/here: .*\r\n> /);
    const before = screen.raw.length;
    screen.enter(textOf(length));
    await screen.see(/guest-\d+: 0123/);
    expect(rowsUp(screen.raw, before, "guest-")).toBe(length < 38 ? 1 : 2);
  },
);
