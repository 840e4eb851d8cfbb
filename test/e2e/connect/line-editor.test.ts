// The half-typed line on the screen: the rows that it takes, another width, and pasted text.

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { addUser, PASSWORD, serve, type Serving } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { Screen } from "../../support/screen.ts";

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

/** What a terminal sends for pasted text, once it was asked to mark it. */
const pasted = (text: string) => `\u001b[200~${text}\u001b[201~`;

describe("tabs:", () => {
  /** In a chat as ann, logged in by hand: after a question keys come otherwise than without one. */
  async function asAnn(talk: (screen: Screen) => Promise<void>): Promise<void> {
    using folder = tempFolder();
    const data = join(folder.path, "server");
    await addUser(data);
    await using server = await serve(["--service", "chat"], { data });
    await using screen = new Screen(["connect", `ann@${server.address}`]);
    await screen.see("password for ann:");
    screen.enter(PASSWORD);
    await screen.see(/here: ann\r\n/);
    await talk(screen);
  }

  test("pasted into a chat they stay, wherever they are", async () => {
    await asAnn(async (screen) => {
      expect(screen.raw).toContain("\u001b[?2004h");
      for (const text of ["col1\tcol2 end", "col1\t", "\tcol1", "an\tcol2"]) {
        screen.type(pasted(text));
        screen.enter("|");
        await screen.see(`ann: ${text}|\r\n`);
      }
    });
  });

  test("typed in a chat, one completes a name, after text was pasted too", async () => {
    await asAnn(async (screen) => {
      screen.type(pasted("to a"));
      screen.type("n\t");
      await screen.see("to ann ");
      screen.enter("hello");
      await screen.see("ann: to ann hello\r\n");
    });
  });

  test("typed where there are no names, one is text", async () => {
    await using screen = new Screen(["connect", echo.address]);
    await screen.see("> ");
    screen.type("col1");
    await screen.see("col1");
    screen.type("\t");
    await screen.see("\t");
    screen.enter("col2");
    await screen.see(/\n(> )?col1\tcol2\r\n> /);
  });
});

test("text pasted into a line leaves what stands behind it", async () => {
  await using screen = new Screen(["connect", echo.address]);
  await screen.see("> ");
  screen.type("before|");
  await screen.see("|");
  screen.type(LEFT);
  screen.type(pasted("between "));
  await screen.see("> beforebetween |");
  screen.type(pasted("lines\r"));
  await screen.see(/> beforebetween lines\|\r*\n(> )*beforebetween lines\|\r\n> /);
});

test("each pasted line is a message, and what follows the last of them is a line that is half typed", async () => {
  await using screen = new Screen(["connect", chat.address]);
  await screen.see(/here: .*\r\n> /);
  const lines = Array.from({ length: 200 }, (_, i) => `line\t${i}.`);
  screen.type(pasted(`${lines.join("\r")}\rhalf`));
  for (const line of lines) await screen.see(`: ${line}\r\n`);
  screen.enter(" done");
  await screen.see(/: half done\r\n/);
});

test("a pasted line is text and no command, and one that was looked at may be one", async () => {
  for (const server of [chat, echo]) {
    await using screen = new Screen(["connect", server.address]);
    await screen.see(server === chat ? /here: .*\r\n> / : "> ");
    const lines = ["/quit", "/usr/bin", "//x", "/who", "/msg x y", "end."];
    screen.type(pasted(`${lines.join("\r")}\r`));
    if (server === chat) for (const line of lines) await screen.see(`: ${line}\r\n`);
    else await screen.see(`> ${lines.join("\r\n> ")}\r\n`);
    screen.type(pasted("/quit"));
    screen.enter("");
    expect(await screen.exited).toBe(0);
  }
});

test("Ctrl-Z leaves the line to be read, and what a shell says below it", async () => {
  const script = 'set -m; "$0" "$@"; echo stopped; read _; fg';
  await using screen = new Screen(["connect", echo.address], { script, cols: 40 });
  await screen.see("> ");
  screen.type(textOf(90));
  await screen.see("|");
  screen.type("\u0001"); // Ctrl-A: to its beginning
  screen.type("x");
  await screen.see("> x0123");
  await screen.see("|");
  let before = screen.raw.length;
  screen.type("\u001a");
  await screen.see("stopped");
  expect(screen.raw.slice(before)).toContain("\u001b[2B");
  before = screen.raw.length;
  screen.enter("");
  await screen.see("> x0123");
  expect(rowsUp(screen.raw, before, "> x0123")).toBe(0);
});

describe("the terminal is asked to mark pasted text no longer than somebody types:", () => {
  const isMarked = ({ raw }: Screen) => raw.lastIndexOf("\u001b[?2004h") > raw.lastIndexOf("\u001b[?2004l");

  test.each([
    ["Ctrl-C", CTRL_C],
    ["Ctrl-D", "\u0004"],
    ["/quit", "/quit\r"],
  ])("%s", async (_, keys) => {
    await using screen = new Screen(["connect", echo.address]);
    await screen.see("> ");
    expect(isMarked(screen)).toBe(true);
    screen.type(keys);
    await screen.exited;
    expect(isMarked(screen)).toBe(false);
  });

  test("a server that ends", async () => {
    await using other = await serve(["--auth", "none"]);
    await using screen = new Screen(["connect", other.address, "--retry", "0"]);
    await screen.see("> ");
    screen.type("half");
    await screen.see("half");
    expect(isMarked(screen)).toBe(true);
    await other.stop();
    await screen.exited;
    expect(isMarked(screen)).toBe(false);
  });

  test("somewhere to print that is closed", async () => {
    await using screen = new Screen(["connect", echo.address], { script: '"$0" "$@" | true' });
    await screen.see("> ");
    expect(isMarked(screen)).toBe(true);
    screen.enter("nobody reads its answer");
    await screen.see("cannot write standard output: its reader has left");
    await screen.exited;
    expect(isMarked(screen)).toBe(false);
  });

  test("Ctrl-Z, until it goes on", async () => {
    const script = 'set -m; "$0" "$@"; echo stopped; read _; fg';
    await using screen = new Screen(["connect", echo.address], { script });
    await screen.see("> ");
    screen.type("half");
    await screen.see("half");
    screen.type("\u001a");
    await screen.see("stopped");
    expect(isMarked(screen)).toBe(false);
    screen.enter("");
    await screen.see("> half");
    expect(isMarked(screen)).toBe(true);
    screen.enter(" done");
    await screen.see(/\n(> )?half done\r\n> /);
  });
});
