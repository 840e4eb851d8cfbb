// What a command says to a person and asks of one. cli.ts makes one Terminal for a command.
//
//     stdout   only the output of the command
//     stderr   questions, notices, errors: `parley: error: …`, then `parley: hint: …`
//
// A question may be asked when stdin and stderr are terminals, and never with --no-input. A command that may not ask names the
// flag that is missing.

import { isatty } from "node:tty";
import { styleText } from "node:util";
import { usageError } from "../base/errors.ts";
import { escapeLine } from "../base/escape.ts";
import { decodeGiven, readGivenSecret, withoutNewline } from "../files/given-text.ts";
import { Prompts } from "./prompts.ts";
import { isInputTerminal, readWholeInput, stderr, type StandardOutput } from "./stdio.ts";

export type ColorChoice = "auto" | "always" | "never";

export interface TerminalOptions {
  color: ColorChoice;
  /** `--no-input`: never ask. */
  noInput: boolean;
}

/** Where a secret comes from: a file or stdin. It is never an argument, which other users could read. */
export interface SecretFlags {
  /** `--password-file FILE`. */
  file: string | undefined;
  /** `--password-stdin`. */
  stdin: boolean;
}

export class Terminal extends Prompts {
  readonly #options: TerminalOptions;
  /** Prints something above the line that a person is typing; set while there is such a line. */
  aboveLine: ((print: () => void) => void) | undefined;

  /** Shows text on a terminal that is raw; set while it is. */
  showRaw: ((escaped: string) => void) | undefined;

  constructor(options: TerminalOptions) {
    super();
    this.#options = options;
  }

  /** True when a question may be asked. */
  get canAsk(): boolean {
    return !this.#options.noInput && isInputTerminal() && stderr.isTerminal;
  }

  /** True when stderr is, or was, a terminal: a person may read it. */
  get isWatched(): boolean {
    return stderr.isTerminal;
  }

  /** True when stderr was a terminal that is closed now: then SIGHUP is no request to reload. */
  get hasHungUp(): boolean {
    return this.isWatched && !isatty(2);
  }

  /** Writes lines to stderr, with control characters escaped. */
  say(...lines: string[]): void {
    for (const line of lines) this.#print(escapeLine(line));
  }

  /** Writes a sentence to stderr, dimmed, and wrapped between words on a terminal. */
  note(line: string): void {
    const { columns } = stderr;
    const escaped = escapeLine(line);
    this.#print(this.#paint("dim", columns === undefined ? escaped : Bun.wrapAnsi(escaped, columns)));
  }

  /**
   * Writes lines to stderr, dimmed and never wrapped: text to copy, or text of a program or peer. Callers with many of them wait
   * for {@link StandardOutput.writable} before the next.
   */
  noteUnwrapped(lines: string | readonly string[]): void {
    this.#print(
      [lines]
        .flat()
        .map((line) => this.#paint("dim", escapeLine(line)))
        .join("\n"),
    );
  }

  #print(escaped: string): void {
    if (this.showRaw !== undefined && this.isWatched) return this.showRaw(escaped);
    const print = () => void stderr.write(`${escaped}\n`);
    if (this.aboveLine === undefined) print();
    else this.aboveLine(print);
  }

  /** Shows a status line on a terminal. The next status replaces it; an empty one removes it. */
  status(text: string): void {
    if (this.isWatched) void stderr.write(`\r\x1b[K${this.#paint("dim", escapeLine(text))}`);
  }

  /** Writes `parley: error: …` and, with a hint, `parley: hint: …`. A hint may have several lines. */
  error(message: string, hint?: string): void {
    void stderr.write(`${this.#paint("red", "parley: error:")} ${escapeLine(message)}\n`);
    if (hint === undefined) return;
    const lines = hint.split("\n").map(escapeLine);
    const start = this.#paint("cyan", "parley: hint:");
    void stderr.write(`${start}${lines.length === 1 ? " " : "\n"}${lines.join("\n")}\n`);
  }

  /** True when output to `stream` may be coloured: `--color`, else $NO_COLOR and the kind of terminal decide. */
  hasColor(stream: StandardOutput): boolean {
    if (this.#options.color !== "auto") return this.#options.color === "always";
    const { NO_COLOR, TERM } = process.env;
    return stream.isTerminal && (NO_COLOR === undefined || NO_COLOR === "") && TERM !== "dumb";
  }

  #paint(style: "dim" | "red" | "cyan", text: string): string {
    return this.hasColor(stderr) ? styleText(style, text, { validateStream: false }) : text;
  }

  /** Asks twice for a new password, until both answers are the same. @param check as for {@link ask}. */
  async askNewSecret(message: string, check: (answer: string) => string | undefined): Promise<string> {
    for (;;) {
      const first = await this.askSecret(message, check);
      const second = await this.askSecret("password again:");
      this.restoreEcho();
      if (first === second) return first;
      this.say("the passwords do not match");
    }
  }

  /**
   * Reads a secret, without the newline at its end, from the source that `flags` name; otherwise returns `variable`. Undefined
   * when there is neither.
   *
   * @param variable the value of an environment variable; an empty one counts as none.
   * @throws {ParleyError} `usage` when both flags are given, or the source cannot be read; `failed` when it is not UTF-8.
   */
  async secret(flags: SecretFlags, variable?: string): Promise<string | undefined> {
    if (flags.file !== undefined) return readGivenSecret(flags.file, "--password-file");
    if (flags.stdin) {
      if (isInputTerminal())
        throw usageError("--password-stdin: standard input is a terminal", "pipe the password in");
      return withoutNewline(decodeGiven(await readWholeInput(), "the password on standard input"));
    }
    return variable === "" ? undefined : variable;
  }
}
