// How a conversation ended, and what that means for the exit code and the sentence on stderr.
//
//     nothing is missing                              0
//     answers, or the service's success, are missing  failed        1
//     the server ended it                             turned_away   5
//     messages may not have arrived                   unconfirmed   6
//
// `--exit-status` ends with the program's own status where it has one.

import type { Client, Outcome } from "../../client/client.ts";
import { ParleyError } from "../../base/errors.ts";
import { LINGER_MS } from "../../base/limits.ts";
import { plural } from "../../base/plural.ts";
import { sayDuration } from "../../base/units.ts";

/** What a client has counted until the end. */
export type Counts = Pick<
  Client,
  "sent" | "received" | "unacknowledged" | "unconfirmed" | "answersMayBeMissing" | "inputEnded"
>;

/** What was asked for. */
export interface Wishes {
  /** A person at a terminal sees what is missing, and leaves whenever that is enough. */
  byHand: boolean;
  /** `--count`: so many answers. */
  count: number | undefined;
  /** `--exit-status`. */
  wantsStatus: boolean;
}

/** Codes of `bye` that are faults, of the service or of what it was sent; the server ends with any other for reasons of its own. */
const FAULTS: readonly string[] = ["service_failed", "bad_length", "bad_message"];

/**
 * The exit code of a conversation in which nothing is missing, or whose program's own status was wanted.
 *
 * @throws {ParleyError} that says what is missing; its code decides the exit code.
 */
export function conclude(outcome: Outcome, counts: Counts, wishes: Wishes): number {
  const status = wishes.wantsStatus ? statusOf(outcome) : undefined;
  if (status !== undefined && status !== 0) return status; // the program's own end, whatever it left unread
  const flaw = flawOf(outcome, counts, wishes);
  if (flaw !== undefined) throw flaw;
  return 0;
}

/** The exit code for the status of a program that came to its end; undefined: it did not, or has none. */
function statusOf(outcome: Outcome): number | undefined {
  if (outcome.kind !== "bye" || outcome.code !== "done" || outcome.status === undefined) return undefined;
  // A status that does not fit an exit code is no success either.
  return outcome.status === 0 ? 0 : outcome.status & 0xff || 1;
}

function flawOf(outcome: Outcome, counts: Counts, wishes: Wishes): ParleyError | undefined {
  switch (outcome.kind) {
    case "misfit":
      return new ParleyError("failed", outcome.reason);
    case "lost":
      return flawOfLoss(outcome, counts);
    case "left":
      return flawOfLeaving(counts, wishes);
    case "bye":
      return outcome.code === "done" ? flawOfEnd(counts, wishes) : flawOfBye(outcome, counts);
    case "ended":
      return flawOfEnd(counts, wishes);
  }
}

function flawOfLoss(outcome: Extract<Outcome, { kind: "lost" }>, counts: Counts): ParleyError {
  const code = counts.sent > 0 ? "unconfirmed" : "failed";
  const unknown = counts.unacknowledged === undefined ? "; whether all arrived is not known" : "";
  const loss = sayLoss(outcome, " before the conversation was over");
  return new ParleyError(code, `${loss}: ${sayCounts(counts)}${unknown}`, { hint: outcome.noReturn?.hint });
}

/** We left: with Ctrl-D, or because `--count` answers had come. */
function flawOfLeaving(counts: Counts, { byHand, wantsStatus }: Wishes): ParleyError | undefined {
  const never = neverConfirmed(counts);
  if (byHand && never === 0) return undefined;
  if (never > 0 || counts.unacknowledged === undefined) {
    const message = `the server did not confirm that it took everything: ${sayCounts(counts)}`;
    return new ParleyError("unconfirmed", message);
  }
  if (!wantsStatus) return undefined; // the answers that were wanted have come, and any other is not
  const late = `the program there had not ended ${sayDuration(LINGER_MS)} after the last answer that was wanted`;
  return new ParleyError("failed", late, { hint: "leave --exit-status out, or --count" });
}

function flawOfBye({ code, message }: Extract<Outcome, { kind: "bye" }>, counts: Counts): ParleyError {
  const sentence = `the server ended the conversation: ${message} (${sayCounts(counts)})`;
  return new ParleyError(FAULTS.includes(code) ? "failed" : "turned_away", sentence);
}

/** The conversation came to its end. */
function flawOfEnd(counts: Counts, { byHand, count = 0 }: Wishes): ParleyError | undefined {
  const { received, inputEnded, answersMayBeMissing } = counts;
  const never = neverConfirmed(counts);
  const unconfirmed = (what: string) => new ParleyError("unconfirmed", `${what}: ${sayCounts(counts)}`);
  if (never > 0) return unconfirmed(`${plural(never, "message", ["was", "were"])} never confirmed`);
  const mustBeWhole = !byHand && !(count > 0 && received >= count);
  if (mustBeWhole && answersMayBeMissing) {
    return unconfirmed(
      "the session was gone before the server had said that it was done: answers may be missing",
    );
  }
  if (mustBeWhole && !inputEnded)
    return unconfirmed("the server ended the conversation before the input ended");
  if (received >= count) return undefined;
  return new ParleyError("failed", `only ${plural(received, "answer")} came, not ${count}`);
}

function neverConfirmed({ unconfirmed, unacknowledged = 0 }: Counts): number {
  return unconfirmed + unacknowledged;
}

function sayCounts(counts: Counts): string {
  const { sent, received, unacknowledged } = counts;
  const confirmed =
    unacknowledged === undefined ? "" : `, ${sent - neverConfirmed(counts)} of them confirmed`;
  return `${plural(sent, "message")} sent${confirmed}, ${plural(received, "answer")} received`;
}

/** What was lost, and `when`; and why the client did not come back, where that was tried. */
export function sayLoss({ reason, noReturn }: Extract<Outcome, { kind: "lost" }>, when = ""): string {
  return `${reason}${when}${noReturn?.why === undefined ? "" : `, and ${noReturn.why}`}`;
}

/** @throws {ParleyError} `failed` unless the server has ended the token. */
export function concludeLogout(outcome: Outcome): void {
  if (outcome.kind === "bye" && outcome.code === "revoked") return;
  throw new ParleyError("failed", "the server did not confirm the logout", {
    hint: "the token is forgotten here; its operator can end it with: parley users revoke ID",
  });
}

/** Messages that are named, and how much of each. */
const MAX_NAMED = 10;
const MAX_NAMED_LENGTH = 60;

/** Lines that name messages which were never confirmed, the first ones, so that they can be sent again. */
export function nameUnconfirmed(messages: readonly Uint8Array[]): string[] {
  const lines = messages.slice(0, MAX_NAMED).map((message) => {
    const text = Buffer.from(message.subarray(0, 4 * MAX_NAMED_LENGTH)).toString();
    const shown = text.length > MAX_NAMED_LENGTH ? `${text.slice(0, MAX_NAMED_LENGTH)}…` : text;
    return `not confirmed: ${shown}`;
  });
  const more = messages.length - MAX_NAMED;
  return more > 0 ? [...lines, `not confirmed: ${plural(more, "further message")}`] : lines;
}
