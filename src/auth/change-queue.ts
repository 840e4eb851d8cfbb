// Changes of a store that wait for their commit. All that wait are decided in one commit, each in turn, and each settles alone:
//
//     add(m) ─┐
//     add(m) ─┴→ take → run on a draft → write → settle, or fail
//
// A store that finds its draft outdated runs the batch again, on another one, and settles it with the outcome that was committed.

import { setTimeout as delay } from "node:timers/promises";
import { onAbort } from "../base/abort.ts";
import type { Document } from "./document.ts";
import type { InUse, Mutation } from "./store.ts";

/** What a store does while changes wait. */
export interface Work {
  /** True when there is something to do, beside the changes that wait. */
  isDue?(): boolean;
  /** Does some of it. Takes a batch and settles it, when changes wait. It must not reject. */
  commit(): Promise<void>;
  /** Pause between two commits, in milliseconds. */
  pauseMs: number;
}

interface Change {
  /** When it was added, by `performance.now`. */
  since: number;
  /** Applies the mutation. */
  run(draft: Document, inUse: () => InUse | undefined): Result;
  fail(error: unknown): void;
}

interface Result {
  /** False when the mutation threw. */
  isDone: boolean;
  /** Settles the promise of the caller with what the mutation returned or threw. */
  settle(): void;
}

/** How one run of a batch ended. */
export interface Outcome {
  /** True when any change succeeded. */
  isAnyDone: boolean;
  /** Settles each change as its mutation ended in this run. */
  settle(): void;
}

export class ChangeQueue {
  readonly #work: Work;
  #waiting: Change[] = [];
  #working: Promise<void> | undefined;

  constructor(work: Work) {
    this.#work = work;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Adds a change, and returns the promise of its result, as `Store.change`. */
  add<T>(mutation: Mutation<T>, signal?: AbortSignal): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const undecided = onAbort(signal, reject);
    this.#waiting.push({
      since: performance.now(),
      run(draft, inUse) {
        undecided[Symbol.dispose]();
        try {
          signal?.throwIfAborted();
          const value = mutation(draft, inUse);
          return { isDone: true, settle: () => resolve(value) };
        } catch (error) {
          return { isDone: false, settle: () => reject(error) };
        }
      },
      fail(error) {
        undecided[Symbol.dispose]();
        reject(error);
      },
    });
    this.wake();
    return promise;
  }

  /** Takes every change that waits. The caller must settle them, or let them fail. */
  take(): Batch {
    const changes = this.#waiting;
    this.#waiting = [];
    return new Batch(changes);
  }

  /** Begins to work, if there is anything to do. */
  wake(): void {
    if (this.#hasWork) this.#working ??= this.#workOff();
  }

  /** Resolves when there is nothing more to do. */
  async settled(): Promise<void> {
    await this.#working;
  }

  get #hasWork(): boolean {
    return !this.isEmpty || this.#work.isDue?.() === true;
  }

  async #workOff(): Promise<void> {
    try {
      await Promise.resolve(); // the changes of one turn are one batch
      // No pause follows this check: a change that is added later begins anew.
      while (this.#hasWork) {
        await this.#work.commit();
        await delay(this.#work.pauseMs);
      }
    } finally {
      this.#working = undefined;
    }
  }
}

/** Changes of one commit. */
export class Batch {
  readonly #changes: readonly Change[];

  constructor(changes: readonly Change[]) {
    this.#changes = changes;
  }

  /** When its oldest change, the first one, was added, by `performance.now`. */
  get since(): number {
    return this.#changes[0]?.since ?? performance.now();
  }

  /** Makes the changes in `draft`. It may run several times, on other drafts. */
  run(draft: Document, inUse: () => InUse | undefined): Outcome {
    let known: { value: InUse | undefined } | undefined;
    const inUseNow = () => (known ??= { value: inUse() }).value;
    const results = this.#changes.map((change) => change.run(draft, inUseNow));
    return {
      isAnyDone: results.some(({ isDone }) => isDone),
      settle() {
        for (const result of results) result.settle();
      },
    };
  }

  /** Lets every change fail. */
  fail(error: unknown): void {
    for (const change of this.#changes) change.fail(error);
  }
}
