// `--help`: a command's definition as a page, left-aligned and no wider than the terminal. The page that citty makes pads
// every line to the longest, and is wider than 80 columns.

import type { ArgsDef } from "citty";
import { metaOf, resolve, type Command, type Invocation } from "./parse.ts";

/** The longest line, also where the terminal is wider, or its width is not known. */
const MAX_COLUMNS = 100;
const GAP = 2;

/** The page for the command of `invocation`, each line within `columns`. */
export async function helpPage({ command, path }: Invocation, columns = MAX_COLUMNS): Promise<string> {
  const width = Math.min(columns, MAX_COLUMNS);
  const { description = "" } = await metaOf(command);
  const definitions = Object.entries(await resolve(command.args ?? {}));
  const commands = Object.entries((await resolve(command.subCommands)) ?? {});
  const places = definitions.filter(([, { type }]) => type === "positional");
  const flags = definitions.filter(([, { type }]) => type !== "positional");
  const shown = (all: typeof places) =>
    all.map(([name, place]) =>
      place.required === false ? `[${placeName(name, place)}]` : placeName(name, place),
    );
  const usage = [
    path,
    ...shown(places.filter(([, place]) => !("rest" in place))),
    ...(flags.length > 0 ? ["[flags]"] : []),
    ...shown(places.filter(([, place]) => "rest" in place)),
    ...(commands.length > 0 ? ["COMMAND"] : []),
  ].join(" ");
  const rows: [string, string][] = [];
  for (const [name, place] of places) rows.push([placeName(name, place), place.description ?? ""]);
  for (const [name, flag] of flags) rows.push([flagName(name, flag), flag.description ?? ""]);
  for (const [name, later] of commands) {
    const sub = (await resolve(later)) as Command;
    rows.push([name, (await metaOf(sub)).description ?? ""]);
  }
  const more = commands.length > 0 ? `\nMore about one of them: ${path} COMMAND --help\n` : "";
  return `${usage}\n${wrap(description, width, 0)}\n\n${table(rows, width)}${more}`;
}

function placeName(name: string, { valueHint }: ArgsDef[string]): string {
  return valueHint ?? name.toUpperCase();
}

function flagName(name: string, flag: ArgsDef[string]): string {
  const alias = "alias" in flag && typeof flag.alias === "string" ? `-${flag.alias}, ` : "";
  const value = flag.type === "enum" ? flag.options?.join("|") : flag.valueHint;
  return `${alias}--${name}${flag.type === "boolean" || value === undefined ? "" : ` ${value}`}`;
}

/** Two columns. Where the terminal is narrow or a name long, the second begins on a line of its own. */
function table(rows: readonly [string, string][], width: number): string {
  const longest = Math.max(...rows.map(([name]) => name.length));
  const indent = Math.min(longest + 2 * GAP, Math.floor(width / 2), 30);
  return rows
    .map(([name, text]) => {
      const first = " ".repeat(GAP) + name;
      const fits = first.length + GAP <= indent;
      const body = wrap(text, width, indent);
      return `${fits ? first.padEnd(indent) + body.trimStart() : `${first}\n${body}`}\n`;
    })
    .join("");
}

/** `text` in lines of at most `width` columns, each indented; a longer word has a line of its own. */
function wrap(text: string, width: number, indent: number): string {
  return Bun.wrapAnsi(text, width - indent).replace(/^/gm, " ".repeat(indent));
}
