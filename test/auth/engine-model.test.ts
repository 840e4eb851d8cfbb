// Random changes on several stores of one engine, whose connections are cut and whose answers are late or lost, compared with a
// sequence: each change that was reported is in it once, each that was refused is not, and a reader that is fresh has what was reported
// before.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { AccountError, addUser, disableUser, enableUser, removeUser } from "../../src/auth/accounts.ts";
import type { Document } from "../../src/auth/document.ts";
import { EngineStore } from "../../src/auth/engine-store.ts";
import { EngineError } from "../../src/engine/engine-error.ts";
import { parseStoreUrl } from "../../src/engine/store-url.ts";
import { AT, sorted } from "../support/changes.ts";
import { engineProxy } from "../support/engine-proxy.ts";
import { lacksTools } from "../support/privileges.ts";
import { startRedis } from "../support/redis.ts";

const STORES = 3;
const NAMES = ["ann", "bob", "eve"];

/** What one store does in one step: a change, a read, or a read of all records. */
const Step = fc.record({
  store: fc.nat(STORES - 1),
  act: fc.constantFrom("add", "remove", "disable", "enable", "count", "read", "reload"),
  name: fc.constantFrom(...NAMES),
  /** The next step waits for this one. */
  waits: fc.boolean(),
  /** What becomes of an answer of the engine meanwhile. */
  fault: fc.constantFrom("none", "none", "none", "cut", "late", "lost"),
});
type StepOf = typeof Step extends fc.Arbitrary<infer T> ? T : never;

/** The number of the change that has written a user, in place of the hash: so each change can be recognised. */
const ACTS: Record<string, (draft: Document, name: string, mark: string) => void> = {
  add: (draft, name, mark) => void addUser(draft, name, mark, AT),
  remove: (draft, name) => removeUser(draft, name),
  disable: (draft, name, mark) => disableUser(draft, name, mark, AT),
  enable: (draft, name) => enableUser(draft, name),
  count: (draft, name, mark) => {
    const user = draft.users.get(name) ?? { password: "", created: AT.toISOString(), disabled: null };
    draft.users.set(name, { ...user, password: `${user.password}+${mark}` });
  },
};

describe.skipIf(lacksTools("redis-server"))("stores on an engine that is cut off", () => {
  test("make each reported change once, and have the same", async () => {
    await using redis = await startRedis({ unix: true });
    let runs = 0;
    const play = async (steps: StepOf[]): Promise<void> => {
      const name = `run-${runs++}`;
      let fault = "none";
      using proxy = await engineProxy(redis, async (bytes, question) => {
        if (fault === "none" || question.includes("SCRIPT")) return bytes;
        const now = fault;
        fault = "none";
        if (now === "late") await Bun.sleep(30);
        if (now === "cut") await redis.killClients();
        return now === "lost" ? undefined : bytes;
      });
      const access = { target: parseStoreUrl(proxy.url) };
      const stores = await Promise.all(
        Array.from({ length: STORES }, () => EngineStore.open({ access, name })),
      );
      try {
        const done: string[] = [];
        const refused: string[] = [];
        const unknown: string[] = [];
        const pending: Promise<void>[] = [];
        for (const [n, { store: which, act, name: user, waits, fault: next }] of steps.entries()) {
          const store = stores[which]!;
          fault = next;
          const mark = `m${n}.`;
          const work = (async () => {
            if (act === "reload") return store.reload(true);
            if (act === "read") {
              const before = [...done];
              await store.fresh();
              const text = JSON.stringify([...store.document.users]);
              // A user that no step removes keeps each mark that was reported before.
              if (!steps.some((step) => step.act === "remove"))
                for (const one of before) expect(text).toContain(one);
              return;
            }
            await store.change((draft) => ACTS[act]!(draft, user, mark));
            if (act === "count") done.push(mark);
          })().catch((error: unknown) => {
            if (error instanceof AccountError) refused.push(mark);
            else if (error instanceof EngineError) unknown.push(mark);
            else throw error;
          });
          pending.push(work);
          if (waits) await work;
        }
        await Promise.all(pending);
        fault = "none";
        await Promise.all(stores.map((store) => store.fresh()));
        const [first, ...others] = stores.map(({ document }) => sorted(document.users));
        for (const other of others) expect(other).toEqual(first!);
        const reread = await EngineStore.open({ access: { target: parseStoreUrl(redis.url) }, name });
        expect(sorted(reread.document.users)).toEqual(first!);
        await reread.close();
        const text = JSON.stringify(first);
        for (const mark of refused) expect(text).not.toContain(mark);
        const marks = text.match(/m\d+\./g) ?? [];
        expect(new Set(marks).size).toBe(marks.length);
        if (!steps.some(({ act }) => act === "remove")) for (const mark of done) expect(text).toContain(mark);
        // Each revision is one batch that was reported, or whose end is unknown.
        expect(first === undefined ? 0 : reread.document.rev).toBeLessThanOrEqual(
          steps.length + unknown.length,
        );
      } finally {
        await Promise.all(stores.map((store) => store.close()));
      }
    };
    await fc.assert(fc.asyncProperty(fc.array(Step, { minLength: 4, maxLength: 24 }), play), {
      numRuns: Number(process.env["MODEL_RUNS"] ?? 25),
      interruptAfterTimeLimit: 60_000,
    });
  }, 90_000);
});
