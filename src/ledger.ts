// The books of a durable conversation, on either side: what was sent and is not acknowledged, what was taken and is not
// told yet. It outlives connections; whoever has one sees to it that it is fed and asked.

import { ACK_BYTES, ACK_FRAMES, ACK_MS } from "./limits.ts";
import { Retention } from "./net/retention.ts";

/** Tells what is due every {@link ACK_MS}, for all ledgers of a process: a timer for each would cost more than its acks. */
export class AckClock {
  readonly #due = new Set<Ledger>();
  #timer: Timer | undefined;

  add(ledger: Ledger): void {
    this.#due.add(ledger);
    this.#timer ??= setTimeout(() => this.#tick(), ACK_MS / 2);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#due.clear();
  }

  #tick(): void {
    this.#timer = undefined;
    const due = [...this.#due];
    this.#due.clear();
    for (const ledger of due) ledger.acknowledge();
  }
}

export class Ledger {
  /** What was sent. */
  readonly retention = new Retention();
  /** Payloads of the peer handed on, and those that are done with. */
  delivered = 0;
  taken = 0;
  readonly #clock: AckClock;
  /** Sends an `ack` to the peer, if there is a connection. */
  readonly #tell: (received: number) => void;
  #told = 0;
  #bytes = 0;
  #isDue = false;

  constructor(clock: AckClock, tell: (received: number) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  /** A payload of `bytes` is done with. */
  take(bytes: number): void {
    this.taken++;
    this.#bytes += bytes;
  }

  /** Everything that came at once has been seen to: time to think of acknowledging. */
  turnEnded(): void {
    const news = this.taken - this.#told;
    if (news >= ACK_FRAMES || this.#bytes >= ACK_BYTES) return this.acknowledge();
    if (news === 0 || this.#isDue) return;
    this.#isDue = true;
    this.#clock.add(this);
  }

  /** Tells the peer what was taken, if that is news. */
  acknowledge(): void {
    this.#isDue = false;
    if (this.taken === this.#told) return;
    this.#told = this.taken;
    this.#bytes = 0;
    this.#tell(this.taken);
  }

  /** The peer has been told `received` by another way. */
  hasTold(received: number): void {
    this.#told = Math.min(received, this.taken);
    this.#bytes = 0;
  }
}
