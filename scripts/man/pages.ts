// The manual pages: mdoc made of the definitions of the commands, of texts.ts, and of docs/protocol.md.

import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { ERROR_CODES } from "../../src/cli/exit-codes.ts";
import { commandRows, NOTATIONS, placeName } from "../../src/cli/help.ts";
import { commonFlags, isRest, metaOf, resolve, type FlagsDef, type Meta } from "../../src/cli/parse.ts";
import { parley } from "../../src/cli/root.ts";
import { usersFlags } from "../../src/cli/users/context.ts";
import { DataFolder } from "../../src/files/data-folder.ts";
import {
  allCommands,
  leafCommands,
  type Definitions,
  type NamedCommand,
} from "../../test/support/commands.ts";
import { inline, toMdoc } from "./markdown.ts";
import { argument, escape, flow } from "./mdoc.ts";
import { CONNECT, FILES, PARLEY, SERVE, USERS, VARIABLES, type Entry, type PageTexts } from "./texts.ts";

/** The pages by their file names below a folder of manual pages. @param date the day on which they are made. */
export async function manualPages(date: Date): Promise<Map<string, string>> {
  const pages: [name: string, section: number, lines: string[]][] = [
    ["parley", 1, await mainPage()],
    ["parley-serve", 1, await commandPage("serve", SERVE)],
    ["parley-connect", 1, await commandPage("connect", CONNECT)],
    ["parley-users", 1, await usersPage()],
    ["parley-protocol", 7, protocolPage()],
  ];
  return new Map(
    pages.map(([name, section, lines]) => {
      const head = [`.Dd ${dayOf(date)}`, `.Dt ${name.toUpperCase()} ${section}`, ".Os"];
      return [`man${section}/${name}.${section}`, [...head, ...lines, ""].join("\n")];
    }),
  );
}

/** `November 27, 2026`, in UTC. */
function dayOf(date: Date): string {
  return date.toLocaleDateString("en-US", {
    year: "numeric",
    month: "long",
    day: "numeric",
    timeZone: "UTC",
  });
}

async function mainPage(): Promise<string[]> {
  const { name = "", description = "", examples = [], topics = {} } = await metaOf(parley);
  const commands = await commandRows((await resolve(parley.subCommands)) ?? {});
  return [
    ...nameLines(name, description),
    ".Sh SYNOPSIS",
    ".Nm",
    ".Ar command",
    ".Op Ar argument ...",
    ".Nm",
    ".Cm help",
    ".Op Ar command",
    ".Nm",
    ".Fl -version",
    ".Sh DESCRIPTION",
    ...toMdoc(PARLEY.description),
    ".Sh COMMANDS",
    ".Bl -tag -width Ds",
    ...commands.flatMap(([command, about]) => [
      `.It Cm ${command}`,
      ...flow(escape(sentence(about))),
      "See",
      `.Xr parley-${command} 1 .`,
    ]),
    ...(await commandRows(topics)).flatMap(([topic, about]) => [
      `.It Cm help ${topic}`,
      ...flow(escape(sentence(about))),
    ]),
    ".El",
    ".Sh OPTIONS",
    "Every command has these:",
    ...flagList(Object.entries(commonFlags as FlagsDef)),
    ...environment(() => true),
    ...files(() => true),
    ...exitTable(),
    ...exampleLines([...examples, ...PARLEY.examples]),
    ...seeAlso(PARLEY),
  ];
}

async function commandPage(name: "serve" | "connect", texts: PageTexts): Promise<string[]> {
  const { definitions, description = "", examples = [] } = await described(`parley ${name}`);
  return [
    ...nameLines(`parley-${name}`, description),
    ".Sh SYNOPSIS",
    ...synopsis(`parley ${name}`, definitions),
    ".Sh DESCRIPTION",
    ...toMdoc(texts.description),
    ...options(definitions),
    ...environment(({ of }) => of.includes(name)),
    ...files(({ of }) => of.includes(name)),
    ...exitStatus(texts),
    ...exampleLines([...examples, ...texts.examples]),
    ...seeAlso(texts),
  ];
}

