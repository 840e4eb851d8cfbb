// `--help`: complete, in groups, within 80 columns, and with examples that can be run.

import { expect, test } from "bun:test";
import { defineCommand } from "citty";
import connect from "../../src/cli/connect/command.ts";
import { helpPage } from "../../src/cli/help.ts";
import {
  about,
  inGroup,
  metaOf,
  parseCommand,
  resolve,
  type Command,
  type FlagsDef,
} from "../../src/cli/parse.ts";
import serve from "../../src/cli/serve/command.ts";
import { parley } from "../../src/cli/root.ts";
import { allCommands } from "../support/commands.ts";

const talk = defineCommand({
  meta: about({
    name: "talk",
    description: "say something to a person, at some length, so that the line has to be broken",
    examples: [
      ["parley talk ann", "say it to ann"],
      ["parley talk", "to all"],
    ],
  }),
  args: {
    who: { type: "positional", required: false, description: "to whom" },
    ...inGroup("Voice", {
      loud: { type: "boolean", alias: "l", description: "so that all can hear it" },
      tone: { type: "enum", options: ["kind", "stern"], description: "how it is said" },
    }),
    ...inGroup("Words", {
      "a-flag-with-a-rather-long-name": {
        type: "string",
        valueHint: "TEXT",
        description: "on a line of its own",
      },
      after: { type: "string", valueHint: "TIME", description: "wait before it" },
    }),
    ...inGroup("Voice", { slow: { type: "boolean", description: "with pauses" } }),
  } satisfies FlagsDef,
}) as Command;

const page = (columns?: number) =>
  helpPage({ command: talk, path: "parley talk", wants: "help", args: {} }, columns);

test("names every argument and flag with its value and what it is for, in groups", async () => {
  expect(await page()).toBe(`parley talk: say something to a person, at some length, so that the line has to
be broken

Usage: parley talk [WHO] [flags]

Examples:
  parley talk ann  say it to ann
  parley talk      to all

Arguments:
  WHO                to whom

Voice:
  -l, --loud         so that all can hear it
  --tone kind|stern  how it is said
  --slow             with pauses

Words:
  --a-flag-with-a-rather-long-name TEXT
                     on a line of its own
  --after TIME       wait before it

TIME: 500ms 30s 5m 2h 7d
`);
});

test.each([200, 80, 40])("fits %d columns, without a space at a line's end", async (columns) => {
  const lines = (await page(columns)).split("\n");
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(Math.min(columns, 80));
  expect(lines.filter((line) => line.endsWith(" "))).toEqual([]);
});

const commands = (await allCommands()).slice(1).map(({ path, command }) => [path, command] as const);

test("every command is looked at", () => expect(commands.length).toBeGreaterThanOrEqual(18));

test.each(commands)("the page of %s fits 80 columns", async (path, command) => {
  const text = await helpPage({ command, path, wants: "help", args: {} }, 200);
  expect(text.split("\n").filter((line) => line.length > 80 || line.endsWith(" "))).toEqual([]);
});

test.each(commands)("every flag of %s has a group and a description", async (_, { args }) => {
  const flags = Object.entries((await resolve(args ?? {})) as FlagsDef);
  const lacking = flags.filter(
    ([, { type, group, description }]) =>
      (type !== "positional" && (group ?? "") === "") || (description ?? "") === "",
  );
  expect(lacking.map(([name]) => name)).toEqual([]);
});

test.each(commands)("the examples of %s are right", async (path, command) => {
  const { examples = [] } = await metaOf(command);
  expect(examples.length).toBeGreaterThan(0);
  const wrong: string[] = [];
  for (const [line, explanation] of examples) {
    const own = line.split(/[|<>]/).find((part) => part.trim().startsWith("parley ")) ?? "";
    const [, ...words] = own.trim().split(/ +/);
    const found = await parseCommand(parley, words);
    if (found.wants !== "run" || !found.path.startsWith(path) || explanation === "") wrong.push(line);
  }
  expect(wrong).toEqual([]);
});

test("the groups of the commands are the ones that are meant", async () => {
  const titles = async (command: Command) => {
    const text = await helpPage({ command, path: "", wants: "help", args: {} });
    return [...text.matchAll(/^(\w[^:\n]*):$/gm)].map(([, title]) => title);
  };
  expect(await titles(serve as Command)).toEqual([
    "Examples",
    "What answers",
    "Who may connect",
    "Accounts in Redis or Valkey",
    "Network and TLS",
    "Limits",
    "Log and scripts",
    "Every command",
  ]);
  expect(await titles(connect as Command)).toEqual([
    "Examples",
    "Where to and who",
    "What to send and print",
    "Forwarding",
    "Lost connections",
    "Keys and TLS",
    "Tools",
    "Every command",
  ]);
});
