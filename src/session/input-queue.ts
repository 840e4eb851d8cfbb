// Messages that were received while the send window is full, a hook is blocked in `writable`, or the hook of a client that is a
// terminal runs. The reader continues, so that control frames arrive.
//
//     message, message, end → queue → one by one, while there is room for answers → service

import type { ByteBudget } from "../base/byte-budget.ts";
import { ConnectionError } from "../net/connection-error.ts";
import { ReceivedMessage } from "../wire/received-message.ts";

/** The destination of queued input. */
export interface InputSink {
  /** The running hook, if there is one; the queue waits for it. */
  runningHook(): Promise<void> | undefined;
  hasRoom(): boolean;
  message(message: ReceivedMessage): Promise<void> | undefined;
  end(): Promise<void> | undefined;
  /** Called when all messages were delivered for which there is room. */
  pumped(): void;
  fail(error: unknown): void;
}

/** The approximate cost of a message beside its bytes: many empty messages use memory, too. */
const MESSAGE_COST_BYTES = 128;

export class InputQueue {
  readonly #onward: InputSink;
  readonly #budget: ByteBudget;
  readonly #limit: number;
  #messages: ReceivedMessage[] = [];
  #bytes = 0;
  /** True when the end of input follows the messages. */
  #hasEnd = false;
  #isPumping = false;

  /** @param limit bytes from which on the client has sent more than it may. */
  constructor(onward: InputSink, budget: ByteBudget, limit: number) {
    this.#onward = onward;
    this.#budget = budget;
    this.#limit = limit;
  }

  /** Memory in use, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** True when later input must be queued to keep the order. */
  get isInUse(): boolean {
    return this.#messages.length > 0 || this.#isPumping;
  }

  /**
   * Keeps a copy: the message itself would keep its whole chunk in memory.
   *
   * @throws {ConnectionError} `too_slow` when the client sends too much and acknowledges too little.
   */
  add(message: ReceivedMessage): void {
    if (this.#bytes > this.#limit) {
      throw new ConnectionError("too_slow", "too much input arrived while answers were not acknowledged");
    }
    const bytes = Buffer.allocUnsafeSlow(message.length);
    message.copyTo(bytes, 0);
    this.#messages.push(new ReceivedMessage(bytes));
    this.#grow(message.length + MESSAGE_COST_BYTES);
  }

  #grow(count: number): void {
    this.#bytes += count;
    if (count > 0) this.#budget.take(count);
    else this.#budget.give(-count);
  }

  addEnd(): void {
    this.#hasEnd = true;
  }

  /** Empties the queue, since the client sends its content again. True when the end of input was in it. */
  clear(): boolean {
    const hadEnd = this.#hasEnd;
    this.#messages = [];
    this.#grow(-this.#bytes);
    this.#hasEnd = false;
    return hadEnd;
  }

  /** Delivers while there is room. Not inside a write batch, since its output is counted only at its end. */
  async pump(): Promise<void> {
    if (this.#isPumping) return;
    this.#isPumping = true;
    const onward = this.#onward;
    try {
      await onward.runningHook();
      while (onward.hasRoom()) {
        const message = this.#messages.shift();
        if (message === undefined) break;
        this.#grow(-(message.length + MESSAGE_COST_BYTES));
        const hook = onward.message(message);
        if (hook !== undefined) await hook;
      }
      onward.pumped();
      if (this.#messages.length > 0 || !this.#hasEnd) return;
      this.#hasEnd = false;
      await onward.end();
    } catch (error) {
      onward.fail(error);
    } finally {
      this.#isPumping = false;
    }
  }
}
