// What signals ask of a server, and the faults that nobody else has caught.

import { messageOf } from "../../base/errors.ts";
import { sayDuration } from "../../base/units.ts";
import type { LogFile, Logger } from "../../log/log.ts";
import { plural } from "../../base/plural.ts";
import type { Server } from "../../server/server.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { notifySystemd } from "./ready.ts";

/** A second Ctrl-C within this is the same one: `bun run` passes each on twice (measured). In milliseconds. */
const SAME_SIGNAL_MS = 500;

export interface SignalContext {
  log: Logger;
  file: LogFile;
  terminal: Terminal;
  drainMs: number;
  /** Loads what HUP asks to load again, beside users and log. */
  reload: (() => Promise<void>) | undefined;
}

/**
 * INT and TERM: drain, and again: at once. HUP: reload and reopen; when the terminal was closed, as TERM. Resolves when
 * the server has stopped.
 */
export async function handleSignals(server: Server, context: SignalContext): Promise<void> {
  const { log, file, terminal, drainMs } = context;
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let firstAt: number | undefined;
  const stop = () => {
    const now = performance.now();
    if (firstAt !== undefined && now - firstAt < SAME_SIGNAL_MS) return;
    const again = firstAt !== undefined;
    firstAt ??= now;
    if (!again) notifySystemd("STOPPING=1", terminal);
    if (!again && terminal.isWatched && !terminal.hasHungUp && server.sessions > 0) {
      const count = plural(server.sessions, "conversation", ["has", "have"]);
      terminal.say(`stopping: ${count} ${sayDuration(drainMs)} to end; Ctrl-C again ends at once`);
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
      terminal.say(`the log cannot be reopened: ${messageOf(error)}`);
    }
  };
  // The net below everything: a fault costs a log line, not everybody's conversation.
  const fault = (error: unknown) => log.error("internal-error", { reason: Bun.inspect(error) });
  process.on("uncaughtException", fault).on("unhandledRejection", fault);
  process.on("SIGINT", stop).on("SIGTERM", stop).on("SIGHUP", hangUp);
  try {
    const cut = await promise;
    if (cut > 0 && !terminal.hasHungUp) terminal.say(`${plural(cut, "connection")} had to be cut off`);
  } finally {
    process.off("uncaughtException", fault).off("unhandledRejection", fault);
    // Signals are listened to until the process is gone: one more would end it before its log is closed.
  }
}
