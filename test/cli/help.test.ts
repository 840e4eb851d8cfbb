// `--help`: complete, and within the terminal's width.

import { expect, test } from "bun:test";
import { defineCommand } from "citty";
import { helpPage } from "../../src/cli/help.ts";
import type { Command } from "../../src/cli/parse.ts";

const talk = defineCommand({
  meta: {
    name: "talk",
    description: "say something to somebody, at some length, so that the line has to be broken",
  },
  args: {
    who: { type: "positional", required: false, description: "to whom" },
    loud: { type: "boolean", alias: "l", description: "so that everybody hears it" },
    tone: { type: "enum", options: ["kind", "stern"], description: "how it is said" },
    "a-flag-with-a-rather-long-name": {
      type: "string",
      valueHint: "TEXT",
      description: "on a line of its own",
    },
  },
}) as Command;

const page = (columns?: number) =>
  helpPage({ command: talk, path: "parley talk", wants: "help", args: {} }, columns);

test("names every argument and flag with its value and what it is for", async () => {
  expect(await page()).toBe(`parley talk [WHO] [flags]
say something to somebody, at some length, so that the line has to be broken

  WHO                         to whom
  -l, --loud                  so that everybody hears it
  --tone kind|stern           how it is said
  --a-flag-with-a-rather-long-name TEXT
                              on a line of its own
`);
});

test.each([80, 40])("fits %d columns, without a space at a line's end", async (columns) => {
  const lines = (await page(columns)).split("\n");
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
  expect(lines.filter((line) => line.endsWith(" "))).toEqual([]);
});
