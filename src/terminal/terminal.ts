// Talking to a person: when prompts may appear, the prompts, secrets, colour, and what goes where.
//
//     stdout   only what was asked for
//     stderr   prompts, notices, errors: `parley: error: …`, then `parley: hint: …`
//
// A prompt appears only when stdin and stderr are terminals, and never with --no-input; otherwise the caller names the
// flag that is missing. @inquirer is loaded only when a prompt is really shown.

import { Writable } from "node:stream";
import { isatty } from "node:tty";
import { styleText } from "node:util";
import { ParleyError, usageError } from "../base/errors.ts";
import { escapeLine } from "../base/escape.ts";
import { decodeGiven, readGivenFile } from "../files/given-text.ts";
import { guardRawMode, interrupt, INTERRUPT, suspend, SUSPEND } from "./raw-mode.ts";
import { isInputTerminal, readWholeInput, stderr, type StandardOutput } from "./stdio.ts";

export type ColorChoice = "auto" | "always" | "never";

export interface TerminalOptions {
  color: ColorChoice;
  /** `--no-input`: never ask. */
  noInput: boolean;
}

/** Secrets come from a file, from stdin or, for clients, from the environment, never from an argument. */
export interface SecretFlags {
  file: string | undefined;
  stdin: boolean;
}

export class Terminal {
  readonly #options: TerminalOptions;
  /** While a line is being edited: prints something above it. */
  aboveLine: ((print: () => void) => void) | undefined;
  #dropTyped: ((typed: Buffer) => void) | undefined;
  #unguard: (() => void) | undefined;

  constructor(options: TerminalOptions) {
    this.#options = options;
  }

  /** May a question be asked? */
  get canAsk(): boolean {
    return !this.#options.noInput && isInputTerminal() && stderr.isTerminal;
  }

  /** Does a person watch standard error? */
  get isWatched(): boolean {
    return stderr.isTerminal;
  }

  /** Was there a terminal that is closed now? What SIGHUP means when it is not a request to reload. */
  get hasHungUp(): boolean {
    return this.isWatched && !isatty(2);
  }

  /** Lines on stderr; whatever in them came from elsewhere is made harmless. */
  say(...lines: string[]): void {
    for (const line of lines) this.#print(escapeLine(line));
  }

  /** A sentence, quieter to the eye than with {@link say}; on a terminal it is broken between words. */
  note(line: string): void {
    const { columns } = stderr;
    const harmless = escapeLine(line);
    this.#print(this.#paint("dim", columns === undefined ? harmless : Bun.wrapAnsi(harmless, columns)));
  }

  /** As {@link note}, but never broken: what is to be copied, or comes from elsewhere. */
  noteUnwrapped(line: string): void {
    this.#print(this.#paint("dim", escapeLine(line)));
  }

