// The terminal of this process while it is joined to that of a program elsewhere: each key goes there as it is, and the output comes
// from there as it is.
//
//     raw ── SIGTSTP, or `suspend` ──→ as before ── SIGCONT ──→ raw ── leave, or the end of the process ──→ as before
//
// SIGSTOP leaves it raw; a shell has its own way to restore it, and SIGCONT makes it raw again.

import { ParleyError } from "../base/errors.ts";
import { MAX_WINDOW_CELLS } from "../base/limits.ts";
import { rawSettings, setTerminal, terminalSettings } from "../os/termios.ts";
import { stdout } from "./stdio.ts";

export interface RawTerminalEvents {
  /** Keys were typed. */
  keys(bytes: Uint8Array): void;
  /** The window has another size. */
  resized(): void;
  /** The process will be stopped. */
  stopping(): void;
  /** The process continues; a shell may have written to the screen. */
  continued(): void;
  /** The terminal is closed. */
  closed(): void;
}

/** A member of Node's terminal streams that their types lack: reads the size of the window. */
interface Refreshable {
  _refreshSize(): void;
}

export class RawTerminal {
  readonly #events: RawTerminalEvents;
  readonly #before: Uint8Array;
  readonly #raw: Uint8Array;
  #isRaw = false;
  #isOver = false;

  /** @throws {ParleyError} `failed` when standard input is no terminal. */
  constructor(events: RawTerminalEvents) {
    const before = terminalSettings(0);
    if (before === undefined) throw new ParleyError("failed", "standard input is no terminal");
    this.#events = events;
    this.#before = before;
    this.#raw = rawSettings(before);
    process.on("exit", this.#restore).on("SIGCONT", this.#continue).on("SIGTSTP", this.suspend);
    process.stdin.on("data", this.#onKeys).on("end", this.#onClosed).on("error", this.#onClosed);
    stdout.terminal.on("resize", this.#onResize);
    this.#makeRaw();
    process.stdin.resume();
  }

  /** Lets the kernel keep the keys that are typed. */
  pauseKeys(): void {
    process.stdin.pause();
  }

  resumeKeys(): void {
    if (!this.#isOver) process.stdin.resume();
  }

  /** Stops the process and the others of its job, as Ctrl-Z does on a terminal that is not raw. A signal is for the process alone. */
  readonly suspend = (signal?: NodeJS.Signals): void => {
    this.#events.stopping();
    this.#restore();
    process.off("SIGTSTP", this.suspend); // which makes it stop the process
    process.kill(signal === undefined ? 0 : process.pid, "SIGTSTP");
    setImmediate(() => {
      if (this.#isOver) return;
      process.on("SIGTSTP", this.suspend);
      if (!this.#isRaw) this.#continue(); // it was not stopped, since no shell waits for it
    });
  };

  /** Makes the terminal what it was before. */
  leave(): void {
    this.#isOver = true;
    process.off("exit", this.#restore).off("SIGCONT", this.#continue).off("SIGTSTP", this.suspend);
    process.stdin.off("data", this.#onKeys).off("end", this.#onClosed).pause();
    stdout.terminal.off("resize", this.#onResize);
    this.#restore();
  }

  #makeRaw(): void {
    this.#isRaw = true;
    setTerminal(0, this.#raw);
  }

  readonly #restore = () => {
    if (!this.#isRaw) return;
    this.#isRaw = false;
    setTerminal(0, this.#before);
  };

  readonly #continue = () => {
    if (this.#isOver) return;
    this.#makeRaw();
    (stdout.terminal as unknown as Refreshable)._refreshSize(); // in the background it was not signalled
    this.#events.continued();
  };

  readonly #onKeys = (bytes: Uint8Array) => this.#events.keys(bytes);
  readonly #onClosed = () => this.#events.closed();
  readonly #onResize = () => this.#events.resized();
}

/** The size of the window of this process; undefined when the terminal does not know it. */
export function windowSize(): { columns: number; rows: number } | undefined {
  const { columns, rows } = stdout.terminal;
  if (!(columns > 0 && rows > 0)) return undefined;
  return { columns: Math.min(columns, MAX_WINDOW_CELLS), rows: Math.min(rows, MAX_WINDOW_CELLS) };
}
