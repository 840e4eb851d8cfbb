// Writes docs/flags.md from the definitions of the commands. A test compares it.
//
//     bun scripts/flags.ts

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { flagName, NOTATIONS, placeName, usage } from "../src/cli/help.ts";
import { metaOf } from "../src/cli/parse.ts";
import { usersFlags } from "../src/cli/users/context.ts";
import { leafCommands, type Definitions, type NamedCommand } from "../test/support/commands.ts";

export const FLAGS_PAGE = join(import.meta.dir, "..", "docs", "flags.md");

const HEAD = `# Flags

Every command of parley with its flags, in the words of \`--help\`. \`bun scripts/flags.ts\` makes this page from the tables that the
parser uses. \`parley help completion\` says how a shell completes all of it.`;

/** The page, as `bun fmt` would format it. */
export async function flagsPage(): Promise<string> {
  const commands = await Promise.all((await leafCommands()).map(partsOf));
  const common = ["## All commands of parley users", ...tables(Object.entries(usersFlags))];
  const values = NOTATIONS.map(
    ([name, how]) =>
      `- \`${name}\`: ${how
        .split(" ")
        .map((one) => `\`${one}\``)
        .join(", ")}`,
  );
  const parts = [HEAD, ...commands.flat(), ...common, "## Values", values.join("\n")];
  return `${parts.join("\n\n")}\n`;
}

async function partsOf({ path, command, definitions }: NamedCommand): Promise<string[]> {
  const { description = "" } = await metaOf(command);
  // The flags that all commands of users have stand once, below them.
  const isCommon = (name: string) => path.startsWith("parley users") && Object.hasOwn(usersFlags, name);
  const about = `\`${usage(path, definitions, false)}\`: ${description}`;
  return [`## ${path}`, about, ...tables(definitions.filter(([name]) => !isCommon(name)))];
}

/** A table for each group, with its title. */
function tables(definitions: Definitions): string[] {
  const groups = Map.groupBy(definitions, ([, { group = "Arguments" }]) => group);
  return [...groups].flatMap(([title, own]) => [`**${title}**`, table(own)]);
}

function table(definitions: Definitions): string {
  const rows = definitions.map(([name, definition]) => {
    const shown = definition.type === "positional" ? placeName(name, definition) : flagName(name, definition);
    return [`\`${shown}\``, definition.description ?? ""].map((cell) => cell.replaceAll("|", "\\|"));
  });
  const all = [["flag", "meaning"], ...rows];
  const widths = [0, 1].map((column) => Math.max(...all.map((row) => Bun.stringWidth(row[column] ?? ""))));
  const line = (row: string[]) =>
    `| ${row.map((cell, column) => cell + " ".repeat((widths[column] ?? 0) - Bun.stringWidth(cell))).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [line(["flag", "meaning"]), rule, ...rows.map(line)].join("\n");
}

if (import.meta.main) writeFileSync(FLAGS_PAGE, await flagsPage());