  #print(harmless: string): void {
    const print = () => void stderr.write(`${harmless}\n`);
    if (this.aboveLine === undefined) print();
    else this.aboveLine(print);
  }

  /** A line that the next one takes the place of, for who watches; empty: none. */
  status(text: string): void {
    if (this.isWatched) void stderr.write(`\r\x1b[K${this.#paint("dim", escapeLine(text))}`);
  }

  /** `parley: error: …` and, where there is one, `parley: hint: …`; a hint may be lines of code. */
  error(message: string, hint?: string): void {
    void stderr.write(`${this.#paint("red", "parley: error:")} ${escapeLine(message)}\n`);
    if (hint === undefined) return;
    const lines = hint.split("\n").map(escapeLine);
    const start = this.#paint("cyan", "parley: hint:");
    void stderr.write(`${start}${lines.length === 1 ? " " : "\n"}${lines.join("\n")}\n`);
  }

  /** May what is written to `stream` be coloured? */
  hasColor(stream: StandardOutput): boolean {
    if (this.#options.color !== "auto") return this.#options.color === "always";
    const { NO_COLOR, TERM } = process.env;
    return stream.isTerminal && (NO_COLOR === undefined || NO_COLOR === "") && TERM !== "dumb";
  }

  #paint(style: "dim" | "red" | "cyan", text: string): string {
    return this.hasColor(stderr) ? styleText(style, text, { validateStream: false }) : text;
  }

  // --- questions ---

  /** Asks for a line. `check` says what is wrong with it. */
  async ask(
    message: string,
    options: { default?: string; check?: (answer: string) => string | undefined } = {},
  ): Promise<string> {
    const { input } = await import("@inquirer/prompts");
    this.restoreEcho();
    const { check } = options;
    const validate = (answer: string) => check?.(answer.trim()) ?? true;
    const answer = await prompt((context) =>
      input({ message, default: options.default, required: true, validate }, context),
    );
    return answer.trim();
  }

  /** Asks for a password, shown as stars and never revealed. */
  async askSecret(message: string, check?: (answer: string) => string | undefined): Promise<string> {
    const { password } = await import("@inquirer/prompts");
    const validate = (answer: string) => (answer === "" ? "say something" : (check?.(answer) ?? true));
    this.restoreEcho();
    const secret = await prompt((context) =>
      password({ message, mask: "*", toggleMask: false, validate }, context),
    );
    this.#disableEcho();
    return secret;
  }

  /** Shows what is typed again: see `#hush`. */
  restoreEcho(): void {
    if (this.#dropTyped === undefined) return;
    process.stdin.off("data", this.#dropTyped).pause();
    this.#unguard?.();
    process.stdin.setRawMode(false);
    this.#dropTyped = undefined;
  }

  /**
   * Shows nothing of what is typed until the next question, or `release`, and drops it, as getpass(3) does: somebody who
   * types the password again too early would see it on the screen.
   */
  #disableEcho(): void {
    this.#dropTyped = (typed) => {
      if (typed.includes(SUSPEND)) suspend();
      if (!typed.includes(INTERRUPT)) return;
      this.restoreEcho();
      interrupt();
    };
    process.stdin.setRawMode(true);
    this.#unguard = guardRawMode({ redraw: () => undefined, endsBySignal: true });
    process.stdin.on("data", this.#dropTyped).resume();
  }

  /** Asks twice for a new password, until both are the same. */
  async askNewSecret(message: string, check: (answer: string) => string | undefined): Promise<string> {
    for (;;) {
      const first = await this.askSecret(message, check);
      const second = await this.askSecret("the same again:");
      this.restoreEcho();
      if (first === second) return first;
      this.say("those were two different passwords");
    }
  }

  async confirm(message: string, byDefault: boolean): Promise<boolean> {
    const { confirm } = await import("@inquirer/prompts");
    this.restoreEcho();
    return prompt((context) => confirm({ message, default: byDefault }, context));
  }

  /**
   * A secret from `--password-file` or `--password-stdin`, one newline at its end taken off, else from the environment;
   * undefined when none of them is given.
   *
   * @param variable the value of the environment variable, where one counts; an empty one is none.
   */
  async secret(flags: SecretFlags, variable?: string): Promise<string | undefined> {
    if (flags.file !== undefined && flags.stdin) {
      throw usageError("--password-file and --password-stdin exclude each other");
    }
    if (flags.file !== undefined) return withoutNewline(readGivenFile(flags.file, "--password-file"));
    if (flags.stdin) {
      if (isInputTerminal()) throw usageError("--password-stdin: standard input is a terminal", "pipe it in");
      return withoutNewline(decodeGiven(await readWholeInput(), "the password on standard input"));
    }
    return variable === "" ? undefined : variable;
  }
}

function withoutNewline(text: string): string {
  return text.replace(/\r?\n$/, "");
}

interface PromptContext {
  output: NodeJS.WritableStream;
  signal: AbortSignal;
}

/** Runs one prompt on stderr; Ctrl-C, Ctrl-D and the end of input leave it. */
async function prompt<T>(run: (context: PromptContext) => Promise<T>): Promise<T> {
  const leaving = new AbortController();
  const leave = () => leaving.abort();
  // inquirer waits for ever at the end of input (measured).
  const onKey = (_: unknown, key: { name?: string; ctrl?: boolean } | undefined) => {
    if (key?.ctrl === true && key.name === "d") leave();
  };
  const screen = new LastFrame(stderr.terminal);
  const unguard = guardRawMode({ redraw: () => screen.showAgain(), endsBySignal: true });
  process.stdin.on("keypress", onKey).on("end", leave);
  try {
    return await run({ output: screen, signal: leaving.signal });
  } catch (error) {
    // The class names are minified in the executable; `name` is not.
    if (error instanceof Error && /^(ExitPromptError|AbortPromptError)$/.test(error.name)) {
      throw new ParleyError("interrupted", "interrupted");
    }
    throw error;
  } finally {
    process.stdin.off("keypress", onKey).off("end", leave);
    unguard();
  }
}

/** Passes a prompt on to the terminal, and can show again what the prompt looked like last. */
class LastFrame extends Writable {
  readonly #terminal: NodeJS.WritableStream;
  #frame = "";

  constructor(terminal: NodeJS.WritableStream) {
    super();
    this.#terminal = terminal;
  }

  override _write(data: Uint8Array, _: BufferEncoding, done: (error?: Error | null) => void): void {
    // What takes the frame before away is no part of the next one.
    const frame = data.toString().replace(FRAME_START, "");
    if (frame !== "") this.#frame = frame;
    this.#terminal.write(data, done);
  }

  /** On a line of its own: what stands above is a shell's. */
  showAgain(): void {
    this.#terminal.write(`\r${this.#frame}`);
  }
}

/** Up, down, to a column, and clear: how inquirer begins a frame. */
// oxlint-disable-next-line no-control-regex
const FRAME_START = /^(?:\u001b\[\d*[A-GK])+/;
