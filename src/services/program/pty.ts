// Starts a program on a terminal of its own, for `--pty`. Bun's Terminal cannot be paused, and takes everything that is written to
// it. So the program is held back from outside:
//
//     output   released ── 64 KiB wait to be read: hold ──→ held ── all was read ──→ released ── close ──→ discarded
//     input    a few KiB are written at once; the next ones once the kernel has taken them
//
// On Linux the hold is the terminal's own flow control, which the program cannot mistake for input. Elsewhere it is XOFF and XON,
// which a program in raw mode reads as input.

import { setTimeout as delay } from "node:timers/promises";
import { NEWLINE } from "../../base/line-splitter.ts";
import { MAX_TERMINAL_OUTPUT_BYTES, TERMINAL_OUTPUT_BYTES, TERMINAL_DRAIN_MS } from "../../base/limits.ts";
import { asInherited } from "../../os/process-limits.ts";
import { setFlow, terminalOf } from "../../os/terminals.ts";
import type { WindowSize } from "../../wire/message.ts";
import type { Input, Spawned } from "./pipes.ts";

/** Descriptors for each program: Bun has the terminal thrice, its other side, and a pidfd (measured with Bun 1.4.5). */
export const TERMINAL_DESCRIPTORS = 5;

/** XOFF. */
const HOLD_OUTPUT = "\x13";
/** XON. */
const RELEASE_OUTPUT = "\x11";
/** Ctrl-D. */
const END_OF_INPUT = 4;

/** The window of a program whose client is no terminal. */
const USUAL_WINDOW: WindowSize = { columns: 80, rows: 24 };

/** Starts a program. @throws {Error} when it cannot be started. */
export function spawnOnTerminal(
  argv: readonly string[],
  env: Record<string, string>,
  { columns, rows }: WindowSize = USUAL_WINDOW,
): Spawned {
  const output = new TerminalOutput();
  const input = new TerminalInput();
  const hungUp = Promise.withResolvers<void>();
  const child = asInherited(() =>
    Bun.spawn([...argv], {
      env: { TERM: "xterm-256color", ...env },
      detached: true,
      terminal: {
        cols: columns,
        rows,
        data: (_, bytes) => output.push(bytes),
        drain: () => input.drained(),
        exit: () => hungUp.resolve(),
      },
    }),
  );
  const { terminal } = child;
  if (terminal === undefined) throw new Error("Bun gave the process no terminal");
  output.hold = holdOf(terminal, child.pid);
  input.terminal = terminal;
  const close = () => {
    output.end();
    input.close();
    terminal.close();
  };
  // What was written last may be on its way. A process that the program leaves behind keeps the terminal open.
  void child.exited.then(() => Promise.race([hungUp.promise, delay(TERMINAL_DRAIN_MS)])).then(close);
  const resize = (size: WindowSize) => {
    if (!terminal.closed) terminal.resize(size.columns, size.rows);
  };
  return { child, input, output, errors: undefined, resize, discard: () => output.discard(), close };
}

type Hold = (isHeld: boolean) => boolean;

/** Holds the output of a terminal, or releases it; returns false when that is not possible now. */
function holdOf(terminal: Bun.Terminal, pid: number): Hold {
  const path = terminalOf(pid);
  if (path !== undefined) return (isHeld) => terminal.closed || setFlow(path, isHeld ? "hold" : "release");
  if (process.platform === "linux") return () => true; // it has ended already
  return (isHeld) => terminal.closed || terminal.write(isHeld ? HOLD_OUTPUT : RELEASE_OUTPUT) > 0;
}

/**
 * The longest piece that is written at once. Bun reports `drain` after each piece of less than 4 KiB, for a longer one only if the
 * kernel has not taken it at once (measured with Bun 1.4.5).
 */
const PIECE_BYTES = 2048;

class TerminalInput implements Input {
  terminal: Bun.Terminal | undefined;
  #queue: Uint8Array[] = [];
  #length = 0;
  /** Is a piece with the terminal, so that `drained` will be called? */
  #isWriting = false;
  #state: "open" | "ended" | "closed" = "open";
  #lastByte: number = NEWLINE;
  /** Resolves when the next message may be written. */
  #blocked: PromiseWithResolvers<void> | undefined;