/** A command with what its definition says of it. */
async function described(path: string): Promise<NamedCommand & Partial<Meta>> {
  const found = (await allCommands()).find((one) => one.path === path);
  if (found === undefined) throw new Error(`there is no command ${path}`);
  return { ...found, ...(await metaOf(found.command)) };
}

async function usersPage(): Promise<string[]> {
  const { description = "", examples = [] } = await described("parley users");
  const leaves = (await leafCommands()).filter(({ path }) => path.startsWith("parley users "));
  const commands = await Promise.all(leaves.map(({ path }) => described(path)));
  return [
    ...nameLines("parley-users", description),
    ".Sh SYNOPSIS",
    ...commands.flatMap(({ path, definitions }) => synopsis(path, definitions)),
    ".Sh DESCRIPTION",
    ...toMdoc(USERS.description),
    ".Sh COMMANDS",
    ...commands.flatMap(commandSection),
    ...options(Object.entries(usersFlags as FlagsDef)),
    ...environment(({ of }) => of.includes("users")),
    ...files(({ of }) => of.includes("users")),
    ...exitStatus(USERS),
    ...exampleLines([...examples, ...commands.flatMap((command) => command.examples ?? [])]),
    ...seeAlso(USERS),
  ];
}

/** A command of `parley users`, with the flags that not all of them have. */
function commandSection({ path, description = "", definitions }: NamedCommand & Partial<Meta>): string[] {
  const own = definitions.filter(([name]) => !Object.hasOwn(usersFlags, name));
  return [`.Ss ${escape(path)}`, ...flow(escape(sentence(description))), ...flagList(own)];
}

function protocolPage(): string[] {
  const markdown = readFileSync(join(import.meta.dir, "../../docs/protocol.md"), "utf8");
  return [
    ...nameLines("parley-protocol", "the wire protocol of parley, version 1"),
    ".Sh DESCRIPTION",
    ...toMdoc(markdown),
    ".Sh SEE ALSO",
    ".Xr parley-connect 1 ,",
    ".Xr parley-serve 1",
  ];
}

function nameLines(name: string, description: string): string[] {
  return [".Sh NAME", `.Nm ${name}`, `.Nd ${escape(description)}`];
}

function synopsis(path: string, definitions: Definitions): string[] {
  const places = definitions.filter(([, { type }]) => type === "positional");
  const [rest, plain] = [
    places.filter(([, place]) => isRest(place)),
    places.filter(([, place]) => !isRest(place)),
  ];
  return [
    `.Nm ${path}`,
    ...plain.map(([name, place]) => {
      const more = "multiple" in place ? " ..." : "";
      const macro = `Ar ${argument(placeName(name, place))}${more}`;
      return place.required === false ? `.Op ${macro}` : `.${macro}`;
    }),
    ...(places.length < definitions.length ? [".Op Ar flag ..."] : []),
    ...rest.map(([, { valueHint = "" }]) => `.Op Fl - Ar ${argument(valueHint.replace(/^-- /, ""))}`),
  ];
}

