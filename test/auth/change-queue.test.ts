// Changes that wait for a commit: decided together, settled alone, and never left behind.

import { expect, test } from "bun:test";
import { ChangeQueue, type Batch, type Outcome } from "../../src/auth/change-queue.ts";
import { DocumentDraft, emptyDocument } from "../../src/auth/document.ts";
import { adding, thrown } from "../support/changes.ts";

const unknown = () => undefined;

/** A queue whose commits apply each batch; `during` runs in the middle of one. */
function applying(during: (batch: Batch) => Outcome | void | Promise<void> = () => undefined) {
  const document = emptyDocument();
  const batches: Batch[] = [];
  const queue: ChangeQueue = new ChangeQueue({
    pauseMs: 0,
    async commit() {
      const batch = queue.take();
      batches.push(batch);
      try {
        const draft = new DocumentDraft(document);
        const outcome = batch.run(draft, unknown);
        const last = await during(batch);
        draft.apply();
        (last ?? outcome).settle();
      } catch (error) {
        batch.fail(error);
      }
    },
  });
  return { queue, document, batches };
}

test("changes that are added during a commit are the next one, and each settles as it ended", async () => {
  const later: Promise<unknown>[] = [];
  const { queue, document, batches } = applying(async () => {
    if (batches.length === 1) later.push(queue.add(adding("bob")), queue.add(adding("ann")).catch(thrown));
    await Promise.resolve();
  });
  expect(await queue.add(adding("ann"))).toMatchObject({ password: "hash" });
  expect(await Promise.all(later)).toEqual([
    expect.objectContaining({ password: "hash" }),
    expect.objectContaining({ code: "exists" }),
  ]);
  await queue.settled();
  expect([batches.length, [...document.users.keys()]]).toEqual([2, ["ann", "bob"]]);
});

test("changes of one turn are one batch", async () => {
  const { queue, batches, document } = applying();
  await Promise.all(["ann", "bob", "cat"].map((name) => queue.add(adding(name))));
  expect([batches.length, document.users.size]).toEqual([1, 3]);
});

test("a change that is added when the last commit has just ended is not left behind", async () => {
  const { queue, document } = applying();
  for (let n = 0; n < 50; n++) {
    await queue.add(adding(`user-${n}`));
    if (n % 2 === 0) await queue.settled();
  }
  expect(document.users.size).toBe(50);
});

test("a batch that runs again settles with the run that was committed", async () => {
  let runs = 0;
  let commits = 0;
  const { queue } = applying((batch) => {
    const again = batch.run(new DocumentDraft(emptyDocument()), unknown);
    return ++commits === 1 ? undefined : again;
  });
  expect(await queue.add(() => ++runs)).toBe(1);
  const fails = queue.add(() => {
    if (++runs === 4) throw new Error("at last");
  });
  expect(await fails.catch(thrown)).toEqual(new Error("at last"));
});

test("a batch asks once for what is in use, and only when a change wants it", () => {
  const queue = new ChangeQueue({ pauseMs: 0, commit: () => new Promise<void>(() => undefined) });
  let asked = 0;
  const inUse = () => {
    asked++;
    return undefined;
  };
  void queue.add(() => 1);
  expect(queue.take().run(emptyDocument(), inUse).isAnyDone).toBe(true);
  expect(asked).toBe(0);
  void queue.add((_, ask) => ask());
  void queue.add((_, ask) => ask());
  queue.take().run(emptyDocument(), inUse);
  expect(asked).toBe(1);
});

test("a batch that fails fails every change; one that was given up has its own reason", async () => {
  const { queue } = applying(() => {
    throw new Error("no disk");
  });
  const controller = new AbortController();
  const one = queue.add(adding("ann")).catch(thrown);
  const given = queue.add(adding("bob"), controller.signal).catch(thrown);
  controller.abort(new Error("too late"));
  expect(await given).toEqual(new Error("too late"));
  expect(await one).toEqual(new Error("no disk"));
  await queue.settled();
  expect(queue.isEmpty).toBe(true);
});

test("a change that is given up before a batch runs again is not in that run", async () => {
  const controller = new AbortController();
  const { queue } = applying((batch) => {
    controller.abort(new Error("too late"));
    const again = batch.run(new DocumentDraft(emptyDocument()), unknown);
    expect(again.isAnyDone).toBe(false);
    return again;
  });
  expect(await queue.add(adding("ann"), controller.signal).catch(thrown)).toEqual(new Error("too late"));
});

test("other work that is due is done without a change, once it is woken", async () => {
  let due = 3;
  const queue = new ChangeQueue({
    pauseMs: 0,
    isDue: () => due > 0,
    commit: () => Promise.resolve(void due--),
  });
  queue.wake();
  await queue.settled();
  expect(due).toBe(0);
});