  write(pieces: readonly Uint8Array[]): void | Promise<void> {
    if (this.#state !== "open") return undefined;
    for (const piece of pieces) this.#add(piece);
    this.#pump();
    if (this.#length <= PIECE_BYTES) return undefined;
    this.#blocked ??= Promise.withResolvers();
    return this.#blocked.promise;
  }

  end(): void {
    if (this.#state !== "open") return;
    this.#state = "ended";
    // After an unfinished line the first Ctrl-D only submits that line.
    this.#add(new Uint8Array(this.#lastByte === NEWLINE ? 1 : 2).fill(END_OF_INPUT));
    this.#pump();
  }

  /** Drops what is not written. */
  close(): void {
    this.#state = "closed";
    this.#queue = [];
    this.#length = 0;
    this.#blocked?.resolve();
  }

  /** The kernel has taken the last piece. */
  drained(): void {
    this.#isWriting = false;
    this.#pump();
    if (this.#length > PIECE_BYTES) return;
    this.#blocked?.resolve();
    this.#blocked = undefined;
  }

  #add(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#queue.push(piece);
    this.#length += piece.length;
    this.#lastByte = piece.at(-1) ?? NEWLINE;
  }

  #pump(): void {
    if (this.#isWriting || this.#length === 0 || this.terminal === undefined || this.terminal.closed) return;
    this.#isWriting = true;
    this.terminal.write(this.#take());
  }

  /** The first bytes of the queue. */
  #take(): Uint8Array {
    const taken: Uint8Array[] = [];
    for (let room = PIECE_BYTES; room > 0;) {
      const first = this.#queue[0];
      if (first === undefined) break;
      const part = first.subarray(0, room);
      if (part.length < first.length) this.#queue[0] = first.subarray(room);
      else this.#queue.shift();
      taken.push(part);
      room -= part.length;
      this.#length -= part.length;
    }
    return Buffer.concat(taken);
  }
}

/** What a chunk costs beside its bytes, about: a program may write single bytes. */
const CHUNK_COST_BYTES = 128;

/** How soon it is tried again to release output: no descriptor was left for it. */
const RELEASE_PAUSE_MS = 20;

/** The output of a terminal, kept until it is read. */
class TerminalOutput implements AsyncIterable<Uint8Array> {
  hold: Hold = () => false;
  #chunks: Uint8Array[] = [];
  #cost = 0;
  #held = false;
  #state: "open" | "discarded" | "ended" = "open";
  #wake: (() => void) | undefined;

  push(chunk: Uint8Array): void {
    if (this.#state !== "open") return;
    this.#cost += chunk.length + CHUNK_COST_BYTES;
    // Beyond that it goes on although it is held: a program can undo the hold, and the reader ends it then.
    if (this.#cost <= MAX_TERMINAL_OUTPUT_BYTES) this.#chunks.push(new Uint8Array(chunk)); // Bun uses the buffer again
    this.#wake?.();
    if (this.#cost >= TERMINAL_OUTPUT_BYTES) this.#held = this.hold(true) || this.#held;
  }

  /** No more is to be read: lets the program write what it likes, so that it can end. */
  discard(): void {
    if (this.#state === "ended") return;
    this.#state = "discarded";
    this.#chunks = [];
    this.#cost = 0;
    this.#release();
    this.#wake?.();
  }

  /** There is no more output. */
  end(): void {
    this.#state = "ended";
    this.#wake?.();
  }

  /** @throws {Error} when the program's output could not be held. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.#cost > MAX_TERMINAL_OUTPUT_BYTES)
        throw new Error("the output of its terminal could not be paused");
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#cost -= chunk.length + CHUNK_COST_BYTES;
        yield chunk;
      } else if (this.#state === "ended") {
        return;
      } else if (this.#release()) {
        await new Promise<void>((resolve) => (this.#wake = resolve));
      } else {
        await delay(RELEASE_PAUSE_MS);
      }
    }
  }

  /** Lets the program write on. False when that is not possible now. */
  #release(): boolean {
    if (this.#held) this.#held = !this.hold(false);
    return !this.#held;
  }
}
