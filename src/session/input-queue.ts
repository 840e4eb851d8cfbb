// Messages that were received while the send window is full or a hook is blocked in `writable`. The reader goes on, so that
// acknowledgements arrive.
//
//     payload, payload, end → queue → one by one, as there is room for answers → service

import type { ByteBudget } from "../base/byte-budget.ts";
import { MAX_UNACKNOWLEDGED_BYTES } from "../base/limits.ts";
import { ConnectionError } from "../net/connection-error.ts";

/** Where queued input goes. */
export interface InputSink {
  /** The running hook, if there is one: it is waited for. */
  runningHook(): Promise<void> | undefined;
  hasRoom(): boolean;
  message(payload: Uint8Array): Promise<void> | undefined;
  end(): Promise<void> | undefined;
  /** Everything that there is room for was delivered. */
  pumped(): void;
  fail(error: unknown): void;
}

/** What a payload costs beside its bytes, about: many empty ones take memory, too. */
const PAYLOAD_COST_BYTES = 128;

export class InputQueue {
  readonly #onward: InputSink;
  readonly #budget: ByteBudget;
  #payloads: Uint8Array[] = [];
  #bytes = 0;
  /** Does the end of input stand behind the payloads? */
  #hasEnd = false;
  #isPumping = false;

  constructor(onward: InputSink, budget: ByteBudget) {
    this.#onward = onward;
    this.#budget = budget;
  }

  /** Memory in use, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Must further input be queued, so that order holds? */
  get isInUse(): boolean {
    return this.#payloads.length > 0 || this.#isPumping;
  }

  /**
   * Keeps a copy: a view would keep the whole chunk that it came in.
   *
   * @throws {ConnectionError} `too_slow` when the client says too much and acknowledges too little.
   */
  add(payload: Uint8Array): void {
    if (this.#bytes > 2 * MAX_UNACKNOWLEDGED_BYTES) {
      throw new ConnectionError("too_slow", "too much input arrived while answers were not acknowledged");
    }
    this.#payloads.push(Buffer.from(payload));
    this.#grow(payload.length + PAYLOAD_COST_BYTES);
  }

  #grow(count: number): void {
    this.#bytes += count;
    if (count > 0) this.#budget.take(count);
    else this.#budget.give(-count);
  }

  addEnd(): void {
    this.#hasEnd = true;
  }

  /** Empties the queue: the client will send it again. True when the end of input was in it. */
  clear(): boolean {
    const hadEnd = this.#hasEnd;
    this.#payloads = [];
    this.#grow(-this.#bytes);
    this.#hasEnd = false;
    return hadEnd;
  }

  /** Delivers what there is room for. Not inside a write batch: what is sent in one is counted at its end only. */
  async pump(): Promise<void> {
    if (this.#isPumping) return;
    this.#isPumping = true;
    const onward = this.#onward;
    try {
      await onward.runningHook();
      while (onward.hasRoom()) {
        const payload = this.#payloads.shift();
        if (payload === undefined) break;
        this.#grow(-(payload.length + PAYLOAD_COST_BYTES));
        const hook = onward.message(payload);
        if (hook !== undefined) await hook;
      }
      onward.pumped();
      if (this.#payloads.length > 0 || !this.#hasEnd) return;
      this.#hasEnd = false;
      await onward.end();
    } catch (error) {
      onward.fail(error);
    } finally {
      this.#isPumping = false;
    }
  }
}
