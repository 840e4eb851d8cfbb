// The timers of one owner: a session, or the server. They stop with it, and what their callbacks throw is reported to it.

import { checkCallback } from "./arguments.ts";
import { MisuseError } from "./service.ts";

/** The longest time that a timer can wait, as in setTimeout. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export class Timers {
  readonly #fail: (error: unknown) => void;
  readonly #running = new Set<() => void>();
  #isStopped = false;

  /** @param fail called with what a callback throws, or its promise rejects with. */
  constructor(fail: (error: unknown) => void) {
    this.#fail = fail;
  }

  /** Calls `callback` once. Returns what stops it. */
  after(ms: number, callback: () => unknown): () => void {
    checkCallback(callback);
    return this.#add(ms, (stop) => {
      const timer = setTimeout(() => {
        stop();
        void this.#call(callback);
      }, ms);
      return () => clearTimeout(timer);
    });
  }

  /** Calls `callback` again and again; not while a promise that it returned is pending. Returns what stops it. */
  every(ms: number, callback: () => unknown): () => void {
    checkCallback(callback);
    return this.#add(ms, () => {
      let pending: Promise<void> | undefined;
      const timer = setInterval(() => {
        pending ??= this.#call(callback)?.then(() => (pending = undefined));
      }, ms);
      return () => clearInterval(timer);
    });
  }

  /** Stops all timers; later ones do not start. */
  end(): void {
    this.#isStopped = true;
    this.stopAll();
  }

  stopAll(): void {
    for (const stop of this.#running) stop();
  }

  #add(ms: number, start: (stop: () => void) => () => void): () => void {
    if (typeof ms !== "number" || !(ms >= 0 && ms <= MAX_TIMER_MS))
      throw new MisuseError(`a timer takes 0 to ${MAX_TIMER_MS} milliseconds, not ${String(ms)}`);
    if (this.#isStopped) return () => undefined;
    const stop = () => {
      this.#running.delete(stop);
      clear();
    };
    const clear = start(stop);
    this.#running.add(stop);
    return stop;
  }

  #call(callback: () => unknown): Promise<void> | undefined {
    try {
      const pending = callback();
      if (!(pending instanceof Promise)) return undefined;
      return pending.then(
        () => undefined,
        (error: unknown) => this.#fail(error),
      );
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
  }
}
