// While the terminal shows no key that is pressed: what signals do then.
//
//     a signal that ends the process   the terminal is put back first
//     SIGCONT                          raw mode, input and picture are made anew: a shell had the terminal meanwhile

/** Ctrl-Z, as a terminal in raw mode sends it. */
export const SUSPEND = "\u001a";

export interface RawMode {
  /** Shows again what the terminal has lost; called some time after the process went on. */
  redraw: () => void;
  /** Does whatever holds raw mode leave at the signals that end a process? Otherwise they end it here. */
  endsBySignal: boolean;
}

/** Watches over raw mode, which is on. Returns the end of that. */
export function guardRawMode({ redraw, endsBySignal }: RawMode): () => void {
  let isOver = false;
  const end = (signal: NodeJS.Signals) => {
    unguard();
    process.stdin.setRawMode(false);
    process.kill(process.pid, signal);
  };
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
  const unguard = () => {
    isOver = true;
    process.off("SIGCONT", goOn).off("SIGTERM", end).off("SIGINT", end).off("SIGHUP", end);
  };
  process.on("SIGCONT", goOn);
  if (endsBySignal) process.on("SIGTERM", end).on("SIGINT", end).on("SIGHUP", end);
  return unguard;
}

/** Stops the process, as Ctrl-Z does where a terminal is not in raw mode. */
export function suspend(): void {
  process.stdin.setRawMode(false);
  process.kill(process.pid, "SIGTSTP");
}
