// The end of a conversation as an exit code, and as the sentence on stderr.
//
//     nothing is missing                              0
//     answers, or the service's success, are missing  failed        1
//     the connection was lost, and nothing was sent   network       1
//     the server ended it                             turned_away   5
//     messages may not have arrived                   unconfirmed   6
//
// `--exit-status` ends with the program's own status where it has one.

import type { Client, Outcome } from "../../client/client.ts";
import { ParleyError } from "../../base/errors.ts";
import { LINGER_MS } from "../../base/limits.ts";
import { plural } from "../../base/plural.ts";
import { sayDuration } from "../../base/units.ts";

/** The counts of a client at the end of its conversation. */
export type Counts = Pick<
  Client,
  "sent" | "received" | "unacknowledged" | "unconfirmed" | "answersMayBeMissing" | "inputEnded"
>;

/** What the flags ask for. */
export interface Wishes {
  /** A person at a terminal sees which answers came, and may leave at any time. */
  byHand: boolean;
  /** What was sent are the keys of a terminal. Those on their way at the end are dropped, as on any terminal. */
  isKeys: boolean;
  /** `--count`: how many answers are wanted. */
  count: number | undefined;
  /** `--exit-status`: the exit code is that of the remote program. */
  wantsStatus: boolean;
}

/** Codes of `bye` for a fault of the service, of its target or of a message; with any other the server turns the client away. */
const FAULTS: readonly string[] = ["service_failed", "unreachable", "reset", "bad_length", "bad_message"];

/**
 * The exit code of a conversation in which nothing is missing, or whose program's own status was wanted.
 *
 * @throws {ParleyError} that says what is missing; its code decides the exit code.
 */
export function conclude(outcome: Outcome, counts: Counts, wishes: Wishes): number {
  const status = wishes.wantsStatus ? statusOf(outcome) : undefined;
  if (status !== undefined && status !== 0) return status; // even where the program left messages unread
  const flaw = flawOf(outcome, counts, wishes);
  if (flaw !== undefined) throw flaw;
  return 0;
}

/** The exit code for the status of a program that came to its end; undefined where it did not. */
function statusOf(outcome: Outcome): number | undefined {
  if (outcome.kind !== "bye" || outcome.code !== "done" || outcome.status === undefined) return undefined;
  // 256 and its multiples are no success, and no exit code either.
  return outcome.status === 0 ? 0 : outcome.status & 0xff || 1;
}

function flawOf(outcome: Outcome, counts: Counts, wishes: Wishes): ParleyError | undefined {
  switch (outcome.kind) {
    case "protocol_mismatch":
      return new ParleyError("failed", outcome.reason);
    case "lost":
    case "fault":
      return flawOfLoss(outcome, counts);
    case "left":
      return flawOfLeaving(counts, wishes);
    case "bye":
      return outcome.code === "done" ? flawOfEnd(counts, wishes) : flawOfBye(outcome, counts);
    case "ended":
      return flawOfEnd(counts, wishes);
  }
}

type Loss = Extract<Outcome, { kind: "lost" | "fault" }>;

function flawOfLoss(outcome: Loss, counts: Counts): ParleyError {
  const code = counts.sent > 0 ? "unconfirmed" : "network";
  const unknown = counts.unacknowledged === undefined ? "; it is unknown whether all of it arrived" : "";
  const all = `${sayCounts(counts)}${unknown}`;
  if (outcome.kind === "fault")
    return new ParleyError(code, `${outcome.reason}; ${all}`, { hint: outcome.hint });
  const { hint } = outcome.reconnectFailed ?? {};
  const comma = outcome.reason.includes(",") ? "," : "";
  return new ParleyError(code, `${sayLoss(outcome, `${comma} before the session ended`)}: ${all}`, { hint });
}

