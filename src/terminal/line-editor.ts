// The line that a person types in `parley connect`, by node:readline. Messages that arrive meanwhile are printed above the line.
//
//     ann: hello                    1. go up to the line's first row, clear to the end of the screen, print
//     > half of a line that takes   2. draw the line again
//     two rows▁
//
// To redraw, readline goes up as many rows as its private member `prevRows` says. A wrong number erases messages or leaves pieces
// of the line behind (measured with Bun 1.4.5: test/cli/editor.test.ts and line-editor.test.ts). readline's own number is wrong
// after something was printed, after several keys that came in one read, and after a change of the terminal's width, since the
// terminal wraps the line again. So this class sets it before each redraw. cli/connect/interactive.ts makes one.

import { writeSync } from "node:fs";
import { clearScreenDown, createInterface, cursorTo, moveCursor, type Interface } from "node:readline";
import { guardRawMode, suspend } from "./raw-mode.ts";
import { cellAfter } from "./wrapped-text.ts";

/** Asks the terminal to mark the begin and the end of pasted text: xterm's mode 2004, which nearly all terminals have. */
const MARK_PASTES = "\x1b[?2004h";
const MARK_NO_PASTES = "\x1b[?2004l";

export interface LineEditorOptions {
  screen: NodeJS.WriteStream & { fd: number };
  prompt: string;
  /** Earlier lines, the latest first; at most `historySize` of them. */
  history: string[];
  historySize: number;
  /** Completes a line after Tab: candidates, and the piece of the line that they replace. Without it a tab is text. */
  complete: ((line: string) => [string[], string]) | undefined;
  /** Called for each line. `isPasted`: pasted text ended the line, so the person has not read it, and it is no command. */
  onLine: (line: string, isPasted: boolean) => void;
  /** Called at Ctrl-C on an empty line. On any other line Ctrl-C drops the line. */
  onInterrupt: () => void;
  /** Called at Ctrl-D, at the end of input, and by {@link LineEditor.close}. */
  onClose: () => void;
}

interface Key {
  name?: string;
}

/** Members of readline's Interface that its types lack. */
interface ReadlineInternals {
  /** Rows between the line's first row and the cursor. */
  prevRows: number;
  /** False: what is typed is text, and is shown without a redraw. */
  isCompletionEnabled: boolean;
}

export class LineEditor {
  readonly #options: LineEditorOptions;
  readonly #screen: LineEditorOptions["screen"];
  readonly #editor: Interface & ReadlineInternals;
  /** The terminal's width when the line was drawn. */
  #columns: number;
  #isPasting = false;
  readonly #unguard: () => void;

