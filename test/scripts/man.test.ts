// The manual pages and docs/flags.md say what the tables of the commands and docs/protocol.md say.

import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { FLAGS_PAGE, flagsPage } from "../../scripts/flags.ts";
import { toMdoc } from "../../scripts/man/markdown.ts";
import { flow } from "../../scripts/man/mdoc.ts";
import { manualPages } from "../../scripts/man/pages.ts";
import { CONNECT, PARLEY, SERVE, USERS, VARIABLES } from "../../scripts/man/texts.ts";
import { parseCommand } from "../../src/cli/parse.ts";
import { parley } from "../../src/cli/root.ts";
import { readSource } from "../../scripts/walls.ts";
import { allCommands, leafCommands } from "../support/commands.ts";
import { tempFolder } from "../support/folder.ts";
import { lacksTools } from "../support/privileges.ts";

const ROOT = join(import.meta.dir, "../..");
const DAY = new Date("2026-11-27T23:30:00Z");
const pages = await manualPages(DAY);
const NAMES = ["parley.1", "parley-serve.1", "parley-connect.1", "parley-users.1", "parley-protocol.7"];

/** Runs mandoc over the pages whose names end so; what it prints. */
function mandoc(args: string[], ending = ""): string {
  using folder = tempFolder();
  const own = [...pages].filter(([name]) => name.endsWith(ending));
  const paths = own.map(([name, text]) => {
    const path = join(folder.path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    return path;
  });
  return Bun.spawnSync(["mandoc", ...args, ...paths]).stdout.toString();
}

const isMissing = lacksTools("mandoc");

test("the pages are those that are meant", () => {
  expect([...pages.keys()].map((path) => basename(path))).toEqual(NAMES);
  for (const [path, text] of pages)
    expect([path, text.split("\n")[0]]).toEqual([path, ".Dd November 27, 2026"]);
});

test.skipIf(isMissing)("mandoc finds no fault in them", () => {
  // It looks for the other pages where they are installed.
  const isOwn = (line: string) => {
    const [, name = "", section = ""] = /referenced manual not found: Xr (\S+) (\d)/.exec(line) ?? [];
    return NAMES.includes(`${name}.${section}`);
  };
  const lines = mandoc(["-T", "lint"]).split("\n");
  expect(lines.filter((line) => line !== "" && !isOwn(line))).toEqual([]);
});

describe("every flag", () => {
  const textOf = (path: string) => pages.get(`man1/${path.split(" ").slice(0, 2).join("-")}.1`) ?? "";

  test("is in the page of its command, with its line of --help", async () => {
    let count = 0;
    for (const { path, definitions } of await leafCommands()) {
      const lines = textOf(path).replaceAll("\n", " ");
      for (const [name, { type, description = "" }] of definitions) {
        const about = flow(toMdoc(description.replaceAll(/[*`]/g, "")).slice(1).join(" ")).join(" ");
        expect(`${path} ${name}: ${lines}`).toContain(about);
        if (type !== "positional") expect(`${path}: ${lines}`).toContain(`-${name.replaceAll("-", "\\-")}`);
        count++;
      }
    }
    expect(count).toBeGreaterThan(200);
  });

  test("is in docs/flags.md: bun scripts/flags.ts writes it anew", async () => {
    expect(readFileSync(FLAGS_PAGE, "utf8")).toBe(await flagsPage());
  });
});

test("the texts beside the tables name flags that there are, and commands that can be run", async () => {
  const known = new Set(
    (await leafCommands()).flatMap(({ definitions }) => definitions.map(([name]) => `--${name}`)),
  );
  const source = readFileSync(join(ROOT, "scripts/man/texts.ts"), "utf8").replace(/^\/\/.*/gm, "");
  const named = [...source.matchAll(/--[a-z][\w-]*/g)].map(([flag]) => flag);
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter((flag) => !known.has(flag) && flag !== "--help")).toEqual([]);
  for (const [line] of [PARLEY, SERVE, CONNECT, USERS].flatMap(({ examples }) => examples)) {
    const words = line.split("|").at(-1)?.trim().split(" ").slice(1) ?? [];
    const own = words.filter((word, index) => word !== "--config" && words[index - 1] !== "--config"); // no such file
    expect([line, (await parseCommand(parley, own)).wants]).toEqual([line, "run"]);
  }
});

test("every command of users is in its page", async () => {
  const text = pages.get("man1/parley-users.1") ?? "";
  const commands = (await allCommands()).filter(
    ({ path, command }) => path.startsWith("parley users ") && command.subCommands === undefined,
  );
  expect([...text.matchAll(/^\.Ss (parley users .*)$/gm)].map(([, path]) => path)).toEqual(
    commands.map(({ path }) => path),
  );
});

test("every variable of the environment that parley reads for itself is in the pages", () => {
  const source = [...readSource(ROOT).values()].join("\n");
  const read = new Set([...source.matchAll(/"(PARLEY_[A-Z_]+)"/g)].map(([, name]) => name));
  const given = ["PARLEY_RUN"]; // marks the processes of a program
  expect(new Set([...read].filter((name) => !given.includes(name ?? "")))).toEqual(
    new Set(Object.keys(VARIABLES).filter((name) => name.startsWith("PARLEY_"))),
  );
});

const BACKSPACE = String.fromCharCode(8);

/** How often each word occurs. */
function countWords(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [word] of text.toLowerCase().matchAll(/[\p{L}\p{N}_]+/gu))
    counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}

test.skipIf(isMissing)("parley-protocol(7) has every word of docs/protocol.md", () => {
  const markdown = readFileSync(join(ROOT, "docs/protocol.md"), "utf8");
  // A bold letter is printed twice, with a backspace between.
  const shown = mandoc(["-T", "utf8", "-O", "width=500"], ".7").replaceAll(
    new RegExp(`.${BACKSPACE}`, "gu"),
    "",
  );
  const source = markdown
    .replaceAll(/^```\w*$/gm, "")
    .replaceAll(/\]\([^)]*\)/g, "")
    .replace(/^# .*/, "");
  const words = countWords(shown);
  expect([...countWords(source)].filter(([word, count]) => (words.get(word) ?? 0) < count)).toEqual([]);
});

test("the script writes the same bytes for the same commit", () => {
  using folder = tempFolder();
  const written = ["a", "b"].map((name) => {
    const out = join(folder.path, name);
    const env = { ...process.env, TZ: name === "a" ? "Asia/Tokyo" : "America/Los_Angeles" };
    const { exitCode } = Bun.spawnSync([process.execPath, "scripts/man.ts", out], { cwd: ROOT, env });
    expect(exitCode).toBe(0);
    return [...pages.keys()].map((path) => readFileSync(join(out, path), "utf8"));
  });
  expect(written[0]).toEqual(written[1]);
  const env = { ...process.env, SOURCE_DATE_EPOCH: "0" };
  Bun.spawnSync([process.execPath, "scripts/man.ts", join(folder.path, "c")], { cwd: ROOT, env });
  expect(readFileSync(join(folder.path, "c/man1/parley.1"), "utf8")).toStartWith(".Dd January 1, 1970\n");
});

describe("markdown", () => {
  test("becomes mdoc", () => {
    const markdown = `# Left out

## A section

Text with \`code-x\`, **bold**, a
[link](#a-section) and [another](other.md#part). A sentence.

- an item
  that goes on
- .dot

| a | b |
| - | - |
| 1 | x \\| y |

| a | b | c |
| - | - | - |
| 1 |   | z |

\`\`\`sh
'quoted' \\n "…"
.dot
\`\`\``;
    expect(toMdoc(markdown).join("\n")).toBe(`.Sh A SECTION
Text with \\fBcode\\-x\\fP, \\fBbold\\fP, a link and another (\\fBdocs/other.md\\fP).
A sentence.
.Bl -bullet
.It
an item that goes on
.It
\\&.dot
.El
.Bl -tag -width Ds
.It \\fIa\\fP
\\fIb\\fP
.It 1
x | y
.El
.Bl -tag -width Ds
.It \\fIa\\fP: 1
\\fIc\\fP: z
.El
.Bd -literal -offset indent
\\(aqquoted\\(aq \\(rsn \\(dq\\[u2026]\\(dq
\\&.dot
.Ed`);
  });

  test.each([
    "1. a number",
    "> a quote",
    "a *word*",
    "<b>html</b>",
    "![picture](x.svg)",
    "- a\n  - b",
    "```\nno end",
    "#### deep",
    "| no | head |\n| x | y |",
  ])("that is not known is an error: %s", (text) => {
    expect(() => toMdoc(text)).toThrow(/not known here|without a head/);
  });
});
