// Signals that end a process, listened to only where they would have ended it.

import { constants } from "node:os";
import { pointerCall } from "./libc.ts";

export type EndingSignal = "SIGINT" | "SIGTERM" | "SIGHUP";
const ENDING_SIGNALS: readonly EndingSignal[] = ["SIGINT", "SIGTERM", "SIGHUP"];

/** SIG_IGN, the same on Linux and macOS. */
const IGNORE = 1;

const ignored = new Map<EndingSignal, boolean>();

/**
 * Calls `listener` at each signal that ends a process, but for those that the process was started to ignore: SIGHUP by
 * nohup(1), SIGINT by a script's `&`. Returns the end of that.
 */
export function onEndingSignal(listener: (signal: EndingSignal) => void): () => void {
  const signals = ENDING_SIGNALS.filter((signal) => !isIgnored(signal));
  for (const signal of signals) process.on(signal, listener);
  return () => {
    for (const signal of signals) process.off(signal, listener);
  };
}

/** As it was before anything listened: the end of listening sets a signal to its default. */
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
