// Penalties: what is counted, from when on it holds, how long, and that a flood of sources costs no more than its table.

import { describe, expect, test } from "bun:test";
import {
  MAX_PENALISED_SOURCES,
  PENALTY_MAX_MS,
  PENALTY_MS,
  PENALTY_THRESHOLD_MS,
  type PenaltyReason,
} from "../../src/base/limits.ts";
import { Penalties } from "../../src/net/penalties.ts";

const A = "192.0.2.1";
const OFFENCES = Object.keys(PENALTY_MS) as PenaltyReason[];

describe.each(OFFENCES)("%s", (offence) => {
  const needed = Math.ceil(PENALTY_THRESHOLD_MS / PENALTY_MS[offence]);

  test(`is only counted ${needed - 1} times in a row, and holds from the next one on`, () => {
    const penalties = new Penalties();
    for (let count = 1; count < needed; count++) {
      penalties.add(A, offence, 0);
      expect(penalties.remaining(A, 0)).toBeUndefined();
    }
    penalties.add(A, offence, 0);
    const total = needed * PENALTY_MS[offence];
    expect(penalties.remaining(A, 0)).toBe(total);
    expect(penalties.remaining(A, total - 1)).toBe(1);
    expect(penalties.remaining(A, total)).toBeUndefined();
    expect(penalties.size).toBe(0); // who is free again takes no room
  });
});

test("what passed its threshold holds to its end, also below it", () => {
  const penalties = new Penalties();
  for (let count = 0; count < 3; count++) penalties.add(A, "refused", 0);
  expect(penalties.remaining(A, 14_999)).toBe(1);
  penalties.add(A, "no-login", 14_999);
  expect(penalties.remaining(A, 15_000)).toBe(1000);
  expect(penalties.remaining(A, 16_000)).toBeUndefined();
});

test("offences that are far apart never add up", () => {
  const penalties = new Penalties();
  for (let count = 0; count < 100; count++) {
    penalties.add(A, "garbage", count * 10_000);
    expect(penalties.remaining(A, count * 10_000)).toBeUndefined();
  }
});

test("none is longer than the longest, and it begins anew after its end", () => {
  const penalties = new Penalties();
  for (let count = 0; count < 1000; count++) penalties.add(A, "garbage", 7);
  expect(penalties.remaining(A, 7)).toBe(PENALTY_MAX_MS);
  penalties.add(A, "refused", PENALTY_MAX_MS + 7);
  expect(penalties.remaining(A, PENALTY_MAX_MS + 7)).toBeUndefined();
});

test("one source's are not another's, and all are forgiven at once", () => {
  const penalties = new Penalties();
  for (let count = 0; count < 3; count++) penalties.add(A, "refused", 0);
  expect(penalties.remaining("192.0.2.2", 0)).toBeUndefined();
  penalties.forgive("192.0.2.2");
  expect(penalties.remaining(A, 0)).toBe(15_000);
  penalties.forgive(A);
  expect(penalties.remaining(A, 0)).toBeUndefined();
  penalties.add(A, "refused", 0);
  expect(penalties.remaining(A, 0)).toBeUndefined();
});

test("70,000 sources take no more than 65,536 places, and those touched last keep theirs", () => {
  const penalties = new Penalties();
  const last = 69_999;
  for (let n = 0; n <= last; n++) {
    for (let count = 0; count < 2; count++) penalties.add(`source ${n}`, "garbage", 0);
    expect(penalties.size).toBeLessThanOrEqual(MAX_PENALISED_SOURCES);
  }
  expect(penalties.size).toBe(MAX_PENALISED_SOURCES);
  expect(penalties.remaining(`source ${last}`, 0)).toBe(20_000);
  expect(penalties.remaining(`source ${last - MAX_PENALISED_SOURCES + 1}`, 0)).toBe(20_000);
  expect(penalties.remaining(`source ${last - MAX_PENALISED_SOURCES}`, 0)).toBeUndefined();
  // One that offends again moves to the end of the line.
  penalties.add(`source ${last - MAX_PENALISED_SOURCES + 1}`, "garbage", 0);
  penalties.add("one more", "garbage", 0);
  expect(penalties.remaining(`source ${last - MAX_PENALISED_SOURCES + 1}`, 0)).toBe(30_000);
  expect(penalties.remaining(`source ${last - MAX_PENALISED_SOURCES + 2}`, 0)).toBeUndefined();
});
