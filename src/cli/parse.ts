// argv → a command and its flags. An argument that is unknown, given twice, without its value or one too many is a usage
// error, which names it and, where a name is close, the one that was probably meant. citty holds the definitions; its own
// parser lets all of these pass (measured with citty 0.2.2).

import { parseArgs } from "node:util";
import type {
  ArgsDef,
  BooleanArgDef,
  CommandDef,
  CommandMeta,
  EnumArgDef,
  PositionalArgDef,
  StringArgDef,
} from "citty";
import { usageError } from "../base/errors.ts";
import { keyLabel, readConfigFile } from "./config-file.ts";
import { checkTogether, type FlagRules } from "./flag-rules.ts";
import { meant } from "./suggestion.ts";

/** What a shell can complete from files that parley keeps, or from its own code: see completion/known.ts. */
export type Known =
  | "user" // of the accounts
  | "token" // an id that `users sessions` lists
  | "address" // that `users hosts` lists
  | "tag"
  | "server" // with the user of a stored token, as a target of `connect`
  | "login" // a user of a stored token
  | "service"
  | "shell"
  | "variable"; // of the environment

/** A flag as citty defines it. With `multiple: true` it may be given more than once. */
export type FlagDef = (StringArgDef | BooleanArgDef | EnumArgDef) & { multiple?: boolean; completes?: Known };
/**
 * An argument without a flag. With `rest: true` it is everything after `--`, unchanged; the last one with `multiple: true` may be
 * given more than once.
 */
type PlaceDef = PositionalArgDef & {
  type: "positional";
  rest?: boolean;
  multiple?: boolean;
  completes?: Known;
};
/** Flags and arguments, each flag with the heading under which `--help` lists it. */
export type FlagsDef = Record<string, (FlagDef & { group: string }) | (PlaceDef & { group?: string })>;

/** `flags`, which `--help` lists under the heading `group`. */
export function inGroup<Flags extends Record<string, FlagDef | PlaceDef>>(
  group: string,
  flags: Flags,
): { [Name in keyof Flags]: Flags[Name] & { group: string } } {
  const entries = Object.entries(flags).map(([name, flag]) => [name, { ...flag, group }]);
  return Object.fromEntries(entries) as { [Name in keyof Flags]: Flags[Name] & { group: string } };
}

/** What `--help` says of a command, beside its flags. */
export interface Meta extends CommandMeta {
  name: string;
  description: string;
  examples?: readonly (readonly [command: string, explanation: string])[];
  rules?: FlagRules;
  /** Of the whole program: what only `help` knows, such as `parley help completion`. */
  topics?: Readonly<Record<string, () => Promise<Command>>>;
}

/** `meta` as citty takes it, which knows no examples and no rules. */
export function about(meta: Meta): CommandMeta {
  return meta;
}

export type Command = CommandDef<ArgsDef>;
export type Arguments = Readonly<Record<string, string | boolean | string[] | undefined>> & {
  readonly [FROM_FILE]?: FromFile;
};

/** Beside the arguments: those that a configuration file has set. */
const FROM_FILE = Symbol("from the configuration file");

interface FromFile {
  path: string;
  names: ReadonlySet<string>;
}

/** How an error names an argument: `--port`, or `parley.toml: port` where the configuration file has set it. */
export function labelOf(name: string, { [FROM_FILE]: file }: Arguments): string {
  return file?.names.has(name) === true ? keyLabel(file.path, name) : `--${name}`;
}

export interface Invocation {
  command: Command;
  /** `parley users add`, for help and errors. */
  path: string;
  /** What the arguments ask for: to run the command, or a page about it. */
  wants: "run" | "help" | "version";
  args: Arguments;
}

/** Flags of every command. */
export const commonFlags = inGroup("Every command", {
  data: {
    type: "string",
    valueHint: "DIR",
    description: "data folder ($PARLEY_DATA, ~/.local/state/parley)",
  },
  "no-input": { type: "boolean", description: "never prompt" },
  color: { type: "enum", options: ["auto", "always", "never"], description: "use colors (default auto)" },
  debug: { type: "boolean", description: "print a stack trace with an error" },
}) satisfies FlagsDef;

/** @throws {ParleyError} `usage`. */
export async function parseCommand(root: Command, argv: string[]): Promise<Invocation> {
  const found = await findCommand(root, argv);
  let { command, path, words } = found;
  let wants: Invocation["wants"] = found.wants;
  const byDefault = await resolve(command.default);
  const isQuestion = wants === "help" || words[0] === "--help" || words[0] === "-h";
  // `users hosts` lists them
  if (byDefault !== undefined && !isQuestion)
    ({ command, path, words } = await descend(command, path, [byDefault, ...words]));
  const ending = words.indexOf("--");
  const own = ending === -1 ? words : words.slice(0, ending);
  if (own.includes("--help") || own.includes("-h")) wants = "help";
  else if (own.includes("--version")) wants = "version";
  if (wants !== "run") return { command, path, wants, args: {} };
  if (command.subCommands !== undefined) {
    if (own.length === 0) return { command, path, wants: "help", args: {} };
    const hint =
      own[0] === "-V" || own[0] === "-v" ? `did you mean ${path} --version?` : `run ${path} --help`;
    throw usageError(`${own[0]} needs a command`, hint);
  }
  return { command, path, wants, args: await parseFlags(command, path, own, words.slice(own.length)) };
}

