// Rooms hold their members, and nothing of those that have left.

import { expect, test } from "bun:test";
import { heapStats } from "bun:jsc";
import { Rooms } from "../../src/services/room.ts";
import type { Session } from "../../src/services/service.ts";

const member = (): Session => ({ send: () => undefined }) as unknown as Session;

test("a room that is joined and left again and again is one object at a time", () => {
  const rooms = new Rooms();
  const one = member();
  const count = () => {
    Bun.gc(true);
    return heapStats().objectTypeCounts["MemberRoom"] ?? heapStats().objectTypeCounts["Set"] ?? 0;
  };
  const before = count();
  for (let n = 0; n < 20_000; n++) {
    rooms.join(`room ${n}`, one);
    rooms.leave(`room ${n}`, one);
  }
  expect(count() - before).toBeLessThan(100);
});

test("a member is in each room that it has joined until it leaves that one, or all", () => {
  const rooms = new Rooms();
  const [one, other] = [member(), member()];
  const [a, b] = [rooms.join("a", one), rooms.join("b", one)];
  expect(rooms.join("a", other)).toBe(a);
  rooms.leave("a", one);
  rooms.leave("a", one);
  expect([a.members.has(one), b.members.has(one)]).toEqual([false, true]);
  rooms.leaveAll(one);
  expect([...a.members]).toEqual([other]);
  expect(b.members.size).toBe(0);
  expect(rooms.find("a")).toBe(a);
  expect(rooms.find("b")).not.toBe(b); // it was empty, and is forgotten
});
