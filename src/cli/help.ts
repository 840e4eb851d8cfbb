// `--help`: a command's definition as a page, left-aligned and no wider than the terminal: examples first, then the flags
// in their groups. The page that citty makes pads every line to the longest, and is wider than 80 columns.

import type { ArgsDef } from "citty";
import { metaOf, resolve, type Command, type FlagsDef, type Invocation } from "./parse.ts";

/** The longest line, also where the terminal is wider, or its width is not known. */
const MAX_COLUMNS = 80;
const GAP = 2;
/** The widest first columns. */
const MAX_FLAG = 29;
const MAX_EXAMPLE = 48;

/** How the value is written that a flag calls by one of these names. */
export const NOTATIONS: readonly (readonly [name: string, notation: string])[] = [
  ["TIME", "500ms 30s 5m 2h 7d"],
  ["SIZE", "64kb 1mb"],
  ["CIDR", "192.0.2.7 10.0.0.0/8 2001:db8::/32"],
];

type Row = readonly [name: string, text: string];
type Definition = FlagsDef[string];

/** The page for the command of `invocation`, each line within `columns`. */
export async function helpPage({ command, path }: Invocation, columns = MAX_COLUMNS): Promise<string> {
  const width = Math.min(columns, MAX_COLUMNS);
  const { description = "", examples = [], topics = {} } = await metaOf(command);
  const definitions = Object.entries((await resolve(command.args ?? {})) as FlagsDef);
  const commands = await commandRows((await resolve(command.subCommands)) ?? {});
  const topicRows = await commandRows(topics);
  const groups = Map.groupBy(definitions, ([, { group = "Arguments" }]) => group);
  const rows = [...groups].map(([title, own]) => [title, own.map(rowOf)] as const);
  const parts = [
    wrap(`${path}: ${description}`, width, 0),
    wrap(`Usage: ${usage(path, definitions, commands.length > 0)}`, width, 0),
    ...(examples.length > 0 ? [section("Examples", table(examples, width, MAX_EXAMPLE))] : []),
    ...sections(rows, width),
    ...(commands.length > 0
      ? [section("Commands", table(commands, width, MAX_FLAG)), `Run ${path} COMMAND --help for more.`]
      : []),
    ...(topicRows.length > 0
      ? [
          section(
            "More help",
            table(
              topicRows.map(([name, text]): Row => [`${path} help ${name}`, text]),
              width,
              MAX_EXAMPLE,
            ),
          ),
        ]
      : []),
    ...notations(definitions),
  ];
  return `${parts.join("\n\n")}\n`;
}

export function usage(path: string, definitions: [string, Definition][], hasCommands: boolean): string {
  const places = definitions.filter(([, { type }]) => type === "positional");
  const shown = (all: typeof places) =>
    all.map(([name, place]) => {
      const text = placeName(name, place) + ("multiple" in place ? "…" : "");
      return place.required === false ? `[${text}]` : text;
    });
  return [
    path,
    ...shown(places.filter(([, place]) => !("rest" in place))),
    ...(places.length < definitions.length ? ["[flags]"] : []),
    ...shown(places.filter(([, place]) => "rest" in place)),
    ...(hasCommands ? ["COMMAND"] : []),
  ].join(" ");
}

/** The names and descriptions of commands that are read when they are used. */
export async function commandRows(commands: Readonly<Record<string, unknown>>): Promise<Row[]> {
  return Promise.all(
    Object.entries(commands).map(async ([name, later]): Promise<Row> => {
      const command = (await resolve(later)) as Command;
      return [name, (await metaOf(command)).description ?? ""];
    }),
  );
}

function rowOf([name, definition]: [string, Definition]): Row {
  const shown = definition.type === "positional" ? placeName(name, definition) : flagName(name, definition);
  return [shown, definition.description ?? ""];
}

export function placeName(name: string, { valueHint }: ArgsDef[string]): string {
  return valueHint ?? name.toUpperCase();
}

export function flagName(name: string, flag: ArgsDef[string]): string {
  const alias = "alias" in flag && typeof flag.alias === "string" ? `-${flag.alias}, ` : "";
  const value = flag.type === "enum" ? flag.options?.join("|") : flag.valueHint;
  return `${alias}--${name}${flag.type === "boolean" || value === undefined ? "" : ` ${value}`}`;
}

/** The groups, with their columns below each other. */
function sections(groups: readonly (readonly [title: string, rows: Row[]])[], width: number): string[] {
  const indent = indentOf(
    groups.flatMap(([, rows]) => rows),
    width,
    MAX_FLAG,
  );
  return groups.map(([title, rows]) => section(title, tableAt(rows, width, indent)));
}

function section(title: string, body: string): string {
  return `${title}:\n${body}`;
}

/** Two columns. Where the terminal is narrow or a name long, the second begins on a line of its own. */
function table(rows: readonly Row[], width: number, max: number): string {
  return tableAt(rows, width, indentOf(rows, width, max));
}

/** Where the second column begins: behind the longest name that fits `max`. */
function indentOf(rows: readonly Row[], width: number, max: number): number {
  const limit = Math.min(max, Math.floor((width * max) / MAX_COLUMNS));
  const lengths = rows.map(([name]) => name.length + 2 * GAP).filter((length) => length <= limit);
  return Math.max(2 * GAP, ...lengths);
}

function tableAt(rows: readonly Row[], width: number, indent: number): string {
  return rows
    .map(([name, text]) => {
      const first = " ".repeat(GAP) + name;
      const fits = first.length + GAP <= indent;
      const body = wrap(text, width, indent);
      return fits ? first.padEnd(indent) + body.trimStart() : `${first}\n${body}`;
    })
    .join("\n");
}

/** How the values are written that the flags take. */
function notations(definitions: [string, Definition][]): string[] {
  const hints = new Set(definitions.map(([, { valueHint }]) => valueHint));
  const lines = NOTATIONS.filter(([name]) => hints.has(name)).map(([name, how]) => `${name}: ${how}`);
  return lines.length === 0 ? [] : [lines.join("\n")];
}

/** `text` in lines of at most `width` columns, each indented; a longer word has a line of its own. */
function wrap(text: string, width: number, indent: number): string {
  return Bun.wrapAnsi(text, width - indent).replace(/^/gm, " ".repeat(indent));
}
