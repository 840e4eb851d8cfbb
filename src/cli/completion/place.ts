// What may stand at the cursor: found in the definitions of the commands, from which also `--help` and the parser are made.

import { commandRows } from "../help.ts";
import {
  findCommand,
  isMultiple,
  isRest,
  metaOf,
  resolve,
  type Arguments,
  type Command,
  type FlagsDef,
  type Known,
} from "../parse.ts";

/** A text that may stand there, and what it is for. */
export interface Candidate {
  value: string;
  about: string;
}

export type Place =
  | { kind: "words"; candidates: Candidate[] }
  /** What known.ts finds. `prefix` stands before it in the same word: `--user=`. */
  | { kind: "known"; known: Known; prefix: string; args: Arguments }
  | { kind: "files" | "folders" }
  /** A word of another program's command, which begins with the first word after `--`. */
  | { kind: "command" };

type Definition = FlagsDef[string];
type Flags = [name: string, definition: Definition][];

const HELP_COMMAND: Candidate = { value: "help", about: "show what a command does" };
const HELP: Candidate = { value: "--help", about: "show what the command does" };
const VERSION: Candidate = { value: "--version", about: "show the version" };
const NOTHING: Place = { kind: "words", candidates: [] };

/**
 * @param words those before the cursor, without the name of the program.
 * @param current the beginning of the word at the cursor.
 * @throws {ParleyError} `usage` when the words name no command.
 */
export async function findPlace(root: Command, words: string[], current: string): Promise<Place> {
  const { command, words: rest, wants } = await findCommand(root, words);
  if (command.subCommands !== undefined && rest.length === 0 && !current.startsWith("-")) {
    const more = command === root ? (wants === "help" ? await topicsOf(root) : [HELP_COMMAND]) : [];
    return { kind: "words", candidates: [...(await subCommandsOf(command)), ...more] };
  }
  if (wants === "help") return NOTHING;
  const { args } = command.subCommands === undefined ? command : await defaultOf(command);
  return placeAmong(Object.entries((await resolve(args ?? {})) as FlagsDef), rest, current);
}

async function subCommandsOf(command: Command): Promise<Candidate[]> {
  return describe((await resolve(command.subCommands)) ?? {});
}

async function topicsOf(root: Command): Promise<Candidate[]> {
  return describe((await metaOf(root)).topics ?? {});
}

async function describe(commands: Readonly<Record<string, unknown>>): Promise<Candidate[]> {
  return (await commandRows(commands)).map(([value, about]) => ({ value, about }));
}

/** The command that a group is without a name, as `users hosts` is `users hosts list`. */
async function defaultOf(command: Command): Promise<Pick<Command, "args">> {
  const name = await resolve(command.default);
  const subCommands = (await resolve(command.subCommands)) ?? {};
  return name === undefined ? {} : ((await resolve(subCommands[name])) as Command);
}

function placeAmong(definitions: Flags, words: readonly string[], current: string): Place {
  const flags = new Map(definitions.filter(([, { type }]) => type !== "positional"));
  const all = definitions.flatMap(([, definition]) => (definition.type === "positional" ? [definition] : []));
  if (words.includes("--")) return all.some(isRest) ? { kind: "command" } : NOTHING;
  const { args, waiting, count } = readWords(words, flags);
  if (waiting !== undefined) return valueOf(flags.get(waiting), "", args);
  const [prefix = "", flag = ""] = /^--([^=]+)=/.exec(current) ?? [];
  if (flag !== "") return valueOf(flags.get(flag), prefix, args);
  const places = all.filter((place) => !isRest(place));
  const place = places[count] ?? places.findLast(isMultiple);
  if (place !== undefined && !current.startsWith("-")) return valueOf(place, "", args);
  const left = [...flags].filter(([name, flag]) => args[name] === undefined || isMultiple(flag));
  const names = left.map(([name, { description = "" }]) => ({ value: `--${name}`, about: description }));
  return { kind: "words", candidates: [...names, HELP, VERSION] };
}

/** What the words before the cursor say: flags, the flag that the next word is the value of, and how many words are no flags. */
function readWords(words: readonly string[], flags: ReadonlyMap<string, Definition>) {
  const args: Record<string, string | boolean> = {};
  let waiting: string | undefined;
  let count = 0;
  for (const word of words) {
    const [, name, value] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (waiting !== undefined) {
      args[waiting] = word;
      waiting = undefined;
    } else if (name !== undefined) {
      args[name] = value ?? true;
      if (value === undefined && takesValue(flags.get(name))) waiting = name;
    } else if (!/^-./.test(word)) {
      count++;
    }
  }
  return { args, waiting, count };
}

function takesValue(flag: Definition | undefined): boolean {
  return flag !== undefined && flag.type !== "boolean";
}

/** What a flag or a place takes. */
function valueOf(definition: Definition | undefined, prefix: string, args: Arguments): Place {
  if (definition === undefined || definition.type === "boolean") return NOTHING;
  if (definition.type === "enum") {
    const options = definition.options ?? [];
    return { kind: "words", candidates: options.map((option) => ({ value: prefix + option, about: "" })) };
  }
  if ("completes" in definition && definition.completes !== undefined)
    return { kind: "known", known: definition.completes, prefix, args };
  if (definition.valueHint === "FILE") return { kind: "files" };
  return definition.valueHint === "DIR" ? { kind: "folders" } : NOTHING;
}
