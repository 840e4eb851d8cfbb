// Whose turn it is to dial: in order, four at once, one at a time while nothing gets through, and never many in vain.

import { expect, spyOn, test } from "bun:test";
import { DIAL_BURST, MAX_FORWARD_DIALS } from "../../src/base/limits.ts";
import { DialQueue, type DialRequest } from "../../src/client/dial-queue.ts";
import { ServerError } from "../../src/handshake/errors.ts";
import { DialError } from "../../src/net/dial.ts";
import { until, within } from "../support/attack.ts";

function dialQueue() {
  const reports: string[] = [];
  const queue = new DialQueue({
    failing: () => void reports.push("failing"),
    working: () => void reports.push("working"),
  });
  /** Tickets of the dials that were begun, in order, and how to end each. */
  const begun: number[] = [];
  const ends = new Map<number, (error?: unknown) => void>();
  const dial = (ticket: number, kind: DialRequest["kind"] = "login", forMs = 60_000) => {
    const request = { kind, ticket, giveUpAt: performance.now() + forMs };
    const done = queue.run(request, async () => {
      begun.push(ticket);
      const { promise, resolve, reject } = Promise.withResolvers<number>();
      ends.set(ticket, (error) => (error === undefined ? resolve(ticket) : reject(error)));
      return promise;
    });
    done.catch(() => undefined);
    return { request, done };
  };
  return { queue, reports, begun, dial, end: (ticket: number, error?: unknown) => ends.get(ticket)?.(error) };
}

const REFUSED = new DialError("refused", "nobody listens");
const GONE = new ServerError("login_refused", "session_gone", "that session is gone");
const FULL = new ServerError("turned_away", "full", "the server is full");

test("four dial at once; then the lowest ticket, and those that come back before those that log in", async () => {
  const { begun, dial, end } = dialQueue();
  for (const ticket of [1, 2, 3, 4, 8, 6]) dial(ticket);
  dial(9, "resume");
  dial(7, "resume");
  dial(5);
  await until("begun", [1, 2, 3, 4], () => begun);
  for (const next of [7, 9, 5, 6, 8]) {
    end(begun[begun.length - MAX_FORWARD_DIALS]!);
    await until("begun", next, () => begun.at(-1)!);
  }
});

test.each(["login", "resume"] as const)(
  "a %s that is answered does not count: fifty need no pause",
  async (kind) => {
    const { begun, dial, end } = dialQueue();
    const from = performance.now();
    const all = Array.from({ length: 50 }, (_, ticket) => dial(ticket, kind).done.catch(() => 0));
    for (let ticket = 0; ticket < all.length; ticket++) {
      await until("begun", true, () => begun.includes(ticket));
      end(ticket, ticket % 3 === 0 ? GONE : undefined);
    }
    await Promise.all(all);
    expect(performance.now() - from).toBeLessThan((50 - DIAL_BURST) * 500); // it would be twice that
  },
);

test("when a dial fails one tries the way for all; when it gets through, all go", async () => {
  const { queue, reports, begun, dial, end } = dialQueue();
  const { done } = dial(0);
  await until("begun", [0], () => begun);
  end(0, REFUSED);
  expect(await done.catch((error: unknown) => error)).toBe(REFUSED);
  expect([queue.isFailing, reports]).toEqual([false, []]); // its connection may have been cut
  for (const ticket of [1, 2, 3, 4, 5, 6]) dial(ticket);
  await until("begun", [0, 1], () => begun);
  end(1, REFUSED);
  await until("begun", [0, 1, 2], () => begun);
  end(2, REFUSED);
  await until("reports", ["failing"], () => reports);
  expect(queue.isFailing).toBe(true);
  await until("begun", [0, 1, 2, 3], () => begun);
  end(3);
  await until("begun", [0, 1, 2, 3, 4, 5, 6], () => begun);
  expect([queue.isFailing, reports]).toEqual([false, ["failing", "working"]]);
});

test("a server that has no room for a login lets those that come back in", async () => {
  const { queue, begun, dial, end } = dialQueue();
  dial(0);
  await until("begun", [0], () => begun);
  end(0, new ServerError("turned_away", "full", "the server is full", { retryAfter: 60 }));
  await until("failing", true, () => queue.isFailing);
  dial(1);
  dial(2, "resume");
  await until("begun", [0, 2], () => begun);
});

test("the order holds over failures: the first that waits is the next that tries", async () => {
  const { begun, dial, end } = dialQueue();
  const tickets = [0, 1];
  for (const ticket of tickets) {
    const again = async (): Promise<void> => {
      await dial(ticket)
        .done.then(() => undefined)
        .catch(again);
    };
    void again();
  }
  await until("begun", [0, 1], () => begun);
  end(0, FULL);
  end(1, FULL);
  await until("begun", [0, 1, 0], () => begun);
  end(0, FULL);
  await until("begun", [0, 1, 0, 0], () => begun);
  end(0);
  await until("begun", [0, 1, 0, 0, 1], () => begun);
  end(1);
});

test("what is refused for good makes no other one wait", async () => {
  const { queue, begun, dial, end } = dialQueue();
  const { done } = dial(0);
  await until("begun", [0], () => begun);
  end(0, GONE);
  expect(await done.catch((error: unknown) => error)).toBe(GONE);
  expect(queue.isFailing).toBe(false);
});

test("a server that refuses is not dialled often, however many wait", async () => {
  let dials = 0;
  const queue = new DialQueue({ failing: () => undefined, working: () => undefined });
  const giveUpAt = performance.now() + 1500;
  const all = Array.from({ length: 50 }, async (_, ticket) => {
    while (performance.now() < giveUpAt) {
      await queue
        .run({ kind: "login", ticket, giveUpAt }, () => {
          dials++;
          return Promise.reject(REFUSED);
        })
        .catch(() => undefined);
    }
  });
  await within("the end", Promise.all(all));
  expect(dials).toBeGreaterThan(4); // the first four dial before anything is known
  expect(dials).toBeLessThanOrEqual(DIAL_BURST + 2);
});

test("a server that asks to wait for years is no reason to try without a pause", async () => {
  using timers = spyOn(globalThis, "setTimeout");
  const { queue, begun, dial, end } = dialQueue();
  dial(0);
  await until("begun", [0], () => begun);
  end(0, new ServerError("turned_away", "full", "the server is full", { retryAfter: 1e9 }));
  await until("failing", true, () => queue.isFailing);
  const { request } = dial(1);
  queue.cancel(request);
  const longest = Math.max(...timers.mock.calls.map(([, ms]) => Number(ms)));
  expect(longest).toBe(2 ** 31 - 1); // a longer one would come at once
});

test("a wait ends at its time, and when it is given up", async () => {
  const { queue, begun, dial, end } = dialQueue();
  dial(0);
  await until("begun", [0], () => begun);
  end(0, new ServerError("turned_away", "full", "the server is full", { retryAfter: 60 }));
  await until("failing", true, () => queue.isFailing);
  const late = dial(1, "login", 50);
  expect(
    await within(
      "its end",
      late.done.catch((error: unknown) => error),
    ),
  ).toMatchObject({ code: "timeout" });
  const left = dial(2);
  queue.cancel(left.request);
  expect(
    await within(
      "its end",
      left.done.catch((error: unknown) => error),
    ),
  ).toBeInstanceOf(DialError);
  expect(begun).toEqual([0]);
});
