// The line that a person types: readline, and what it leaves undone. Whatever is printed meanwhile comes above it.
//
//     ann: hello                    print, then the line anew
//     > half of a line that takes   ← up to here, clear to the end of the screen
//     two rows▁
//
// readline keeps a private count of the rows above its cursor (`prevRows`), up which it goes to redraw. It must be right
// before every redraw, or messages are erased and pieces of the line stay (measured); it is wrong after something was
// printed, after several keys that came in one read, and once the terminal has another width: a terminal wraps anew
// what it shows, so that the line takes other rows than it was given.

import { writeSync } from "node:fs";
import { clearScreenDown, createInterface, cursorTo, moveCursor, type Interface } from "node:readline";
import { guardRawMode, suspend } from "./raw-mode.ts";
import { cellAfter } from "./wrapped-text.ts";

/** Asks the terminal to say where pasted text begins and ends: xterm's mode 2004, which nearly all have by now. */
const MARK_PASTES = "\x1b[?2004h";
const MARK_NO_PASTES = "\x1b[?2004l";

export interface LineEditorOptions {
  screen: NodeJS.WriteStream & { fd: number };
  prompt: string;
  /** Earlier lines, the latest first; at most `historySize` of them. */
  history: string[];
  historySize: number;
  /** What Tab completes: candidates, and the piece of the line that they complete. Without it a tab is text. */
  complete: ((line: string) => [string[], string]) | undefined;
  /** `isPasted`: it was ended by what was pasted, so that nobody has looked at it: text, and no command. */
  onLine: (line: string, isPasted: boolean) => void;
  /** Ctrl-C on an empty line; otherwise it drops the line. */
  onInterrupt: () => void;
  /** Ctrl-D, or the end of input; also when {@link LineEditor.close} is called. */
  onClose: () => void;
}

interface Key {
  name?: string;
}

/** What readline does not say of itself. */
interface Inside {
  prevRows: number;
  /** Off: what is typed is text, shown without a redraw. */
  isCompletionEnabled: boolean;
}

