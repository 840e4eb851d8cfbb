// A slot is a connection's, until that is closed.

import { expect, test } from "bun:test";
import type { Connection } from "../../src/net/connection.ts";
import { UserSlots } from "../../src/server/user-slots.ts";

const connection = (closed = false) => ({ closed }) as Connection;

test("each connection has one slot, that of its last login, and frees it once", () => {
  const slots = new UserSlots();
  const [one, two, three] = [connection(), connection(), connection()];
  slots.take(one, "ann");
  slots.take(two, "ann");
  slots.take(two, "ann");
  expect([slots.count("ann"), slots.count("bob")]).toEqual([2, 0]);
  slots.take(two, "bob");
  expect([slots.count("ann"), slots.count("bob")]).toEqual([1, 1]);
  slots.take(three, "ann");
  for (const each of [one, one, connection()]) slots.free(each);
  expect([slots.count("ann"), slots.count("bob")]).toEqual([1, 1]);
  slots.free(three);
  expect([slots.count("ann"), slots.count("bob")]).toEqual([0, 1]);
});

test("one that is closed takes none: it would never be freed", () => {
  const slots = new UserSlots();
  slots.take(connection(true), "ann");
  expect(slots.count("ann")).toBe(0);
});
