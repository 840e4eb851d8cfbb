// How a conversation ends is a promise: for every outcome, in every situation, the exit code, and the sentence that says
// what is missing.

import { describe, expect, test } from "bun:test";
import type { Outcome } from "../../../src/client/client.ts";
import { ParleyError } from "../../../src/base/errors.ts";
import { exitCodeOf } from "../../../src/cli/exit-codes.ts";
import {
  conclude,
  concludeLogout,
  nameUnconfirmed,
  sayLoss,
  type Counts,
  type Wishes,
} from "../../../src/cli/connect/outcome.ts";

const bye = (code: string, status?: number): Outcome => {
  return { kind: "bye", code, message: `because of ${code}`, status, early: false };
};

const OUTCOMES = {
  done: bye("done"),
  "done, 0": bye("done", 0),
  "done, 3": bye("done", 3),
  "done, 256": bye("done", 256),
  "done, -1": bye("done", -1),
  ended: { kind: "ended", early: false },
  left: { kind: "left" },
  lost: { kind: "lost", reason: "the connection was reset" },
  fault: { kind: "fault", reason: "frame of 9 bytes is over the limit of 8" },
  protocol_mismatch: { kind: "protocol_mismatch", reason: "the server uses TLS: use --tls" },
  service_failed: bye("service_failed"),
  bad_length: bye("bad_length"),
  bad_message: bye("bad_message"),
  revoked: bye("revoked"),
  shutting_down: bye("shutting_down"),
  idle: bye("idle"),
  timeout: bye("timeout"),
  too_slow: bye("too_slow"),
} satisfies Record<string, Outcome>;

/** Five messages were sent and confirmed, and three answers came. */
const WHOLE: Counts = {
  sent: 5,
  received: 3,
  unacknowledged: 0,
  unconfirmed: 0,
  answersMayBeMissing: false,
  inputEnded: true,
};

const COUNTS = {
  whole: WHOLE,
  "2 unconfirmed": { ...WHOLE, unacknowledged: 2 },
  "2 of a gone session": { ...WHOLE, unconfirmed: 2 },
  "answers missing": { ...WHOLE, answersMayBeMissing: true },
  "input open": { ...WHOLE, inputEnded: false },
  bare: { ...WHOLE, unacknowledged: undefined },
  "nothing sent": { ...WHOLE, sent: 0 },
} satisfies Record<string, Counts>;

const PIPED: Wishes = { byHand: false, count: undefined, isKeys: false, wantsStatus: false };
const WISHES = {
  piped: PIPED,
  "by hand": { ...PIPED, byHand: true },
  "--count 3": { ...PIPED, count: 3 },
  "--count 4": { ...PIPED, count: 4 },
  "--exit-status": { ...PIPED, wantsStatus: true },
  "--exit-status --count 3": { ...PIPED, count: 3, wantsStatus: true },
} satisfies Record<string, Wishes>;

type OutcomeName = keyof typeof OUTCOMES;
type CountsName = keyof typeof COUNTS;
type WishesName = keyof typeof WISHES;

function end(outcome: OutcomeName, counts: CountsName, wishes: WishesName): ParleyError | number {
  try {
    return conclude(OUTCOMES[outcome], COUNTS[counts], WISHES[wishes]);
  } catch (error) {
    if (error instanceof ParleyError) return error;
    throw error;
  }
}

const codeOf = (ended: ParleyError | number) => (typeof ended === "number" ? ended : exitCodeOf(ended));
const names = <Name extends string>(all: Record<Name, unknown>) => Object.keys(all) as Name[];

/** Outcomes whose exit code depends on nothing else, but for a loss: there was nothing to lose where nothing was sent. */
const ALWAYS = {
  lost: 6,
  fault: 6,
  protocol_mismatch: 1,
  service_failed: 1,
  bad_length: 1,
  bad_message: 1,
  revoked: 5,
  shutting_down: 5,
  idle: 5,
  timeout: 5,
  too_slow: 5,
} as const satisfies Partial<Record<OutcomeName, number>>;

/** Outcomes that are no more than their name where `--exit-status` is not given. */
const SAME = {
  "done, 0": "done",
  "done, 3": "done",
  "done, 256": "done",
  "done, -1": "done",
  ended: "done",
} as const;

/** Exit codes of the others: a column for each of COUNTS, in its order. */
const CODES: Record<WishesName, { done: string; left: string }> = {
  //           whole, 2 unconfirmed, 2 of a gone session, answers missing, input open, bare, nothing sent
  piped: { done: "0 6 6 6 6 0 0", left: "0 6 6 6 0 6 0" },
  // A person sees which answers came, and whether there was more to say.
  "by hand": { done: "0 6 6 6 0 0 0", left: "0 6 6 6 0 0 0" },
  // As many answers as were wanted have come, or one fewer.
  "--count 3": { done: "0 6 6 6 0 0 0", left: "0 6 6 6 0 6 0" },
  "--count 4": { done: "1 6 6 6 6 1 1", left: "0 6 6 6 0 6 0" },
  "--exit-status": { done: "0 6 6 6 6 0 0", left: "1 6 6 6 1 6 1" },
  "--exit-status --count 3": { done: "0 6 6 6 0 0 0", left: "1 6 6 6 1 6 1" },
};

/** A program's failure is the exit code, whatever it left unread; its success is not enough. */
const STATUS = { "done, 3": 3, "done, 256": 1, "done, -1": 255 } as const;

