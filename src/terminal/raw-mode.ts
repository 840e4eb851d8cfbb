// What signals do while the terminal is in raw mode, in which it neither echoes keys nor turns Ctrl-C into a signal.
//
//     a signal that ends the process   raw mode is ended first
//     SIGCONT                          raw mode and input are restored and the screen is redrawn: a shell had the terminal
//
// The questions (prompts.ts) and the line editor call this.

import { onEndingSignal } from "../os/signals.ts";

/** The character that a terminal in raw mode sends for Ctrl-Z. */
export const SUSPEND = "\u001a";

/** The character that a terminal in raw mode sends for Ctrl-C. */
export const INTERRUPT = "\u0003";

export interface RawMode {
  /** Draws the screen again. Called after SIGCONT. */
  redraw: () => void;
  /** True: a signal that ends the process ends it here. False: the caller listens to those signals. */
  endsBySignal: boolean;
}

/** Handles signals while raw mode is on. @returns a function that ends this. */
export function guardRawMode({ redraw, endsBySignal }: RawMode): () => void {
  let isOver = false;
  const onContinue = () => {
    // After readline's own listener, which pauses the input.
    setImmediate(() => {
      if (isOver) return;
      process.stdin.setRawMode(false); // true alone has no effect after SIGCONT (measured with Bun 1.4.5)
      process.stdin.setRawMode(true);
      process.stdin.resume();
      redraw();
    });
  };
  const unlisten = endsBySignal
    ? onEndingSignal((signal) => {
        unguard();
        process.stdin.setRawMode(false);
        process.kill(process.pid, signal);
      })
    : undefined;
  const unguard = () => {
    isOver = true;
    process.off("SIGCONT", onContinue);
    unlisten?.();
  };
  process.on("SIGCONT", onContinue);
  return unguard;
}

/** Interrupts the process, as Ctrl-C does on a terminal that is not in raw mode. */
export function interrupt(): void {
  process.kill(process.pid, "SIGINT");
}

/** Stops the process and the others of its job, such as one that has started it and waits, as Ctrl-Z does without raw mode. */
export function suspend(): void {
  process.stdin.setRawMode(false);
  process.kill(0, "SIGTSTP");
}