/** The command that the first words name, and the words behind its name. */
export interface FoundCommand {
  command: Command;
  path: string;
  words: string[];
  wants: "run" | "help";
}

/** Finds the command that `argv` begins with. A topic of `help` is a command, too. @throws {ParleyError} `usage`. */
export async function findCommand(root: Command, argv: string[]): Promise<FoundCommand> {
  const { name: path = "", topics = {} } = await metaOf(root);
  const [first, second = "", ...rest] = argv;
  if (first !== "help") return { ...(await descend(root, path, argv)), wants: "run" };
  const topic = Object.hasOwn(topics, second) ? await topics[second]?.() : undefined;
  if (topic !== undefined)
    return { command: topic, path: `${path} help ${second}`, words: rest, wants: "run" };
  return { ...(await descend(root, path, argv.slice(1))), wants: "help" };
}

async function descend(
  root: Command,
  rootPath: string,
  argv: string[],
): Promise<Omit<FoundCommand, "wants">> {
  let [command, path, words] = [root, rootPath, argv];
  for (;;) {
    const subCommands = await resolve(command.subCommands);
    const [name, ...rest] = words;
    if (subCommands === undefined || name === undefined || name.startsWith("-"))
      return { command, path, words };
    if (!Object.hasOwn(subCommands, name)) {
      throw usageError(
        `unknown command ${path} ${name}`,
        meant(name, Object.keys(subCommands), `run ${path} --help`),
      );
    }
    command = (await resolve(subCommands[name])) as Command;
    path = `${path} ${name}`;
    words = rest;
  }
}

async function parseFlags(
  command: Command,
  path: string,
  words: string[],
  rest: string[],
): Promise<Arguments> {
  const definitions = await resolve(command.args ?? {});
  const flags = Object.entries(definitions).filter(([, { type }]) => type !== "positional");
  const places = Object.entries(definitions).filter(
    ([, definition]) => definition.type === "positional" && !isRest(definition),
  );
  const options = Object.fromEntries(
    flags.map(([name, definition]) => {
      const alias = "alias" in definition ? definition.alias : undefined;
      const short = typeof alias === "string" ? { short: alias } : {};
      return [
        name,
        {
          type: definition.type === "boolean" ? ("boolean" as const) : ("string" as const),
          multiple: true,
          ...short,
        },
      ];
    }),
  );
  const help = `run ${path} --help`;
  const [restName] = Object.entries(definitions).find(([, definition]) => isRest(definition)) ?? [];
  if (rest.length > 1 && restName === undefined)
    throw usageError(`${path} takes no arguments after --`, help);
  if (rest.length === 1 && restName !== undefined) throw usageError("missing program after --", help);
  for (const word of words) checkKnown(word, options, help);
  let parsed;
  try {
    parsed = parseArgs({ args: words, options, strict: true, allowPositionals: true });
  } catch (error) {
    throw usageError(...sayParseError(error, words, options, help));
  }
  let args: Arguments & Record<string, string | boolean | string[] | undefined> = {};
  for (const [name, definition] of flags) {
    const values = parsed.values[name] as (string | boolean)[] | undefined;
    if (values === undefined) continue;
    if (isMultiple(definition)) {
      args[name] = values.map(String);
      continue;
    }
    if (values.length > 1) throw usageError(`--${name} is given ${values.length} times`, "give it once");
    if (values[0] === "") throw usageError(`--${name} needs a value`, help);
    args[name] = values[0];
  }
  if (restName !== undefined && rest.length > 1) args[restName] = rest.slice(1);
  for (const [index, word] of parsed.positionals.entries()) {
    const place = places[index];
    if (place === undefined) {
      const isProgram = restName !== undefined && index === 0 && Bun.which(word) !== null;
      const isPort = options["port"] !== undefined && /^\d{1,5}$/.test(word);
      const hint = isPort ? `for a port: --port ${word}` : isProgram ? "write -- before a program" : help;
      throw usageError(`unexpected argument ${JSON.stringify(word)}`, hint);
    }
    const [name, definition] = place;
    if (isMultiple(definition)) {
      args[name] = parsed.positionals.slice(index);
      break;
    }
    args[name] = word;
  }
  const config = args["config"];
  if (typeof config === "string")
    args = withFile(args, config, await readConfigFile(config, definitions, help));
  for (const [name, definition] of Object.entries(definitions)) {
    const value = args[name];
    if (value === undefined && definition.type === "positional" && definition.required !== false) {
      throw usageError(`missing argument ${name.toUpperCase()}`, help);
    }
    const choices = definition.type === "enum" ? definition.options : undefined;
    if (value !== undefined && choices !== undefined && !choices.includes(String(value))) {
      throw usageError(
        `${labelOf(name, args)}: invalid value ${JSON.stringify(value)}`,
        `use one of ${choices.join(", ")}`,
      );
    }
  }
  const { rules = {} } = await metaOf(command);
  checkTogether(args, ownNames(definitions), rules, (name) => labelOf(name, args));
  return args;
}

