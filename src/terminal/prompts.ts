// The questions that parley asks a person, on stderr, through @inquirer; it is loaded when a question is asked. Between two
// questions the terminal may hide what is typed: after a password until the next question, or until `restoreEcho`.
//
// Ctrl-C, Ctrl-D and the end of input end a question. terminal.ts extends this class.

import { Writable } from "node:stream";
import { ParleyError } from "../base/errors.ts";
import { guardRawMode, interrupt, INTERRUPT, suspend, SUSPEND } from "./raw-mode.ts";
import { stderr } from "./stdio.ts";

export abstract class Prompts {
  /** Prints lines on stderr. */
  abstract say(...lines: string[]): void;

  /** Discards what is typed while the terminal hides it; undefined while it is shown. */
  #discardTyped: ((typed: Buffer) => void) | undefined;
  #unguard: (() => void) | undefined;

  /** Asks for a line. @param options `check` returns what is wrong with an answer, or undefined. */
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

  /** Asks for a password, which is shown as stars. Then hides what is typed. @param check as for {@link ask}. */
  async askSecret(message: string, check?: (answer: string) => string | undefined): Promise<string> {
    const { password } = await import("@inquirer/prompts");
    const validate = (answer: string) => answer !== "" || "enter a value";
    for (;;) {
      this.#stopDiscarding();
      const secret = await prompt((context) =>
        password({ message, mask: "*", toggleMask: false, validate }, context),
      );
      this.#disableEcho(); // before the flaw is shown: the next answer may be typed at once
      const flaw = check?.(secret);
      if (flaw === undefined) return secret;
      this.say(flaw); // and asks with an empty field: the prompt itself would keep the stars of what was typed
    }
  }

  /** Shows again what is typed, after a password. Does nothing when it is shown already. */
  restoreEcho(): void {
    if (this.#stopDiscarding()) process.stdin.setRawMode(false);
  }

  /** Ends the discarding before a further question, which sets raw mode itself: without it a key would show until then. */
  #stopDiscarding(): boolean {
    if (this.#discardTyped === undefined) return false;
    process.stdin.off("data", this.#discardTyped).pause();
    this.#unguard?.();
    this.#discardTyped = undefined;
    return true;
  }

  /**
   * Hides and discards what is typed, as getpass(3) does. Otherwise a person who repeats the password too early would see it on
   * the screen.
   */
  #disableEcho(): void {
    this.#discardTyped = (typed) => {
      if (typed.includes(SUSPEND)) suspend();
      if (!typed.includes(INTERRUPT)) return;
      this.restoreEcho();
      interrupt();
    };
    process.stdin.setRawMode(true);
    this.#unguard = guardRawMode({ redraw: () => undefined, endsBySignal: true });
    process.stdin.on("data", this.#discardTyped).resume();
  }

  /** Asks a question whose answer is yes or no. */
  async confirm(message: string, byDefault: boolean): Promise<boolean> {
    const { confirm } = await import("@inquirer/prompts");
    this.restoreEcho();
    return prompt((context) => confirm({ message, default: byDefault }, context));
  }
}

interface PromptContext {
  output: NodeJS.WritableStream;
  signal: AbortSignal;
}

/** Shows one prompt on stderr. @throws {ParleyError} `interrupted` after Ctrl-C, Ctrl-D or the end of input. */
async function prompt<T>(run: (context: PromptContext) => Promise<T>): Promise<T> {
  const aborting = new AbortController();
  const abort = () => aborting.abort();
  // At the end of input inquirer would wait for ever (measured with Bun 1.4.5 and @inquirer/prompts 8.8.0).
  const onKey = (_: unknown, key: { name?: string; ctrl?: boolean } | undefined) => {
    if (key?.ctrl === true && key.name === "d") abort();
  };
  const screen = new LastFrame(stderr.terminal);
  const unguard = guardRawMode({ redraw: () => screen.showAgain(), endsBySignal: true });
  process.stdin.on("keypress", onKey).on("end", abort);
  try {
    return await run({ output: screen, signal: aborting.signal });
  } catch (error) {
    // The class names are minified in the executable; `name` is not.
    if (error instanceof Error && /^(ExitPromptError|AbortPromptError)$/.test(error.name)) {
      throw new ParleyError("interrupted", "interrupted");
    }
    throw error;
  } finally {
    process.stdin.off("keypress", onKey).off("end", abort);
    unguard();
  }
}

/** Passes what a prompt draws to the terminal, and keeps the last frame to show it again. */
class LastFrame extends Writable {
  readonly #terminal: NodeJS.WritableStream;
  #frame = "";

  constructor(terminal: NodeJS.WritableStream) {
    super();
    this.#terminal = terminal;
  }

  override _write(data: Uint8Array, _: BufferEncoding, done: (error?: Error | null) => void): void {
    // Without the sequences that clear the previous frame.
    const frame = data.toString().replace(FRAME_START, "");
    if (frame !== "") this.#frame = frame;
    this.#terminal.write(data, done);
  }

  /** Shows the last frame on a new line, after a shell had the terminal. */
  showAgain(): void {
    this.#terminal.write(`\r${this.#frame}`);
  }
}

/** How inquirer begins a frame: cursor up, down or to a column, and clear. */
// oxlint-disable-next-line no-control-regex
const FRAME_START = /^(?:\u001b\[\d*[A-GK])+/;