/** The client left: after Ctrl-D, or after `--count` answers. */
function flawOfLeaving(counts: Counts, { byHand, isKeys, wantsStatus }: Wishes): ParleyError | undefined {
  const never = isKeys ? 0 : neverConfirmed(counts);
  if (counts.answersMayBeMissing) {
    return new ParleyError("unconfirmed", `${SESSION_GONE}: ${sayCounts(counts)}`);
  }
  if (byHand && never === 0) return undefined;
  if (never > 0 || counts.unacknowledged === undefined) {
    const message = `the server did not confirm every message: ${sayCounts(counts)}`;
    return new ParleyError("unconfirmed", message);
  }
  if (!wantsStatus) return undefined; // every answer that was wanted has come
  const late = `the remote program was still running ${sayDuration(LINGER_MS)} after the last of the --count answers`;
  return new ParleyError("failed", late, { hint: "leave out --exit-status or --count" });
}

/** The protocol says that a client must not report success then. */
const SESSION_GONE = "the server lost the session, and answers may be missing";

function flawOfBye({ code, message }: Extract<Outcome, { kind: "bye" }>, counts: Counts): ParleyError {
  const sentence = `the server ended the session: ${message}; ${sayCounts(counts)}`;
  return new ParleyError(FAULTS.includes(code) ? "failed" : "turned_away", sentence);
}

/** The conversation came to its end, on the server's word or with its FIN. */
function flawOfEnd(counts: Counts, { byHand, isKeys, count = 0 }: Wishes): ParleyError | undefined {
  const { received, inputEnded, answersMayBeMissing } = counts;
  const never = isKeys ? 0 : neverConfirmed(counts);
  const unconfirmed = (what: string) => new ParleyError("unconfirmed", `${what}: ${sayCounts(counts)}`);
  if (never > 0) return unconfirmed(`${plural(never, "message", ["was", "were"])} never confirmed`);
  if (answersMayBeMissing) return unconfirmed(SESSION_GONE);
  const mustBeWhole = !byHand && !(count > 0 && received >= count);
  if (mustBeWhole && !inputEnded)
    return unconfirmed("the server ended the session before the end of the input");
  if (received >= count) return undefined;
  return new ParleyError("failed", `received ${received} of ${plural(count, "answer")}`);
}

function neverConfirmed({ unconfirmed, unacknowledged = 0 }: Counts): number {
  return unconfirmed + unacknowledged;
}

function sayCounts(counts: Counts): string {
  const { sent, received, unacknowledged } = counts;
  const confirmed = unacknowledged === undefined ? "" : ` (${sent - neverConfirmed(counts)} confirmed)`;
  return `sent ${sent}${confirmed}, received ${received}`;
}

/** The reason of a loss, followed by `when`, and why the client could not come back, where it tried to. */
export function sayLoss(outcome: Loss, when = ""): string {
  const why = outcome.kind === "lost" ? outcome.reconnectFailed?.why : undefined;
  return `${outcome.reason}${when}${why === undefined ? "" : `; ${why}`}`;
}

/** @throws {ParleyError} `failed` unless the server has ended the token. */
export function concludeLogout(outcome: Outcome): void {
  if (outcome.kind === "bye" && outcome.code === "revoked") return;
  throw new ParleyError("failed", "the server did not confirm the logout", {
    hint: "the token is deleted here; ask the server's operator to end it with: parley users revoke ID",
  });
}

/** How many messages are named. */
const MAX_NAMED = 10;
/** How many characters of a message are shown. */
const MAX_NAMED_LENGTH = 60;

/** Lines that name the first of the messages that were never confirmed, so that a person can send them again. */
export function nameUnconfirmed(messages: readonly Uint8Array[]): string[] {
  const lines = messages.slice(0, MAX_NAMED).map((message) => {
    const text = Buffer.from(message.subarray(0, 4 * MAX_NAMED_LENGTH)).toString();
    const shown = text.length > MAX_NAMED_LENGTH ? `${text.slice(0, MAX_NAMED_LENGTH)}…` : text;
    return `not confirmed: ${shown}`;
  });
  const more = messages.length - MAX_NAMED;
  return more > 0 ? [...lines, `not confirmed: ${plural(more, "further message")}`] : lines;
}
