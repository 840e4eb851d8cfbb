// Collects the output of one turn of the event loop into one write.
//
// Handlers run one at a time, so one buffer serves every connection of a listener: the connection whose chunk is being
// delivered encodes straight into it. Other output (from a timer, after an await, in a broadcast) goes to the
// connection's own backlog, which is flushed when the turn's microtasks run. Measured with Bun 1.4.5: one write a frame costs
// 5.5 µs a message, one write a turn 0.25 µs (50 connections, 32 messages of 64 bytes in flight).

import { UNLIMITED, type ByteBudget } from "../base/byte-budget.ts";

/** A connection that may have output to flush at the end of the turn. */
export interface Flushable {
  flush(): void;
}

/** 64 KiB: more than a turn of small messages sends, and small enough to stay in the second-level cache. */
const CORK_BYTES = 64 * 1024;

export class Cork {
  readonly buffer: Buffer = Buffer.allocUnsafeSlow(CORK_BYTES);
  /** Bytes of it in use. */
  length = 0;
  /** Payload frames among them. */
  payloads = 0;
  /** The chunk of a run of received messages that go back as they came, behind what is in `buffer`; undefined without one. */
  run: Uint8Array | undefined;
  runStart = 0;
  runEnd = 0;
  runPayloads = 0;
  /** Bytes to write. */
  get waiting(): number {
    return this.run === undefined ? this.length : this.length + this.runEnd - this.runStart;
  }

  /** The connection whose write batch is open. */
  owner: Flushable | undefined;
  /** Memory of the connections that share the cork. */
  readonly budget: ByteBudget;
  readonly #later = new Set<Flushable>();

  constructor(budget = UNLIMITED) {
    this.budget = budget;
  }

  /** Flushes `connection` once this turn is over. */
  flushLater(connection: Flushable): void {
    if (this.#later.size === 0) queueMicrotask(() => this.#flush());
    this.#later.add(connection);
  }

  #flush(): void {
    const waiting = [...this.#later];
    this.#later.clear();
    for (const connection of waiting) connection.flush();
  }
}
