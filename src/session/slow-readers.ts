// Sessions whose clients have too much unread or unacknowledged output, and had no time to read it yet. Output of one moment can be
// read in the next. Sessions whose messages make much output wait for these clients meanwhile.
//
//     add → caught up, or over the limit until its time is over: dropped

import { SLOW_READER_MS, STUCK_READER_MS } from "../base/limits.ts";
import { Condition } from "../base/condition.ts";

export interface SlowReader {
  /** True while the client still has too much unread output. */
  readonly isOverLimit: boolean;
  /** A number that changes when the client reads or acknowledges output. */
  readonly progress: number;
  dropAsSlow(): void;
}

/** The progress of one session; times by `performance.now`. */
interface Pace {
  deadline: number;
  progress: number;
  movedAt: number;
}

/** The time between two checks, in milliseconds. */
const CHECK_MS = 20;

export class SlowReaders {
  readonly #behind = new Map<SlowReader, Pace>();
  readonly #none = new Condition();
  #timer: Timer | undefined;

  /** @param since when `session` fell behind, by `performance.now`; it is dropped now if its time is over. */
  add(session: SlowReader, since: number): void {
    if (this.#behind.has(session)) return;
    const now = performance.now();
    const deadline = since + SLOW_READER_MS;
    if (deadline <= now) return session.dropAsSlow();
    this.#behind.set(session, { deadline, progress: session.progress, movedAt: now });
    this.#timer ??= setInterval(() => this.#check(), CHECK_MS);
  }

  /** Resolves when there are no slow readers; undefined when there are none now. */
  whenNone(): Promise<void> | undefined {
    return this.#behind.size === 0 ? undefined : this.#none.wait();
  }

  stop(): void {
    this.#behind.clear();
    this.#clear();
  }

  #check(): void {
    const now = performance.now();
    for (const [session, pace] of this.#behind) {
      const { isOverLimit, progress } = session;
      if (progress !== pace.progress) {
        pace.progress = progress;
        pace.movedAt = now;
      }
      const hasTime = now < pace.deadline && now - pace.movedAt < STUCK_READER_MS;
      if (isOverLimit && hasTime) continue;
      this.#behind.delete(session);
      if (isOverLimit) session.dropAsSlow();
    }
    if (this.#behind.size === 0) this.#clear();
  }

  #clear(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#none.notifyAll();
  }
}