/** All flags, in the groups of `--help`. */
function options(definitions: Definitions): string[] {
  const groups = Map.groupBy(definitions, ([, { group = "Arguments" }]) => group);
  const hints = new Set(definitions.map(([, { valueHint }]) => valueHint));
  const notations = NOTATIONS.filter(([name]) => hints.has(name)).map(
    ([name, how]) =>
      `\`${name}\` is written as ${how
        .split(" ")
        .map((one) => `\`${one}\``)
        .join(", ")}.`,
  );
  return [
    ".Sh OPTIONS",
    ...[...groups].flatMap(([title, own]) => [
      ...(title === "Options" ? [] : [`.Ss ${escape(title)}`]),
      ...flagList(own),
    ]),
    ...(notations.length === 0 ? [] : [".Ss Values", ...flow(inline(notations.join(" ")))]),
  ];
}

function flagList(definitions: Definitions): string[] {
  if (definitions.length === 0) return [];
  const items = definitions.flatMap(([name, definition]) => [
    `.It ${definition.type === "positional" ? `Ar ${argument(placeName(name, definition))}` : flagMacro(name, definition)}`,
    ...flow(escape(definition.description ?? "")),
  ]);
  return [".Bl -tag -width Ds", ...items, ".El"];
}

function flagMacro(name: string, flag: FlagsDef[string]): string {
  const alias = "alias" in flag && typeof flag.alias === "string" ? `${flag.alias} , Fl ` : "";
  const value = flag.type === "enum" ? flag.options?.join("|") : flag.valueHint;
  const isBare = flag.type === "boolean" || value === undefined;
  return `Fl ${alias}-${escape(name)}${isBare ? "" : ` Ar ${argument(value)}`}`;
}

function environment(isOfPage: (entry: Entry) => boolean): string[] {
  const own = Object.entries(VARIABLES).filter(([, entry]) => isOfPage(entry));
  const items = own.flatMap(([name, { about }]) => [`.It Ev ${name}`, ...flow(inline(about))]);
  return [".Sh ENVIRONMENT", ".Bl -tag -width Ds", ...items, ".El"];
}

function files(isOfPage: (entry: Entry) => boolean): string[] {
  const folder = new DataFolder("/data");
  const own = Object.entries(FILES).filter(([, entry]) => isOfPage(entry));
  const items = own.flatMap(([name, { about }]) => [
    `.It Pa ${escape(basename(folder[name as keyof typeof FILES]))}`,
    ...flow(inline(about)),
  ]);
  return [
    ".Sh FILES",
    ...flow(inline("These are in the data folder: `--data`, `$PARLEY_DATA`, or `~/.local/state/parley`.")),
    ".Bl -tag -width Ds",
    ...items,
    ".El",
  ];
}

function exitStatus(texts: PageTexts): string[] {
  if (texts.exitStatus === undefined) return exitTable();
  return [".Sh EXIT STATUS", ...flow(inline(texts.exitStatus.replaceAll("\n", " ")))];
}

/** Every exit status, with the meanings of its error codes. */
function exitTable(): string[] {
  const byStatus = Map.groupBy(Object.entries(ERROR_CODES), ([, { exit }]) => exit);
  const items = [...byStatus]
    .toSorted(([a], [b]) => a - b)
    .flatMap(([status, codes]) => [
      `.It ${status}`,
      ...codes.flatMap(([code, { meaning }], index) => [
        ...(index === 0 ? [] : [".br"]),
        ...flow(`\\fI${escape(code)}\\fP: ${escape(meaning)}`),
      ]),
    ]);
  return [
    ".Sh EXIT STATUS",
    "In italics: the code of the error with",
    ".Fl -json .",
    ".Bl -tag -width Ds",
    ".It 0",
    "the command has done what it should;",
    ".Cm connect :",
    "every message was delivered, and every answer was printed",
    ...items,
    ".El",
  ];
}

function exampleLines(examples: readonly (readonly [command: string, explanation: string])[]): string[] {
  if (examples.length === 0) return [];
  const items = examples.flatMap(([command, explanation]) => [
    `.It Li ${argument(command)}`,
    ...flow(escape(explanation)),
  ]);
  return [".Sh EXAMPLES", ".Bl -tag -width Ds", ...items, ".El"];
}

function seeAlso({ seeAlso: pages }: PageTexts): string[] {
  return [
    ".Sh SEE ALSO",
    ...pages.map((page, index) => `.Xr ${page}${index < pages.length - 1 ? " ," : ""}`),
  ];
}

/** The description of a command as a sentence. */
function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