export class LineEditor {
  readonly #options: LineEditorOptions;
  readonly #screen: LineEditorOptions["screen"];
  readonly #editor: Interface & Inside;
  /** The width for which the line was drawn. */
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
    }) as Interface & Inside;
    this.#editor.on("line", (line) => options.onLine(line, this.#isPasting));
    this.#editor.on("SIGINT", () => (this.#editor.line === "" ? options.onInterrupt() : this.#drop()));
    this.#editor.on("SIGTSTP", () => this.#suspend());
    this.#unguard = guardRawMode({ redraw: () => this.#showAgain(), endsBySignal: false });
    // A terminal that is gone: its raw mode cannot be ended any more, or it cannot be read.
    this.#editor.on("error", () => setImmediate(() => this.#editor.close()));
    this.#editor.on("close", this.#leave).on("close", options.onClose);
    process.stdin.prependListener("keypress", this.#beforeKey);
    screen.prependListener("resize", this.#beforeResize);
    process.on("exit", this.#markNoPastes); // nobody closed it: what failed is elsewhere
    this.#markPastes();
  }

  /** Shows the prompt, and an empty line. */
  prompt(): void {
    this.#editor.prompt();
  }

  /** Prints something above the line. */
  printAbove(print: () => void): void {
    this.#settle();
    moveCursor(this.#screen, 0, -this.#editor.getCursorPos().rows);
    cursorTo(this.#screen, 0);
    clearScreenDown(this.#screen);
    print();
    this.#editor.prevRows = 0;
    this.#editor.prompt(true);
  }

  /** Takes back the line that was ended last, when nothing was printed since. */
  takeBack(line: string): void {
    const rows = cellAfter(this.#options.prompt + line, this.#columns).row + 1;
    if (rows >= this.#screen.rows) return; // scrolled away: what is gone cannot be taken back
    moveCursor(this.#screen, 0, -rows);
    cursorTo(this.#screen, 0);
    clearScreenDown(this.#screen);
  }

  /** As Ctrl-D does. */
  close(): void {
    this.#editor.close();
  }

  /** No more lines. */
  finish(): void {
    this.#editor.off("close", this.#options.onClose).close();
    process.stdin.off("keypress", this.#beforeKey);
    this.#screen.off("resize", this.#beforeResize);
    process.off("exit", this.#markNoPastes);
    this.#unguard();
  }

  /** An empty line is wiped away, since nobody answers it: what follows takes its place. */
  readonly #leave = () => {
    this.#markNoPastes();
    if (this.#editor.line === "") {
      cursorTo(this.#screen, 0);
      clearScreenDown(this.#screen);
    } else this.#screen.write("\n");
  };

  /** As a shell does: the line is dropped, and stays to be read. */
  #drop(): void {
    this.#editor.write(null, { ctrl: true, name: "e" });
    this.#screen.write("^C\n");
    this.#editor.prevRows = 0;
    this.#editor.write(null, { ctrl: true, name: "u" });
  }

  #markPastes(): void {
    if (process.env["TERM"] !== "dumb") this.#screen.write(MARK_PASTES);
  }

  /** Past the stream, which may be over by then. */
  readonly #markNoPastes = () => {
    if (process.env["TERM"] === "dumb") return;
    try {
      writeSync(this.#screen.fd, MARK_NO_PASTES);
    } catch {
      // There is no terminal any more.
    }
  };

  readonly #beforeKey = (_: unknown, { name }: Key = {}) => {
    const editor = this.#editor;
    if (name === "paste-start") this.#isPasting = true;
    if (this.#isPasting) editor.isCompletionEnabled = name === "paste-end";
    else if (editor.isCompletionEnabled) editor.prevRows = editor.getCursorPos().rows;
    if (name === "return" && editor.cursor === editor.line.length) this.#settle();
    else if (this.#isPasting && (name === "return" || name === "paste-end")) this.#redraw();
    if (name === "paste-end") this.#isPasting = false;
  };

  /** Before a shell takes the terminal: it goes on below the line. */
  #suspend(): void {
    const { row } = cellAfter(this.#options.prompt + this.#editor.line, this.#columns);
    moveCursor(this.#screen, 0, row - this.#editor.getCursorPos().rows);
    this.#markNoPastes();
    suspend();
  }

  #showAgain(): void {
    this.#markPastes();
    this.#editor.prevRows = 0; // what stands above is a shell's
    this.#editor.prompt(true);
  }

  /** What was pasted was shown as it came, over what stands behind it. */
  #redraw(): void {
    this.#settle();
    this.#editor.prevRows = this.#editor.getCursorPos().rows;
    this.#editor.prompt(true);
  }

  /** Where the text fills its row, a terminal stays there until something follows: then it is where readline thinks. */
  #settle(): void {
    if (this.#editor.getCursorPos().cols === 0) this.#screen.write(" \r");
  }

  /** Before readline draws its line for the new width. */
  readonly #beforeResize = () => {
    const before = this.#columns;
    this.#columns = columnsOf(this.#screen);
    if (!rewraps(process.env)) return;
    const { line, cursor } = this.#editor;
    const { prompt } = this.#options;
    const { row, column } = cellAfter(prompt + line.slice(0, cursor), this.#columns);
    // Behind a line that filled its row readline wrote a space, and stood on that. Nothing follows another: at the edge
    // the terminal stays in the row that is full (measured with tmux).
    const isLast = cursor === line.length && cellAfter(prompt + line, before).column > 0;
    this.#editor.prevRows = isLast && column === 0 ? Math.max(0, row - 1) : row;
  };
}

/** Does the terminal wrap anew what it shows, when its width changes? xterm cuts it off instead. */
function rewraps({ TMUX, XTERM_VERSION }: NodeJS.ProcessEnv): boolean {
  return TMUX !== undefined || XTERM_VERSION === undefined;
}

/** None is known: everything is one row. */
function columnsOf(screen: NodeJS.WriteStream): number {
  return screen.columns || Infinity;
}