/** The names of a command's arguments, but for the flags of every command. */
export function ownNames(definitions: object): string[] {
  return Object.keys(definitions).filter((name) => !Object.hasOwn(commonFlags, name));
}

/** The arguments, and those of a file that they do not contradict. A list on the command line replaces that of the file. */
function withFile(args: Arguments, path: string, file: Arguments): Arguments {
  const isLeft = (name: string) =>
    args[name] === undefined &&
    args[`no-${name}`] === undefined &&
    args[name.replace(/^no-/, "")] === undefined;
  const left = Object.entries(file).filter(([name]) => isLeft(name));
  return {
    ...args,
    ...Object.fromEntries(left),
    [FROM_FILE]: { path, names: new Set(left.map(([name]) => name)) },
  };
}

function checkKnown(word: string, options: Readonly<Record<string, unknown>>, help: string): void {
  const name = /^--(=.*|[^=]+)/.exec(word)?.[1];
  if (name === undefined || Object.hasOwn(options, name)) return;
  const instead = INSTEAD.get(name);
  if (instead !== undefined) throw usageError(`unknown flag --${name}`, instead);
  throw usageError(
    `unknown flag --${name}`,
    meant(
      `--${name}`,
      Object.keys(options).map((known) => `--${known}`),
      help,
    ),
  );
}

/** Flags that people expect, and what to use instead. */
const INSTEAD: ReadonlyMap<string, string> = new Map([
  [
    "password",
    "use --password-file FILE, --password-stdin or $PARLEY_PASSWORD: other users can read arguments",
  ],
  ["host", "write it as [USER@]HOST[:PORT]"],
  ["port", "write it as [USER@]HOST:PORT"],
]);

/** What is wrong with the flags, and what to do. The error of Node's parser names only one letter of several. */
function sayParseError(
  error: unknown,
  words: readonly string[],
  options: Readonly<Record<string, { short?: string }>>,
  help: string,
): [message: string, hint: string] {
  const text = error instanceof Error ? error.message : String(error);
  const flag = /--[\w-]+/.exec(text)?.[0] ?? "a flag";
  if (/does not take an argument/.test(text)) return [`${flag} takes no value`, help];
  const next = words[words.indexOf(flag) + 1];
  if (/ambiguous/.test(text) && next !== undefined && !isFlag(next, options))
    return [`${flag} needs a value, and ${next} looks like a flag`, `write it as ${flag}=${next}`];
  if (/argument missing|ambiguous/.test(text)) return [`${flag} needs a value`, help];
  const letters = Object.values(options).map(({ short }) => short);
  const unknown = words.find(
    (word) => /^-[^-]/.test(word) && Array.from(word.slice(1)).some((letter) => !letters.includes(letter)),
  );
  if (unknown === undefined) return [text.split("\n", 1)[0] ?? text, help];
  const long = `-${unknown.split("=", 1)[0]}`;
  const isLong = Object.hasOwn(options, long.slice(2));
  return [`unknown flag ${unknown}`, isLong ? `did you mean ${long}?` : help];
}

function isFlag(word: string, options: Readonly<Record<string, { short?: string }>>): boolean {
  const name = word.replace(/^--/, "").split("=", 1)[0] ?? "";
  return Object.hasOwn(options, name) || Object.values(options).some(({ short }) => word === `-${short}`);
}

export function isMultiple(definition: object): boolean {
  return "multiple" in definition && definition.multiple === true;
}

export function isRest(definition: object): boolean {
  return "rest" in definition && definition.rest === true;
}

/** The name, description and examples of a command. */
export async function metaOf(command: Command): Promise<Partial<Meta>> {
  return (await resolve(command.meta)) ?? {};
}

type Later<T> = T | Promise<T> | (() => T) | (() => Promise<T>);

/** A part of a definition, which may be a function or a promise. */
export async function resolve<T>(value: Later<T>): Promise<T> {
  return typeof value === "function" ? await (value as () => T | Promise<T>)() : await value;
}
