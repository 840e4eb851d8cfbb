#!/usr/bin/env bun
// argv → command; anything thrown → one line on stderr and an exit code. Nothing else.

import { defineCommand } from "citty";
import { Flags, terminalOf } from "./src/commands/flags.ts";
import { helpPage } from "./src/commands/help.ts";
import { parseCommand, type Command, type Invocation } from "./src/commands/parse.ts";
import { ParleyError } from "./src/errors.ts";
import { Terminal } from "./src/terminal.ts";

/** Stamped by scripts/build.ts; in a checkout there is nothing to stamp. */
declare const BUILD_VERSION: string | undefined;
declare const BUILD_COMMIT: string | undefined;

const parley = defineCommand({
  meta: {
    name: "parley",
    description: "a login, a session and whole messages in front of a TCP conversation",
  },
  subCommands: {
    serve: () => import("./src/commands/serve.ts").then((module) => module.default),
    connect: () => import("./src/commands/connect.ts").then((module) => module.default),
    users: () => import("./src/commands/users.ts").then((module) => module.default),
  },
}) as Command;

/** Codes of every error class → exit codes; whatever is not listed is 1. */
const EXIT_CODES: ReadonlyMap<string, number> = new Map([
  ["usage", 2],
  ["login_refused", 3],
  ["timeout", 4],
  ["turned_away", 5],
  ["unconfirmed", 6],
  ["interrupted", 130],
  ["terminated", 143],
]);

async function main(argv: string[]): Promise<number> {
  // Everything parley makes is its user's alone.
  process.umask(0o077);
  let terminal = new Terminal({ color: "auto", noInput: true });
  try {
    const invocation = await parseCommand(parley, argv);
    terminal = terminalOf(new Flags(invocation.args));
    if (invocation.wants === "version") process.stdout.write(`${versionLine()}\n`);
    else if (invocation.wants === "help")
      process.stdout.write(await helpPage(invocation, process.stdout.columns));
    else await run(invocation);
    return Number(process.exitCode ?? 0); // a program's own, where it was asked for
  } catch (error) {
    return report(error, terminal, argv.includes("--debug"));
  }
}

async function run({ command, args }: Invocation): Promise<void> {
  await command.run?.({ args: { _: [], ...args } as never, rawArgs: [], cmd: command });
}

function report(error: unknown, terminal: Terminal, debug: boolean): number {
  if (debug && error instanceof Error) process.stderr.write(`${Bun.inspect(error)}\n`);
  if (error instanceof ParleyError) {
    const code: string = error.code;
    // Whoever sent the signal knows.
    if (code !== "interrupted" && code !== "terminated") terminal.error(error.message, error.hint);
    return EXIT_CODES.get(code) ?? 1;
  }
  terminal.error(
    error instanceof Error ? `${error.name}: ${error.message}` : String(error),
    "this is a fault of parley; --debug shows where",
  );
  return 1;
}

function versionLine(): string {
  const version = typeof BUILD_VERSION === "undefined" ? "0.0.0-dev" : BUILD_VERSION;
  const commit = typeof BUILD_COMMIT === "undefined" ? "" : ` (${BUILD_COMMIT})`;
  return `parley ${version}${commit}`;
}

// A reader that left (`| head -1`) is no fault of ours; where it matters, whoever prints says so. Of stderr there is nobody
// left to tell.
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);

// Not awaited at the top level: there a throw elsewhere would only be printed, and the process would live on (measured).
void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
  // A pending dial or a read of stdin cannot be cancelled and would keep the process (measured): what was written is
  // waited for, and then it ends.
  process.stdout.end(() => process.stderr.end(() => process.exit()));
});
