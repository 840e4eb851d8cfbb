// Listens to the signals that end a process: SIGINT, SIGTERM and SIGHUP. A signal that the process was started to ignore stays
// ignored. The commands of cli/ and raw mode (terminal/) listen.

import { constants } from "node:os";
import { pointerCall } from "./libc.ts";

export type EndingSignal = "SIGINT" | "SIGTERM" | "SIGHUP";
const ENDING_SIGNALS: readonly EndingSignal[] = ["SIGINT", "SIGTERM", "SIGHUP"];

/** SIG_IGN, the same on Linux and macOS. */
const IGNORE = 1;

/** Whether each signal was ignored before anything listened to it. */
const ignored = new Map<EndingSignal, boolean>();

/**
 * Calls `listener` for each signal that ends a process, except those that the process was started to ignore: SIGHUP under
 * nohup(1), SIGINT after `&` in a script.
 *
 * @returns a function that stops listening.
 */
export function onEndingSignal(listener: (signal: EndingSignal) => void): () => void {
  const signals = ENDING_SIGNALS.filter((signal) => !isIgnored(signal));
  for (const signal of signals) process.on(signal, listener);
  return () => {
    for (const signal of signals) process.off(signal, listener);
  };
}

/** True when the process was started to ignore `signal`. Asked once: removing a listener sets a signal to its default. */
function isIgnored(signal: EndingSignal): boolean {
  const known = ignored.get(signal);
  if (known !== undefined) return known;
  const number = constants.signals[signal];
  const setHandler = pointerCall("signal", ["i32", "usize"]);
  const before = Number(setHandler(number, IGNORE) ?? 0);
  setHandler(number, before);
  ignored.set(signal, before === IGNORE);
  return before === IGNORE;
}
