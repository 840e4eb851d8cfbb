// What a server does on signals, and with errors that no other code has caught.

import { messageOf } from "../../base/errors.ts";
import { SAME_SIGNAL_MS } from "../../base/limits.ts";
import { sayDuration } from "../../base/units.ts";
import type { LogFile } from "../../log/log.ts";
import { plural } from "../../base/plural.ts";
import type { Server } from "../../server/server.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { notifySystemd } from "./ready.ts";

export interface SignalContext {
  file: LogFile;
  terminal: Terminal;
  drainMs: number;
  /** What HUP loads again beside the user file and the log; undefined: nothing. */
  reload: (() => Promise<void>) | undefined;
}

/**
 * Handles signals until the server has stopped. The first INT or TERM drains, the second one ends at once. HUP reloads users
 * and handler and reopens the log; where the terminal was closed, it is as TERM.
 */
export async function handleSignals(server: Server, context: SignalContext): Promise<void> {
  const { file, terminal, drainMs } = context;
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let firstAt: number | undefined;
  const stop = () => {
    const now = performance.now();
    if (firstAt !== undefined && now - firstAt < SAME_SIGNAL_MS) return;
    const again = firstAt !== undefined;
    firstAt ??= now;
    if (!again) notifySystemd("STOPPING=1", terminal);
    if (!again && terminal.isWatched && !terminal.hasHungUp && server.sessions > 0) {
      const count = plural(server.sessions, "session", ["has", "have"]);
      terminal.say(`stopping: ${count} ${sayDuration(drainMs)} to end; press Ctrl-C again to stop now`);
    }
    if (again) server.terminate();
    else void server.stop().then(resolve, reject);
  };
  const hangUp = () => {
    if (terminal.hasHungUp) return stop();
    server.reload();
    void context.reload?.();
    try {
      file.reopen();
    } catch (error) {
      terminal.say(`log not reopened: ${messageOf(error)}`);
    }
  };
  // A fault costs a line in the log, not every conversation.
  const fault = (error: unknown) => server.fault(error);
  process.on("uncaughtException", fault).on("unhandledRejection", fault);
  process.on("SIGINT", stop).on("SIGTERM", stop).on("SIGHUP", hangUp);
  try {
    const cut = await promise;
    if (cut > 0 && !terminal.hasHungUp)
      terminal.say(`cut off ${plural(cut, "connection")} that did not end in time`);
  } finally {
    process.off("uncaughtException", fault).off("unhandledRejection", fault);
    // The handlers of signals stay: without them another signal would end the process before its log is closed.
  }
}
