// Who may come in: the order of the rules, the chance of being refused, who makes way for whom, and who is held.

import { afterEach, beforeEach, describe, expect, jest, spyOn, test } from "bun:test";
import { Cidr } from "../../src/base/address.ts";
import {
  LOOPBACK_PENALTY_MAX_MS,
  MAX_PROVING,
  MAX_PROVING_PER_ADDRESS,
  PENDING_GRACE_MS,
  PENDING_HOLD_MS,
} from "../../src/base/limits.ts";
import { Admission, type AdmissionOptions, type PendingPeer, type Refusal } from "../../src/net/admission.ts";
import { Penalties } from "../../src/net/penalties.ts";

const OPTIONS: AdmissionOptions = {
  maxConnections: 100,
  maxPending: { start: 50, rate: 30, full: 100 },
  maxPendingPerAddress: 50,
  penalties: undefined,
  penaltyExempt: [],
  allow: [],
  deny: [],
};
const admissionOf = (options: Partial<AdmissionOptions> = {}) => new Admission({ ...OPTIONS, ...options });
const networks = (...texts: string[]) => texts.flatMap((text) => Cidr.parse(text) ?? []);

interface TestGuest extends PendingPeer {
  decision: Refusal | "in" | undefined;
  madeWay: boolean;
}

/** Somebody who wants to come in, `age` milliseconds after the beginning. */
function knock(
  admission: Admission,
  address: string,
  { since = 0, idle = true, connections = 0 }: { since?: number; idle?: boolean; connections?: number } = {},
): TestGuest {
  const guest: TestGuest = {
    address,
    since,
    decision: undefined,
    madeWay: false,
    isIdle: () => idle,
    evict: () => (guest.madeWay = true),
  };
  admission.admit(guest, connections, (refusal) => (guest.decision = refusal ?? "in"));
  return guest;
}

const codeOf = ({ decision }: TestGuest) => (typeof decision === "object" ? decision.code : decision);
const crowd = (admission: Admission, count: number, address: (n: number) => string, idle = true) =>
  Array.from({ length: count }, (_, n) => knock(admission, address(n), { idle }));

test("short of descriptors a newcomer is told full, and when to come back", () => {
  let room = 1;
  const admission = admissionOf({ hasRoom: () => room > 0 });
  expect(codeOf(knock(admission, "192.0.2.1"))).toBe("in");
  room = 0;
  expect(knock(admission, "192.0.2.1").decision).toMatchObject({ code: "full", retryAfter: 5 });
});

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

describe("the lists", () => {
  test("deny holds before allow, and allow shuts out everybody else", () => {
    const admission = admissionOf({ allow: networks("10.0.0.0/8", "::1"), deny: networks("10.1.0.0/16") });
    const decisions = ["10.0.0.1", "10.1.0.1", "192.0.2.1", "::1", "::2"].map((address) =>
      codeOf(knock(admission, address)),
    );
    expect(decisions).toEqual(["in", "denied", "denied", "in", "denied"]);
    expect(admission.pending).toBe(2);
  });

  test("a refusal by them says no time to come back", () => {
    const { decision } = knock(admissionOf({ deny: networks("0.0.0.0/0") }), "192.0.2.1");
    expect(decision).toMatchObject({ code: "denied", retryAfter: undefined });
  });
});

