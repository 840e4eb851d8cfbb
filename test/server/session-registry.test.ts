// The register of sessions: who makes room when too many sleep, or too much is kept for them.

import { expect, test } from "bun:test";
import { ByteBudget } from "../../src/base/byte-budget.ts";
import type { ServerSession } from "../../src/session/session.ts";
import { SessionRegistry } from "../../src/server/session-registry.ts";

function register(limits: { maxPerUser?: number; maxConnections?: number } = {}) {
  const expired: number[] = [];
  const sessions = new SessionRegistry({
    store: undefined,
    maxPerUser: 100,
    maxConnections: 100,
    ...limits,
    changed: () => undefined,
    expiring: ({ id }) => void expired.push(id),
  });
  /** One that has just fallen asleep. */
  const sleeper = (id: number, user: string, ended = () => undefined as void): ServerSession => {
    const session = {
      id,
      user,
      login: {},
      detachedSince: id,
      expire: () => {
        sessions.remove(session);
        ended();
      },
    } as unknown as ServerSession;
    sessions.add(session);
    sessions.detached(session);
    return session;
  };
  return { sessions, sleeper, expired };
}

test("the one of a user that has slept longest makes room for the next", () => {
  const { sleeper, expired } = register({ maxPerUser: 2 });
  for (const [id, user] of ["ann", "bob", "ann", "ann", "bob", "ann"].entries()) sleeper(id, user);
  expect(expired).toEqual([0, 2]);
});

test("so does the one of all, but none that is awake again", () => {
  const { sessions, sleeper, expired } = register({ maxConnections: 2 });
  sessions.resumed(sleeper(0, "a"));
  for (const id of [1, 2, 3]) sleeper(id, `${id}`);
  expect(expired).toEqual([1]);
  expect(sessions.size).toBe(3);
});

test("what is kept for all of them is bounded, also when it has grown while they slept", () => {
  const { sessions, sleeper, expired } = register();
  const budget = new ByteBudget(100, () => sessions.crowdOut(budget));
  const kept = [40, 30, 20];
  for (const [id, bytes] of kept.entries()) sleeper(id, `${id}`, () => budget.give(bytes));
  for (const bytes of kept) budget.take(bytes);
  expect(expired).toEqual([]);
  budget.take(11); // the last one has grown
  expect(expired).toEqual([0]);
  budget.take(60);
  expect(expired).toEqual([0, 1]);
});
