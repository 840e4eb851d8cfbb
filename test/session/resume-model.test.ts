// A short conversation cut at every byte of each direction, by reset and by end, and come back to: every message once,
// in order, on both sides, and both counts right. The same with random messages and cuts.
// PARLEY_RUNS: how many random ones.

import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Service } from "../../src/services/service.ts";
import { until } from "../support/attack.ts";
import { talkThrough, type Cut } from "../support/cut-talk.ts";
import { startServer, type TestServer } from "../support/server.ts";

const RUNS = Number(process.env["PARLEY_RUNS"] ?? 40);
const HOWS = ["reset", "end"] as const;

/** Greets, echoes, and says a last word; notes what it took. */
function notebook() {
  const taken: string[] = [];
  const fate = { opened: 0, closed: 0, ended: 0 };
  const service: Service = {
    open(session) {
      fate.opened++;
      session.send("hi");
    },
    message(session, message) {
      taken.push(message.text());
      session.send(message);
    },
    end(session) {
      fate.ended++;
      session.send("last");
      session.finish(7);
    },
    close: () => void fate.closed++,
  };
  return { taken, fate, service };
}

async function check(
  server: TestServer,
  book: ReturnType<typeof notebook>,
  messages: string[],
  cuts: Cut[],
): Promise<void> {
  book.taken.length = 0;
  Object.assign(book.fate, { opened: 0, closed: 0, ended: 0 });
  const told = await talkThrough(server.port, messages, cuts);
  await until("sessions", 0, () => server.server.sessions);
  expect(book.taken).toEqual(messages);
  expect(told.got).toEqual(["hi", ...messages, "last"]);
  expect(book.fate).toEqual({ opened: 1, closed: 1, ended: 1 });
  expect(told.bye).toMatchObject({ code: "done", status: 7 });
  for (const [received, due] of told.whole) expect(received).toBe(due);
  expect([...told.received].sort((a, b) => a - b)).toEqual(told.received);
}

const SHORT = ["", "a", "hello"];
/** Bytes of the short conversation, acknowledgements and `bye` not counted going down. */
const UP = 4 + 5 + 9 + 18;
const DOWN = 6 + 4 + 5 + 9 + 8;

test.each(HOWS)(
  "cut (%s) after every byte that the client sends",
  async (how) => {
    const book = notebook();
    await using server = await startServer({ auth: "none", service: book.service });
    for (let up = 0; up < UP; up++) await check(server, book, SHORT, [{ after: { up }, how }]);
  },
  120_000,
);

test.each(HOWS)(
  "cut (%s) after every byte that the server sends",
  async (how) => {
    const book = notebook();
    await using server = await startServer({ auth: "none", service: book.service });
    for (let down = 0; down < DOWN + 120; down++)
      await check(server, book, SHORT, [{ after: { down }, how }]);
  },
  120_000,
);

test("cut twice, at every pair of places", async () => {
  const book = notebook();
  await using server = await startServer({ auth: "none", service: book.service });
  for (let first = 0; first < DOWN + 40; first += 5) {
    for (let second = first % 3; second < UP; second += 7) {
      const cuts: Cut[] = [
        { after: { down: first }, how: HOWS[first % 2] ?? "end" },
        { after: { up: second }, how: HOWS[second % 2] ?? "end" },
      ];
      await check(server, book, SHORT, (first + second) % 2 === 0 ? cuts : cuts.reverse());
    }
  }
}, 120_000);

const size = fc.oneof(fc.nat(20), fc.nat(3000), fc.integer({ min: 60_000, max: 70_000 }));
const place = fc.oneof(fc.nat(100), fc.nat(10_000), fc.nat(200_000));
const anyCut: fc.Arbitrary<Cut> = fc.record({
  after: fc.oneof(
    place.map((up) => ({ up })),
    place.map((down) => ({ down })),
  ),
  how: fc.constantFrom(...HOWS),
});

test(`${RUNS} conversations of messages of any length, cut at up to four places`, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(size, { maxLength: 12 }),
      fc.array(anyCut, { minLength: 1, maxLength: 4 }),
      async (lengths, cuts) => {
        const messages = lengths.map((length, index) => `${index}:${"x".repeat(length)}`);
        const book = notebook();
        await using server = await startServer({ auth: "none", service: book.service });
        await check(server, book, messages, cuts);
      },
    ),
    { numRuns: RUNS },
  );
}, 600_000);