describe.each(names(WISHES))("the exit code of a conversation, %s,", (wishes) => {
  const codes = (outcome: OutcomeName) => names(COUNTS).map((counts) => codeOf(end(outcome, counts, wishes)));

  test.each(names(ALWAYS))("that ended as %s", (outcome) => {
    const wanted = names(COUNTS).map((counts) =>
      ["lost", "fault"].includes(outcome) && counts === "nothing sent" ? 1 : ALWAYS[outcome],
    );
    expect(codes(outcome)).toEqual(wanted);
  });

  test.each(["done", "left"] as const)("that ended as %s", (outcome) => {
    expect(codes(outcome).join(" ")).toBe(CODES[wishes][outcome]);
  });

  test.each(names(SAME))("that ended as %s", (outcome) => {
    const status =
      WISHES[wishes].wantsStatus && outcome in STATUS ? STATUS[outcome as keyof typeof STATUS] : undefined;
    const wanted =
      status === undefined
        ? CODES[wishes].done
        : names(COUNTS)
            .map(() => status)
            .join(" ");
    expect(codes(outcome).join(" ")).toBe(wanted);
  });
});

test("every outcome is in one of the tables", () => {
  expect([...names(ALWAYS), "done", "left", ...names(SAME)].toSorted()).toEqual(names(OUTCOMES).toSorted());
});

describe("the sentence of a conversation", () => {
  test.each<[OutcomeName, CountsName, WishesName, string]>([
    ["done", "2 unconfirmed", "piped", "2 messages were never confirmed: sent 5 (3 confirmed), received 3"],
    [
      "done",
      "2 of a gone session",
      "by hand",
      "2 messages were never confirmed: sent 5 (3 confirmed), received 3",
    ],
    [
      "done",
      "answers missing",
      "piped",
      "the server lost the session, and answers may be missing: " + "sent 5 (5 confirmed), received 3",
    ],
    [
      "ended",
      "input open",
      "piped",
      "the server ended the session before the end of the input: sent 5 (5 confirmed), received 3",
    ],
    ["done", "whole", "--count 4", "received 3 of 4 answers"],
    [
      "left",
      "2 unconfirmed",
      "--count 3",
      "the server did not confirm every message: sent 5 (3 confirmed), received 3",
    ],
    ["left", "bare", "--count 3", "the server did not confirm every message: sent 5, received 3"],
    [
      "lost",
      "2 unconfirmed",
      "piped",
      "the connection was reset before the session ended: sent 5 (3 confirmed), received 3",
    ],
    [
      "lost",
      "bare",
      "piped",
      "the connection was reset before the session ended: sent 5, received 3; " +
        "it is unknown whether all of it arrived",
    ],
    [
      "fault",
      "bare",
      "piped",
      "frame of 9 bytes is over the limit of 8; sent 5, received 3; it is unknown whether all of it arrived",
    ],
    ["protocol_mismatch", "whole", "piped", "the server uses TLS: use --tls"],
    [
      "revoked",
      "whole",
      "by hand",
      "the server ended the session: because of revoked; sent 5 (5 confirmed), received 3",
    ],
    [
      "service_failed",
      "bare",
      "piped",
      "the server ended the session: because of service_failed; sent 5, received 3",
    ],
  ])("that ended as %s, %s, %s", (outcome, counts, wishes, message) => {
    const flaw = end(outcome, counts, wishes);
    expect(flaw).toBeInstanceOf(ParleyError);
    if (flaw instanceof ParleyError) expect([flaw.message, flaw.hint]).toEqual([message, undefined]);
  });

  test("whose program did not end in time says which flag to leave out", () => {
    expect(end("left", "whole", "--exit-status --count 3")).toMatchObject({
      message: "the remote program was still running 2 s after the last of the --count answers",
      hint: "leave out --exit-status or --count",
    });
  });

  test("that was lost for good says why there is no way back", () => {
    const reconnectFailed = { why: "its server is gone", hint: "start it again" };
    const lost = { kind: "lost", reason: "the connection was reset", reconnectFailed } as const;
    expect(sayLoss(lost)).toBe("the connection was reset; its server is gone");
    expect(sayLoss({ ...lost, reconnectFailed: { why: undefined } })).toBe("the connection was reset");
    expect(() => conclude(lost, WHOLE, PIPED)).toThrow(
      expect.objectContaining({
        message:
          "the connection was reset before the session ended; its server is gone: " +
          "sent 5 (5 confirmed), received 3",
        hint: "start it again",
      }),
    );
  });
});

test.each(names(OUTCOMES))("a logout that ended as %s is one only where the token was revoked", (outcome) => {
  const logOut = () => concludeLogout(OUTCOMES[outcome]);
  if (outcome === "revoked") expect(logOut).not.toThrow();
  else expect(logOut).toThrow("the server did not confirm the logout");
});

describe("messages that were never confirmed are named:", () => {
  const named = (...texts: string[]) => nameUnconfirmed(texts.map((text) => Buffer.from(text)));

  test("each, and of a long one its beginning", () => {
    expect(named()).toEqual([]);
    expect(named("one", "", "x".repeat(60), "ж".repeat(61))).toEqual([
      "not confirmed: one",
      "not confirmed: ",
      `not confirmed: ${"x".repeat(60)}`,
      `not confirmed: ${"ж".repeat(60)}…`,
    ]);
  });

  test("ten of them, and how many there are beside", () => {
    const many = (count: number) => named(...Array.from({ length: count }, (_, index) => `m${index}`));
    expect(many(10)).toHaveLength(10);
    expect(many(11).slice(9)).toEqual(["not confirmed: m9", "not confirmed: 1 further message"]);
    expect(many(1000).slice(9)).toEqual(["not confirmed: m9", "not confirmed: 990 further messages"]);
  });
});
