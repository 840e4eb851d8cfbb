// Rooms hold their members, and nothing of those that have left.

import { expect, test } from "bun:test";
import { heapStats } from "bun:jsc";
import { Rooms } from "../../src/services/room.ts";
import type { Session } from "../../src/services/service.ts";

const member = (): Session => ({ send: () => undefined }) as unknown as Session;

test("rooms that were joined and left again take no memory", () => {
  const rooms = new Rooms();
  const one = member();
  const count = () => {
    Bun.gc(true);
    return heapStats().objectTypeCounts["Set"] ?? 0;
  };
  const before = count();
  for (let n = 0; n < 20_000; n++) {
    rooms.join(`room ${n}`, one);
    rooms.leave(`room ${n}`, one);
  }
  expect(count() - before).toBeLessThan(100);
  rooms.join("room", one); // they are in use until here
});

test("a member is in each room that it has joined until it leaves that one, or all", () => {
  const rooms = new Rooms();
  const [one, other] = [member(), member()];
  const [a, b] = [rooms.join("a", one), rooms.join("b", one)];
  expect([...rooms.join("a", other).members]).toEqual([one, other]);
  rooms.leave("a", one);
  rooms.leave("a", one);
  expect([a.members.has(one), b.members.has(one)]).toEqual([false, true]);
  rooms.leaveAll(one);
  expect([...a.members]).toEqual([other]);
  expect(b.members.size).toBe(0);
});

test("a room that is kept has its present members, also after it was empty", () => {
  const rooms = new Rooms();
  const one = member();
  const kept = rooms.find("a");
  expect([...kept.members]).toEqual([]);
  rooms.join("a", one);
  expect([...kept.members]).toEqual([one]);
  rooms.leaveAll(one);
  rooms.join("a", one);
  expect([...kept.members]).toEqual([one]);
});
