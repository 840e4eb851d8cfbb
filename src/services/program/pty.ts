// Starts a program on a terminal of its own, for `--pty`. Bun's Terminal cannot be paused, so a program that writes more than the
// client reads is stopped with the terminal's own flow control, XOFF and XON.
//
//     released ── 64 KiB wait to be read: XOFF ──→ held ── all was read: XON ──→ released

import { NEWLINE } from "../../base/line-splitter.ts";
import { asInherited } from "../../os/process-limits.ts";
import type { Input, Spawned } from "./pipes.ts";

/** XOFF. */
const HOLD_OUTPUT = "\x13";
/** XON. */
const RELEASE_OUTPUT = "\x11";
/** Ctrl-D. */
const END_OF_INPUT = "\x04";
/** Unread bytes from which on output is held. */
const MAX_UNREAD_BYTES = 64 * 1024;

/** Starts a program. @throws {Error} when it cannot be started. */
export function spawnOnTerminal(argv: readonly string[], env: Record<string, string>): Spawned {
  const output = new TerminalOutput();
  const child = asInherited(() =>
    Bun.spawn([...argv], {
      env: { TERM: "xterm-256color", ...env },
      detached: true,
      terminal: {
        cols: 80,
        rows: 24,
        data: (terminal, bytes) => {
          if (output.push(bytes)) terminal.write(HOLD_OUTPUT);
        },
      },
    }),
  );
  const { terminal } = child;
  if (terminal === undefined) throw new Error("no terminal was given");
  output.released = () => terminal.write(RELEASE_OUTPUT);
  void child.exited.then(() => setImmediate(() => output.end()));
  let lastByte: number | undefined;
  const input: Input = {
    write: (pieces) => {
      for (const piece of pieces) {
        terminal.write(piece);
        lastByte = piece.at(-1) ?? lastByte;
      }
    },
    end: () => {
      if (terminal.closed) return;
      // After an unfinished line the first Ctrl-D only submits that line.
      terminal.write(lastByte === NEWLINE || lastByte === undefined ? END_OF_INPUT : END_OF_INPUT.repeat(2));
    },
  };
  return { child, input, output };
}

/** The output of a terminal, kept until it is read. */
class TerminalOutput implements AsyncIterable<Uint8Array> {
  /** Called when all was read and output need not be held any longer. */
  released: (() => void) | undefined;
  #chunks: Uint8Array[] = [];
  #length = 0;
  #held = false;
  #ended = false;
  #wake: (() => void) | undefined;

  /** Adds a chunk. @returns true when output must be held from now on. */
  push(chunk: Uint8Array): boolean {
    this.#chunks.push(new Uint8Array(chunk)); // a copy, since Bun uses the buffer again
    this.#length += chunk.length;
    this.#wake?.();
    if (this.#held || this.#length < MAX_UNREAD_BYTES) return false;
    this.#held = true;
    return true;
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#length -= chunk.length;
        yield chunk;
      } else if (this.#ended) {
        return;
      } else {
        if (this.#held) this.released?.();
        this.#held = false;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    }
  }
}
