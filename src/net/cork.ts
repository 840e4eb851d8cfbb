// Collects the output of one turn of the event loop into one write.
//
// Handlers run one at a time, so one buffer serves every connection of a listener: the connection whose chunk is being
// delivered encodes straight into it, and so does the first one that sends at another time (in a timer, after an await). Other
// output, such as a broadcast, goes to the connection's own backlog. Both are flushed when the turn's microtasks run.
//
//     free ─┬─ begin ──→ a batch, until `end` ──→ free
//           └─ lend ───→ lent, until this turn is over; `begin` of its owner makes it a batch
//
// Measured with Bun 1.4.5: one write a frame costs 5.5 µs a message, one write a turn 0.25 µs (50 connections, 32 messages of 64
// bytes in flight).

import { UNLIMITED, type ByteBudget } from "../base/byte-budget.ts";
import { HEADER_BYTES } from "../wire/frame.ts";
import type { ReceivedMessage } from "../wire/received-message.ts";

/** A connection that may have output to flush at the end of the turn. */
export interface Flushable {
  /** Writes what is queued. */
  flush(): void;
  /** Writes what is in the cork, and gives the cork back. */
  end(): void;
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

  /** The connection whose write batch is open, or that has borrowed the cork. */
  owner: Flushable | undefined;
  /** Where the output begins that the retransmit buffer of the owner keeps. */
  keptFrom = 0;
  /** Memory of the connections that share the cork. */
  readonly budget: ByteBudget;
  readonly #later = new Set<Flushable>();
  /** True while the owner sends outside of a batch. */
  isLent = false;
  readonly #endLoan = () => {
    if (this.isLent) this.owner?.end();
  };

  constructor(budget = UNLIMITED) {
    this.budget = budget;
  }

  /** True when `message` is next to the run in its chunk, and may be sent from there. Its header is between them. */
  isNext(message: ReceivedMessage): boolean {
    return (
      this.run !== undefined && this.runEnd === message.start - HEADER_BYTES && message.share() === this.run
    );
  }

  /** Begins a write batch of `connection`, which ends with `end`. False while another connection has the cork. */
  begin(connection: Flushable): boolean {
    if (this.owner !== undefined && !(this.isLent && this.owner === connection)) return false;
    this.owner = connection;
    this.isLent = false;
    return true;
  }

  /** Lends the cork to `connection` until this turn is over. There is no owner. */
  lend(connection: Flushable): void {
    this.owner = connection;
    this.isLent = true;
    queueMicrotask(this.#endLoan);
  }

  /** The owner needs it no longer. */
  free(): void {
    this.owner = undefined;
    this.isLent = false;
    this.keptFrom = 0;
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
