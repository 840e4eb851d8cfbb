// While the terminal shows no key that is pressed: what signals do then.
//
//     a signal that ends the process   the terminal is put back first
//     SIGCONT                          raw mode, input and picture are made anew: a shell had the terminal meanwhile

import { onEndingSignal } from "../os/signals.ts";

/** Ctrl-Z, as a terminal in raw mode sends it. */
export const SUSPEND = "\u001a";

/** Ctrl-C, likewise. */
export const INTERRUPT = "\u0003";

export interface RawMode {
  /** Shows again what the terminal has lost; called some time after the process went on. */
  redraw: () => void;
  /** The signals that end a process end it here; otherwise whatever holds raw mode listens to them. */
  endsBySignal: boolean;
}

/** Watches over raw mode, which is on. Returns the end of that. */
export function guardRawMode({ redraw, endsBySignal }: RawMode): () => void {
  let isOver = false;
  const goOn = () => {
    // After readline, which pauses its input.
    setImmediate(() => {
      if (isOver) return;
      process.stdin.setRawMode(false); // on alone does nothing after SIGCONT (measured with Bun 1.4.5)
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
    process.off("SIGCONT", goOn);
    unlisten?.();
  };
  process.on("SIGCONT", goOn);
  return unguard;
}

/** Interrupts the process, as Ctrl-C does where a terminal is not in raw mode. */
export function interrupt(): void {
  process.kill(process.pid, "SIGINT");
}

/** Stops the process, as Ctrl-Z does where a terminal is not in raw mode. */
export function suspend(): void {
  process.stdin.setRawMode(false);
  process.kill(process.pid, "SIGTSTP");
}
