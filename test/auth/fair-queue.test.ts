// Whose turn it is among jobs that wait, and who makes room.

import { expect, test } from "bun:test";
import { FairQueue, type Job } from "../../src/auth/fair-queue.ts";
import { MAX_HASH_QUEUE, MAX_HASH_QUEUE_PER_ADDRESS } from "../../src/base/limits.ts";

interface TestJob extends Job {
  label: string;
}

/** A queue whose jobs are `SOURCE` or `SOURCE/USER`; what it dropped, and what it would run next. */
function testQueue() {
  const queue = new FairQueue();
  const dropped: string[] = [];
  return {
    dropped,
    push: (...labels: string[]): void => {
      for (const label of labels) {
        const [source = "", user = ""] = label.split("/");
        const run = () => Promise.resolve();
        const job: TestJob = { label, source, user, run, drop: () => dropped.push(label) };
        queue.push(job);
      }
    },
    take: (count: number) =>
      Array.from({ length: count }, () => (queue.take() as TestJob | undefined)?.label),
  };
}

test("sources take turns, in the order in which they came", () => {
  const { push, take } = testQueue();
  push("a", "a", "a", "b", "b", "c");
  expect(take(7)).toEqual(["a", "b", "c", "a", "b", "a", undefined]);
});

test("a source that has just had its turn waits behind one that has not, whenever that comes", () => {
  const { push, take } = testQueue();
  push("a", "b");
  expect(take(2)).toEqual(["a", "b"]);
  push("b", "a", "new");
  expect(take(3)).toEqual(["new", "a", "b"]);
});

test("users of one source take turns, too", () => {
  const { push, take } = testQueue();
  push("a/ann");
  expect(take(1)).toEqual(["a/ann"]);
  push("a/ann", "a/ann", "a/bob", "b/chris");
  expect(take(4)).toEqual(["b/chris", "a/bob", "a/ann", "a/ann"]);
});

test("newcomers without end keep nobody waiting for longer than a queue's length", () => {
  const { push, take } = testQueue();
  push("a");
  take(1);
  push("a");
  let turns = 0;
  for (let label: string | undefined; label !== "a"; turns++) {
    push(`new ${turns}`);
    [label] = take(1);
  }
  expect(turns).toBe(MAX_HASH_QUEUE);
});

test("a user without a job gets the last place of the one that has all of its source's", () => {
  const { push, take, dropped } = testQueue();
  push(...Array.from({ length: MAX_HASH_QUEUE_PER_ADDRESS + 2 }, () => "a/ann"));
  expect(dropped).toEqual(["a/ann", "a/ann"]);
  push("a/bob", "a/chris", "a/dora", "a/eve");
  expect(dropped).toEqual(["a/ann", "a/ann", "a/ann", "a/ann", "a/ann", "a/eve"]);
  expect(take(MAX_HASH_QUEUE_PER_ADDRESS + 1)).toEqual(["a/ann", "a/bob", "a/chris", "a/dora", undefined]);
});

test("in a full queue a newcomer gets the last place of the source that has most", () => {
  const { push, dropped } = testQueue();
  const sources = Array.from({ length: MAX_HASH_QUEUE - 1 }, (_, index) => `${index}`);
  push(...sources, "0", "newcomer", "one more");
  expect(dropped).toEqual(["0", "one more"]);
});
