// Every command of parley, as the parser knows them; for tests, and for the scripts that make pages of them.

import { resolve, type Command, type FlagsDef } from "../../src/cli/parse.ts";
import { parley } from "../../src/cli/root.ts";

export interface NamedCommand {
  /** `parley users add`. */
  path: string;
  command: Command;
  definitions: Definitions;
}

/** The flags and places of a command. */
export type Definitions = [name: string, definition: FlagsDef[string]][];

/** The commands from `command` down, itself included. */
export async function allCommands(command: Command = parley, path = "parley"): Promise<NamedCommand[]> {
  const definitions = Object.entries(((await resolve(command.args)) ?? {}) as FlagsDef);
  const below = Object.entries((await resolve(command.subCommands)) ?? {});
  const all = await Promise.all(
    below.map(async ([name, sub]) => allCommands((await resolve(sub)) as Command, `${path} ${name}`)),
  );
  return [{ path, command, definitions }, ...all.flat()];
}

/** The commands from `parley` down that are no groups of others. */
export async function leafCommands(): Promise<NamedCommand[]> {
  return (await allCommands()).filter(({ command }) => command.subCommands === undefined);
}
