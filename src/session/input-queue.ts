// Input that waits: until the client has acknowledged what it was answered before, or behind a hook that waits for that.
// Its acknowledgements are read on meanwhile.
//
//     payload, payload, end → parked → one by one, as there is room for answers → service

import { MAX_UNACKNOWLEDGED_BYTES } from "../base/limits.ts";
import { ConnectionError } from "../net/connection-error.ts";

/** Where parked input goes on to. */
export interface InputSink {
  /** The hook at work, if one is: nothing goes on before it is done. */
  runningHook(): Promise<void> | undefined;
  hasRoom(): boolean;
  message(payload: Uint8Array): Promise<void> | undefined;
  end(): Promise<void> | undefined;
  /** What can go on now has. */
  pumped(): void;
  fail(error: unknown): void;
}

/** What a payload costs beside its bytes, about: many that are empty are much, too. */
const PAYLOAD_COST_BYTES = 128;

export class InputQueue {
  readonly #onward: InputSink;
  #payloads: Uint8Array[] = [];
  #bytes = 0;
  /** Does the end of input wait behind them? */
  #hasEnd = false;
  #isPumping = false;

  constructor(onward: InputSink) {
    this.#onward = onward;
  }

  /** Does what comes have to wait behind what came before? */
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
      throw new ConnectionError("too_slow", "too much came while answers were not acknowledged");
    }
    this.#payloads.push(Buffer.from(payload));
    this.#bytes += payload.length + PAYLOAD_COST_BYTES;
  }

  addEnd(): void {
    this.#hasEnd = true;
  }

  /** Forgets what waits, which the client will send again; was the end of input among it? */
  clear(): boolean {
    const hadEnd = this.#hasEnd;
    this.#payloads = [];
    this.#bytes = 0;
    this.#hasEnd = false;
    return hadEnd;
  }

  /** Hands on what there is room for: outside of the turn, since what is sent in one is counted at its end only. */
  async pump(): Promise<void> {
    if (this.#isPumping) return;
    this.#isPumping = true;
    const onward = this.#onward;
    try {
      await onward.runningHook();
      while (onward.hasRoom()) {
        const payload = this.#payloads.shift();
        if (payload === undefined) break;
        this.#bytes -= payload.length + PAYLOAD_COST_BYTES;
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