describe("penalties", () => {
  test("shut out the whole source, say for how long, and end with forgiveness", () => {
    const admission = admissionOf({ penalties: new Penalties() });
    using _ = spyOn(performance, "now").mockReturnValue(5000);
    const since = 5000;
    for (let count = 0; count < 3; count++) admission.penalise("2001:db8::1", "refused");
    const refused = knock(admission, "2001:db8::2", { since });
    expect(refused.decision).toMatchObject({ code: "penalised" });
    expect((refused.decision as Refusal).retryAfter).toBe(15);
    expect(codeOf(knock(admission, "2001:db8:0:1::2", { since }))).toBe("in");
    admission.forgive("2001:db8::ffff");
    expect(codeOf(knock(admission, "2001:db8::2", { since }))).toBe("in");
  });

  test("are short for a loopback address, which is nobody's", () => {
    const admission = admissionOf({ penalties: new Penalties() });
    using _ = spyOn(performance, "now").mockReturnValue(0);
    for (const [address, needed] of [
      ["127.0.0.9", 5],
      ["::1", 5],
      ["192.0.2.1", 2],
    ] as const) {
      for (let count = 1; count < needed; count++) admission.penalise(address, "garbage");
      expect(codeOf(knock(admission, address))).toBe("in");
      for (let count = 0; count < 100; count++) admission.penalise(address, "garbage");
      expect(codeOf(knock(admission, address))).toBe("penalised");
    }
    const after = ["127.0.0.9", "::1", "192.0.2.1"].map((address) =>
      codeOf(knock(admission, address, { since: LOOPBACK_PENALTY_MAX_MS })),
    );
    expect(after).toEqual(["in", "in", "penalised"]);
  });

  test("leave those that are exempt alone", () => {
    const options = { penalties: new Penalties(), penaltyExempt: networks("192.0.2.0/24") };
    const admission = admissionOf(options);
    for (let count = 0; count < 100; count++) admission.penalise("192.0.2.1", "garbage");
    expect(options.penalties.size).toBe(0);
    expect(codeOf(knock(admission, "192.0.2.1"))).toBe("in");
  });
});

