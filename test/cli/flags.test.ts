// Every flag of every command is read by it: one that is only defined would be taken, and do nothing.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";
import connect from "../../src/cli/connect/command.ts";
import { resolve, type Command } from "../../src/cli/parse.ts";
import serve from "../../src/cli/serve/command.ts";
import users from "../../src/cli/users/command.ts";
import { optionEntries } from "../../src/server/option-table.ts";

const root = join(import.meta.dir, "../../src/cli");
const sourceOf = (pattern: string) =>
  [...new Glob(pattern).scanSync(root)].map((path) => readFileSync(join(root, path), "utf8")).join("\n");
const shared = sourceOf("*.ts") + readFileSync(join(root, "../../cli.ts"), "utf8");

/** The arguments of a command and of those below it. */
async function namesOf(command: Command): Promise<string[]> {
  const below = await Promise.all(
    Object.values((await resolve(command.subCommands)) ?? {}).map(async (sub) =>
      namesOf((await resolve(sub)) as Command),
    ),
  );
  return [...Object.keys((await resolve(command.args)) ?? {}), ...below.flat()];
}

/** Names that no code of `source` has as an argument of a call or in a list. */
const unread = (names: string[], source: string) =>
  [...new Set(names)].filter((name) => !new RegExp(`[([,]\\s*"${name}"[\\]),]`).test(source));

test.each<[string, Command]>([
  ["serve", serve as Command],
  ["connect", connect as Command],
  ["users", users as Command],
])("every flag of parley %s is read", async (name, command) => {
  const options = name === "serve" ? optionEntries.map(([, { flag }]) => flag) : []; // read all together
  const names = (await namesOf(command)).filter((flag) => !options.includes(flag));
  expect(names.length).toBeGreaterThan(10);
  // --debug is read where there may be no flags yet.
  const source = (sourceOf(`${name}/*.ts`) + shared).replace('"--debug"', '"debug"');
  expect(unread(names, source)).toEqual([]);
  expect(unread(["no-such-flag"], source)).toEqual(["no-such-flag"]);
});
