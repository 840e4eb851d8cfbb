// What `connect` does after a lost connection: how often it comes back, and what it prints about that.

import { RETRY_FOR_MS } from "../../base/limits.ts";
import { usageError } from "../../base/errors.ts";
import { wrong, type Kind } from "../../base/option-kinds.ts";
import { plural } from "../../base/plural.ts";
import { sayDuration } from "../../base/units.ts";
import type { Retry } from "../../client/options.ts";
import { stderr } from "../../terminal/stdio.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import type { ConnectFlags } from "./flags.ts";
import type { JoinedTerminal } from "./joined-terminal.ts";
import { nameUnconfirmed } from "./outcome.ts";
import type { Printer } from "./printer.ts";

/** A number of tries, or `forever`. */
const RETRIES: Kind<number> = {
  hint: "N|forever",
  read(flag, text) {
    if (text === "forever") return Infinity;
    if (/^\d{1,7}$/.test(text)) return Number(text);
    throw wrong(flag, "number", text, "use a number of tries, or forever");
  },
};

interface RetryContext {
  printer: Printer;
  terminal: Terminal;
  joined: () => JoinedTerminal | undefined;
}

/** How long and how often to come back: for two minutes, unless `--retry` says something else. */
export function readRetry(flags: ConnectFlags): Pick<Retry, "times" | "forMs"> {
  const times = flags.read("retry", RETRIES);
  return times === undefined ? { times: Infinity, forMs: RETRY_FOR_MS } : { times, forMs: Infinity };
}

/** How often to come back after a loss, and what to print about it; undefined: a loss is the end. */
export function planRetry(
  flags: ConnectFlags,
  byHand: boolean,
  { printer, terminal, joined }: RetryContext,
): Retry | undefined {
  const isGiven = flags.isGiven("retry");
  if (flags.has("bare") || (!isGiven && !byHand)) {
    if (flags.has("resend")) throw usageError("--resend requires --retry");
    return undefined;
  }
  const often = readRetry(flags);
  if (often.times === 0) return undefined;
  return {
    ...often,
    resend: flags.has("resend"),
    fromStart: isGiven,
    onLost(reason) {
      const screen = joined();
      if (screen !== undefined) return screen.lost(reason);
      const printed = printer.event("lost", { reason });
      if (terminal.isWatched)
        terminal.note(`${reason}: reconnecting${byHand ? ", press Ctrl-C to quit" : ""}`);
      return printed ?? stderr.writable();
    },
    onResumed(event) {
      const screen = joined();
      if (screen !== undefined) return screen.resumed(event);
      const { afterMs, again, lost, isNew, answersMayBeMissing } = event;
      const unconfirmed = lost.length;
      void printer.event("resumed", { after: Math.round(afterMs), again, unconfirmed, new: isNew });
      const after = `reconnected after ${sayDuration(afterMs)}`;
      const sent = again === 0 ? "" : `, resent ${plural(again, "message")}`;
      if (unconfirmed > 0) {
        const what = plural(unconfirmed, "message", ["was", "were"]);
        terminal.say(`${after}, but the session was lost: ${what} never confirmed`);
        terminal.say(...nameUnconfirmed(lost));
      } else if (answersMayBeMissing) {
        terminal.say(`${after}, but the session was lost: answers may be missing`);
      } else {
        terminal.note(`${after}${sent}${isNew ? ", in a new session" : ", nothing lost"}`);
      }
    },
  };
}
