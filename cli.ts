#!/usr/bin/env bun
// argv → command; anything thrown → one line on stderr and an exit code. Nothing else.

import { setTimeout as delay } from "node:timers/promises";
import { errorEvent, exitCodeOf, isBySignal } from "./src/cli/exit-codes.ts";
import { Flags, terminalOf } from "./src/cli/flags.ts";
import { helpPage } from "./src/cli/help.ts";
import { parseCommand, type Arguments, type Invocation } from "./src/cli/parse.ts";
import { parley } from "./src/cli/root.ts";
import { checkGivenWords } from "./src/files/given-text.ts";
import { repeatFlags } from "./src/base/own-command.ts";
import { ParleyError, systemCode } from "./src/base/errors.ts";
import { escapeJson } from "./src/base/escape.ts";
import { keepFilesPrivate } from "./src/os/process-limits.ts";
import { Terminal } from "./src/terminal/terminal.ts";
import { stderr, stdout } from "./src/terminal/stdio.ts";

/** Set by scripts/build.ts; undefined in a checkout. */
declare const BUILD_VERSION: string | undefined;
declare const BUILD_COMMIT: string | undefined;

const READER_TIMEOUT_MS = 10_000;

/** The flags that say where the accounts are: a command that a hint shows repeats them. */
const PLACE_FLAGS = [
  "data",
  "store",
  "store-name",
  "store-password-file",
  "store-ca",
  "store-cert",
  "store-key",
] as const;

async function main(argv: string[]): Promise<number> {
  keepFilesPrivate();
  let terminal = new Terminal({ color: "auto", noInput: true });
  let args: Arguments = argumentsBeforeParsing(argv);
  // The event loop is empty although the command still waits.
  process.once("beforeExit", () => {
    const words = "the command stopped without a result";
    const code = report(new ParleyError("failed", words), terminal, args, argv);
    void flushForAWhile().then(() => exit(code));
  });
  try {
    checkGivenWords();
    const invocation = await parseCommand(parley, argv);
    args = { ...args, ...invocation.args };
    const flags = new Flags<(typeof PLACE_FLAGS)[number] | "no-input" | "color">(args);
    terminal = terminalOf(flags);
    repeatFlags(Object.fromEntries(PLACE_FLAGS.map((name) => [name, flags.text(name)])));
    if (invocation.wants === "version") void stdout.write(`${versionLine()}\n`);
    else if (invocation.wants === "help") void stdout.write(await helpPage(invocation, stdout.columns));
    else await run(invocation);
    await flush();
    return Number(process.exitCode ?? 0); // that of a program, with --exit-status
  } catch (error) {
    const code = report(error, terminal, args, argv);
    if (!isBySignal(error)) await flushForAWhile();
    return code;
  }
}

async function run({ command, args }: Invocation): Promise<void> {
  await command.run?.({ args: { _: [], ...args } as never, rawArgs: [], cmd: command });
}

/** Waits until everything is printed. A reader that has left (`| head -1`) is no error. */
async function flush(): Promise<void> {
  try {
    await stdout.flush();
  } catch (error) {
    if (!(error instanceof ParleyError) || systemCode(error.cause) !== "EPIPE") throw error;
  }
}

/** After an error: what was printed before it is still to be read, but a reader that takes nothing is not waited for without end. */
async function flushForAWhile(): Promise<void> {
  await Promise.race([flush().catch(() => undefined), delay(READER_TIMEOUT_MS)]);
}

/** The flags that hold also where the arguments are wrong. */
function argumentsBeforeParsing(argv: readonly string[]): Arguments {
  const ending = argv.indexOf("--");
  const own = ending === -1 ? argv : argv.slice(0, ending);
  return { debug: own.includes("--debug"), json: own.includes("--json") };
}

/** Prints an error for a person, and with `--json` as an event; returns its exit code. */
function report(error: unknown, terminal: Terminal, args: Arguments, [command]: string[]): number {
  const code = exitCodeOf(error);
  if (args["debug"] === true && error instanceof Error) void stderr.write(`${Bun.inspect(error)}\n`);
  if (isBySignal(error)) return code;
  if (error instanceof ParleyError) terminal.error(error.message, error.hint);
  else {
    terminal.error(
      error instanceof Error ? `${error.name}: ${error.message}` : String(error),
      "this is a bug in parley; run it with --debug for a stack trace",
    );
  }
  if (args["json"] === true) {
    const time = command === "connect" ? { time: new Date().toISOString() } : {};
    // Where the error is that standard output cannot be written, this writes nothing.
    void stdout.write(`${escapeJson({ ...time, ...errorEvent(error) })}\n`);
  }
  return code;
}

function versionLine(): string {
  const version = typeof BUILD_VERSION === "undefined" ? "0.0.0-dev" : BUILD_VERSION;
  const commit = typeof BUILD_COMMIT === "undefined" ? "" : ` (${BUILD_COMMIT})`;
  return `parley ${version}${commit}`;
}

/**
 * Ends the process once everything is printed; a pending dial would keep it up (measured with Bun 1.4.5). After an error or a
 * signal a reader of stderr that takes nothing is not waited for without end.
 */
async function exit(code: number): Promise<void> {
  const printed = stderr.flush().catch(() => undefined); // stderr was the last place to report an error
  await (code === 0 ? printed : Promise.race([printed, delay(READER_TIMEOUT_MS)]));
  process.exit(code);
}

// Not awaited at the top level: Bun 1.4.5 would print an uncaught error of a timer twice, and keep the process up (measured).
void main(process.argv.slice(2)).then(exit);