  constructor(options: LineEditorOptions) {
    const { screen, prompt, history, historySize, complete } = options;
    this.#options = options;
    this.#screen = screen;
    this.#columns = columnsOf(screen);
    this.#editor = createInterface({
      input: process.stdin,
      output: screen,
      terminal: true,
      prompt,
      history,
      historySize,
      removeHistoryDuplicates: true,
      ...(complete === undefined ? {} : { completer: complete }),
    }) as Interface & ReadlineInternals;
    this.#editor.on("line", (line) => options.onLine(line, this.#isPasting));
    this.#editor.on("SIGINT", () => (this.#editor.line === "" ? options.onInterrupt() : this.#drop()));
    this.#editor.on("SIGTSTP", () => this.#suspend());
    this.#unguard = guardRawMode({ redraw: () => this.#showAgain(), endsBySignal: false });
    // The terminal was closed: it cannot be read, or its raw mode cannot be ended.
    this.#editor.on("error", () => setImmediate(() => this.#editor.close()));
    this.#editor.on("close", this.#onClose).on("close", options.onClose);
    process.stdin.prependListener("keypress", this.#beforeKey);
    screen.prependListener("resize", this.#beforeResize);
    process.on("exit", this.#markNoPastes); // when the process ends without `finish`
    this.#markPastes();
  }

  /** Shows the prompt and an empty line. */
  prompt(): void {
    this.#editor.prompt();
  }

  /** Runs `print` with the cursor above the line, then draws the line again. */
  printAbove(print: () => void): void {
    this.#wrapCursor();
    moveCursor(this.#screen, 0, -this.#editor.getCursorPos().rows);
    cursorTo(this.#screen, 0);
    clearScreenDown(this.#screen);
    print();
    this.#editor.prevRows = 0;
    this.#editor.prompt(true);
  }

  /** Erases `line` from the screen: the last line that was ended, with nothing printed since. */
  takeBack(line: string): void {
    const rows = cellAfter(this.#options.prompt + line, this.#columns).row + 1;
    if (rows >= this.#screen.rows) return; // its begin has scrolled off the screen
    moveCursor(this.#screen, 0, -rows);
    cursorTo(this.#screen, 0);
    clearScreenDown(this.#screen);
  }

  /** Ends the editor as Ctrl-D does. */
  close(): void {
    this.#editor.close();
  }

  /** Ends the editor without calling `onClose`, and removes all listeners. */
  finish(): void {
    this.#editor.off("close", this.#options.onClose).close();
    process.stdin.off("keypress", this.#beforeKey);
    this.#screen.off("resize", this.#beforeResize);
    process.off("exit", this.#markNoPastes);
    this.#unguard();
  }

  /** Erases an empty line, so that the next output takes its place; ends any other with a newline. */
  readonly #onClose = () => {
    this.#markNoPastes();
    if (this.#editor.line === "") {
      cursorTo(this.#screen, 0);
      clearScreenDown(this.#screen);
    } else this.#screen.write("\n");
  };

  /** Drops the line as a shell does: it stays on the screen, with `^C` behind it. */
  #drop(): void {
    this.#editor.write(null, { ctrl: true, name: "e" });
    this.#screen.write("^C\n");
    this.#editor.prevRows = 0;
    this.#editor.write(null, { ctrl: true, name: "u" });
  }

  #markPastes(): void {
    if (process.env["TERM"] !== "dumb") this.#screen.write(MARK_PASTES);
  }

  /** Writes to the descriptor, since the stream may be closed at the end of the process. */
  readonly #markNoPastes = () => {
    if (process.env["TERM"] === "dumb") return;
    try {
      writeSync(this.#screen.fd, MARK_NO_PASTES);
    } catch {
      // The terminal was closed.
    }
  };

  /** Sets what readline is about to use for the next key. */
  readonly #beforeKey = (_: unknown, { name }: Key = {}) => {
    const editor = this.#editor;
    if (name === "paste-start") this.#isPasting = true;
    if (this.#isPasting) editor.isCompletionEnabled = name === "paste-end";
    else if (editor.isCompletionEnabled) editor.prevRows = editor.getCursorPos().rows;
    if (name === "return" && editor.cursor === editor.line.length) this.#wrapCursor();
    else if (this.#isPasting && (name === "return" || name === "paste-end")) this.#redraw();
    if (name === "paste-end") this.#isPasting = false;
  };

  /** Stops the process at Ctrl-Z, with the cursor below the line for the shell. */
  #suspend(): void {
    const { row } = cellAfter(this.#options.prompt + this.#editor.line, this.#columns);
    moveCursor(this.#screen, 0, row - this.#editor.getCursorPos().rows);
    this.#markNoPastes();
    suspend();
  }

  #showAgain(): void {
    this.#markPastes();
    this.#editor.prevRows = 0; // the rows above were written by a shell
    this.#editor.prompt(true);
  }

  /** Draws the line again after a paste, whose text was shown over the rest of the line. */
  #redraw(): void {
    this.#wrapCursor();
    this.#editor.prevRows = this.#editor.getCursorPos().rows;
    this.#editor.prompt(true);
  }

  /**
   * Moves the cursor to where readline expects it. After a text that fills its row, a terminal goes to the next row only with the
   * next character.
   */
  #wrapCursor(): void {
    if (this.#editor.getCursorPos().cols === 0) this.#screen.write(" \r");
  }

  /** Computes the rows above the cursor at the new width, before readline redraws. */
  readonly #beforeResize = () => {
    const before = this.#columns;
    this.#columns = columnsOf(this.#screen);
    if (!rewraps(process.env)) return;
    const { line, cursor } = this.#editor;
    const { prompt } = this.#options;
    const { row, column } = cellAfter(prompt + line.slice(0, cursor), this.#columns);
    // After a line that filled its row readline has written a space, and the cursor is on it. After another line nothing was
    // written: at the edge the cursor stays in the full row (measured with tmux and Bun 1.4.5).
    const isLast = cursor === line.length && cellAfter(prompt + line, before).column > 0;
    this.#editor.prevRows = isLast && column === 0 ? Math.max(0, row - 1) : row;
  };
}

/** True when the terminal wraps its rows again after a change of width. xterm cuts them off instead. */
function rewraps({ TMUX, XTERM_VERSION }: NodeJS.ProcessEnv): boolean {
  return TMUX !== undefined || XTERM_VERSION === undefined;
}

/** The width of the terminal; Infinity when it is unknown, so that every text has one row. */
function columnsOf(screen: NodeJS.WriteStream): number {
  return screen.columns || Infinity;
}