describe("a refused one that may prove a token or a session", () => {
  const refusals: [string, (admission: Admission, address: string) => TestGuest][] = [
    [
      "penalised",
      (admission, address) => {
        for (let count = 0; count < 3; count++) admission.penalise(address, "refused");
        return knock(admission, address, { since: performance.now() });
      },
    ],
    [
      "too_many_from_address",
      (admission, address) => {
        crowd(admission, 2, () => address, false);
        const guest = knock(admission, address);
        jest.advanceTimersByTime(PENDING_HOLD_MS);
        return guest;
      },
    ],
    [
      "full",
      (admission, address) => {
        crowd(admission, 8, (n) => `10.0.${n}.1`, false);
        const guest = knock(admission, address);
        jest.advanceTimersByTime(PENDING_HOLD_MS);
        return guest;
      },
    ],
  ];
  const options = { maxPendingPerAddress: 2, maxPending: { start: 8, rate: 100, full: 8 } };

  test.each(refusals)("is one that is %s", (code, refuse) => {
    const admission = admissionOf({ ...options, penalties: new Penalties(), takesProofs: true });
    expect(refuse(admission, "192.0.2.1").decision).toMatchObject({ code, mayProve: true });
  });

  test.each(refusals)("is none that is %s where there are no proofs", (code, refuse) => {
    const admission = admissionOf({ ...options, penalties: new Penalties() });
    const { decision } = refuse(admission, "192.0.2.1");
    expect(decision).toMatchObject({ code });
    expect(decision).not.toHaveProperty("mayProve");
  });

  test("is none that is denied, and none where the server has all its connections", () => {
    const deny = networks("192.0.2.1");
    const admission = admissionOf({ deny, takesProofs: true, penalties: new Penalties() });
    for (let count = 0; count < 3; count++) admission.penalise("192.0.2.2", "refused");
    const since = performance.now();
    const decisions = [
      knock(admission, "192.0.2.1"),
      knock(admission, "192.0.2.3", { connections: 100 }),
      knock(admission, "192.0.2.2", { connections: 100, since }),
    ].map(({ decision }) => decision);
    expect(decisions.map((decision) => decision !== "in" && decision?.mayProve)).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  /** Penalised ones of that many sources, `each` of a source; how many of them may prove. */
  function penalised(sources: number, each: number, { idle, age = 0 }: { idle: boolean; age?: number }) {
    const admission = admissionOf({ takesProofs: true, penalties: new Penalties() });
    using _ = spyOn(performance, "now").mockReturnValue(0);
    const addresses = Array.from({ length: sources }, (_none, n) => `10.0.${n}.1`);
    for (const address of addresses) {
      for (let count = 0; count < 4; count++) admission.penalise(address, "refused");
    }
    const guests = Array.from({ length: each }, (_none, round) =>
      addresses.map((address) => knock(admission, address, { idle, since: round * age })),
    ).flat();
    const proving = guests.filter(({ decision }) => typeof decision === "object" && decision.mayProve);
    return { admission, guests, proving, addresses };
  }

  test("two of a source may, and so many in all, whatever the number of sources", () => {
    expect(penalised(1, 5, { idle: false }).proving).toHaveLength(MAX_PROVING_PER_ADDRESS);
    expect(penalised(100, 1, { idle: false }).proving).toHaveLength(MAX_PROVING);
  });

  test("a silent one makes way for another after a second, not before", () => {
    const late = penalised(1, 3, { idle: true, age: PENDING_GRACE_MS });
    expect(late.proving).toHaveLength(3);
    expect(late.guests.map(({ madeWay }) => madeWay)).toEqual([true, false, false]);
    expect(late.admission.pending).toBe(MAX_PROVING_PER_ADDRESS);
    expect(penalised(1, 3, { idle: true, age: PENDING_GRACE_MS / 2 - 1 }).proving).toHaveLength(2);
  });

  test("its place is free when it leaves", () => {
    const { admission, guests, addresses } = penalised(1, 2, { idle: false });
    const again = () => knock(admission, addresses[0] ?? "", { since: 0 }).decision;
    expect(again()).not.toHaveProperty("mayProve");
    admission.leave(guests[0] as PendingPeer);
    expect(again()).toHaveProperty("mayProve");
    expect(admission.pending).toBe(2);
  });
});

describe("one whose answer is delayed", () => {
  const full = { start: 4, rate: 100, full: 4 };

  test("leaves its place to others, and has one again afterwards where one is free", () => {
    const admission = admissionOf({ maxPending: full });
    const all = crowd(admission, 4, (n) => `10.0.0.${n}`, false);
    const held = knock(admission, "192.0.2.1", { idle: false });
    expect(codeOf(held)).toBeUndefined();
    expect(admission.suspend(all[0] as PendingPeer)).toBe(true);
    expect(codeOf(held)).toBe("in");
    expect(admission.restore(all[0] as PendingPeer)).toBe(false); // it is not pending any more
    expect(admission.pending).toBe(4);
    admission.suspend(all[1] as PendingPeer);
    expect(admission.restore(all[1] as PendingPeer)).toBe(true);
    expect(admission.pending).toBe(4);
  });

  test("counts among those of its source, and makes no way", () => {
    const admission = admissionOf({ maxPendingPerAddress: 2 });
    const own = crowd(admission, 2, () => "10.0.0.1", false);
    for (const guest of own) admission.suspend(guest);
    const third = knock(admission, "10.0.0.1", { since: PENDING_GRACE_MS });
    expect(codeOf(third)).toBeUndefined();
    expect(own.some(({ madeWay }) => madeWay)).toBe(false);
    admission.leave(own[0] as PendingPeer);
    expect(codeOf(third)).toBe("in");
    expect(admission.restore(own[1] as PendingPeer)).toBe(true);
    expect(admission.pending).toBe(2);
  });

  test("keeps its place where as many as may be pending are delayed already", () => {
    const admission = admissionOf({ maxPending: full });
    for (const guest of crowd(admission, 4, (n) => `10.0.0.${n}`))
      expect(admission.suspend(guest)).toBe(true);
    const [fifth, ...others] = crowd(admission, 4, (n) => `10.0.1.${n}`, false);
    expect(others.map(codeOf)).toEqual(["in", "in", "in"]);
    expect(admission.suspend(fifth as PendingPeer)).toBe(false);
    expect(admission.pending).toBe(8);
    expect(codeOf(knock(admission, "192.0.2.1"))).toBeUndefined();
  });

  test("leaves a place for known sources free, too", () => {
    const isKnownSource = (address: string) => address.startsWith("198.51.100.");
    const admission = admissionOf({ maxPending: full, isKnownSource });
    crowd(admission, 4, (n) => `10.0.0.${n}`, false);
    const known = crowd(admission, 5, (n) => `198.51.100.${n}`, false);
    expect(codeOf(known[4] as TestGuest)).toBeUndefined();
    admission.suspend(known[0] as PendingPeer);
    expect(codeOf(known[4] as TestGuest)).toBe("in");
  });
});

describe("room", () => {
  test.each([
    [99, "in"],
    [100, "full"],
    [101, "full"],
  ])("with %d of 100 connections: %s", (connections, expected) => {
    expect(String(codeOf(knock(admissionOf(), "192.0.2.1", { connections })))).toBe(expected);
  });

  test.each([
    [49, 0, "in"],
    [50, 0.3, "in"],
    [50, 0.29, "held"],
    [75, 0.65, "in"],
    [75, 0.64, "held"],
    [99, 0.985, "held"],
    [99, 0.987, "in"],
    [100, 0.999, "held"],
  ])("with %d pending and a draw of %d: %s", (pending, draw, expected) => {
    let random = () => 1;
    const admission = admissionOf({ maxConnections: 1000, random: () => random() });
    crowd(admission, pending, (n) => `10.0.${n}.1`);
    expect(admission.pending).toBe(pending);
    random = () => draw;
    expect(codeOf(knock(admission, "192.0.2.1")) ?? "held").toBe(expected);
  });
});

describe("where there is no room", () => {
  const full = { start: 4, rate: 100, full: 4 };

  test("one that has been silent for a second makes way, of the source that has most", () => {
    const admission = admissionOf({ maxPending: full });
    const [one] = crowd(admission, 1, () => "10.0.0.1");
    const flood = crowd(admission, 3, () => "10.0.0.2");
    const late = knock(admission, "192.0.2.1", { since: PENDING_GRACE_MS });
    expect(codeOf(late)).toBe("in");
    expect([one, ...flood].map((guest) => guest?.madeWay)).toEqual([false, true, false, false]);
    expect(admission.pending).toBe(4);
    admission.leave(flood[0] as PendingPeer); // its socket goes later: it is not counted twice
    expect(admission.pending).toBe(4);
  });

  test("nobody makes way who is younger than that, or busy", () => {
    const admission = admissionOf({ maxPending: full });
    const all = [...crowd(admission, 2, () => "10.0.0.1", false), ...crowd(admission, 2, () => "10.0.0.2")];
    expect(codeOf(knock(admission, "192.0.2.1", { since: PENDING_GRACE_MS - 1 }))).toBeUndefined();
    expect(all.some(({ madeWay }) => madeWay)).toBe(false);
    expect(codeOf(knock(admission, "192.0.2.2", { since: PENDING_GRACE_MS }))).toBe("in");
    expect(all.map(({ madeWay }) => madeWay)).toEqual([false, false, true, false]);
  });

  test("a newcomer is held, comes in when somebody leaves, the last one first, and is told once", () => {
    const admission = admissionOf({ maxPending: full });
    const [first] = crowd(admission, 4, (n) => `10.0.0.${n}`, false);
    const early = knock(admission, "192.0.2.1");
    const late = knock(admission, "192.0.2.2");
    expect([codeOf(early), codeOf(late)]).toEqual([undefined, undefined]);
    admission.leave(first as PendingPeer);
    expect([codeOf(early), codeOf(late)]).toEqual([undefined, "in"]);
    jest.advanceTimersByTime(PENDING_HOLD_MS - 1);
    expect(codeOf(early)).toBeUndefined();
    jest.advanceTimersByTime(1);
    expect([codeOf(early), codeOf(late)]).toEqual(["full", "in"]);
    expect((early.decision as Refusal).retryAfter).toBe(1);
    expect(admission.pending).toBe(4);
  });

  test("one that is held and leaves is told nothing, and takes no place", () => {
    const admission = admissionOf({ maxPending: full });
    const [first] = crowd(admission, 4, (n) => `10.0.0.${n}`, false);
    const held = knock(admission, "192.0.2.1");
    admission.leave(held);
    admission.leave(first as PendingPeer);
    jest.advanceTimersByTime(PENDING_HOLD_MS);
    expect(held.decision).toBeUndefined();
    expect(admission.pending).toBe(3);
  });

  test("for one address another gets in, and who is let in later is the other", () => {
    const admission = admissionOf({
      maxPendingPerAddress: 2,
      maxPending: { start: 100, rate: 0, full: 100 },
    });
    const own = crowd(admission, 2, (n) => `2001:db8::${n}`, false);
    const third = knock(admission, "2001:db8::ffff");
    expect(codeOf(knock(admission, "2001:db8:0:1::1"))).toBe("in");
    expect(codeOf(third)).toBeUndefined();
    admission.leave(own[0] as PendingPeer);
    expect(codeOf(third)).toBe("in");
    const fourth = knock(admission, "2001:db8::1");
    jest.advanceTimersByTime(PENDING_HOLD_MS);
    expect(codeOf(fourth)).toBe("too_many_from_address");
  });

  test("the refusal counts them, also where it is one", () => {
    const said = [1, 2].map((maxPendingPerAddress) => {
      const admission = admissionOf({ maxPendingPerAddress });
      crowd(admission, maxPendingPerAddress, () => "10.0.0.1", false);
      const guest = knock(admission, "10.0.0.1");
      jest.advanceTimersByTime(PENDING_HOLD_MS);
      return (guest.decision as Refusal).message;
    });
    expect(said).toEqual([
      "too many connections from 10.0.0.1 without a login (1): try again in a moment",
      "too many connections from 10.0.0.1 without a login (2): try again in a moment",
    ]);
  });

  test("some places are for the familiar, whatever the crowd, and are no room for others", () => {
    const isFamiliar = (address: string) => address.startsWith("198.51.100.");
    const admission = admissionOf({ maxPending: full, isKnownSource: isFamiliar });
    crowd(admission, 4, (n) => `10.0.0.${n}`, false);
    const familiar = crowd(admission, 5, (n) => `198.51.100.${n}`);
    expect(familiar.map(codeOf)).toEqual(["in", "in", "in", "in", undefined]); // `start` of them
    const stranger = knock(admission, "192.0.2.1", { since: PENDING_GRACE_MS, idle: false });
    expect(familiar.some(({ madeWay }) => madeWay)).toBe(false);
    admission.leave(familiar[0] as PendingPeer);
    expect([codeOf(stranger), codeOf(familiar[4] as TestGuest)]).toEqual([undefined, "in"]);
    expect(codeOf(knock(admission, "198.51.100.99"))).toBeUndefined();
    expect(admission.pending).toBe(8);
  });

  test("a familiar one takes an ordinary place where there is one", () => {
    const admission = admissionOf({ maxPending: full, isKnownSource: () => true });
    const codes = crowd(admission, 9, (n) => `10.0.0.${n}`, false).map(codeOf);
    expect(codes.lastIndexOf("in")).toBe(7);
    expect(codes[8]).toBeUndefined();
  });

  test("leaving twice frees one place", () => {
    const admission = admissionOf();
    const [one] = crowd(admission, 2, () => "10.0.0.1");
    for (let count = 0; count < 3; count++) admission.leave(one as PendingPeer);
    expect(admission.pending).toBe(1);
  });
});
