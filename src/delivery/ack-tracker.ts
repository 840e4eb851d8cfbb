// The books of a durable conversation, on either side: what was sent and is not acknowledged, what was taken and is not
// told yet. It outlives connections; whoever has one sees to it that it is fed and asked.

import { ACK_BYTES, ACK_FRAMES, ACK_MS } from "../base/limits.ts";
import { Retention } from "./retransmit-buffer.ts";

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

/** What a ledger asks of whoever keeps it; nothing is done for each message. */
export interface Books {
  /** Payloads of the peer that are done with, in all. */
  taken(): number;
  /** Bytes received over the present connection. */
  bytes(): number;
  /** Sends an `ack` to the peer, if there is a connection. */
  tell(received: number): void;
}

export class Ledger {
  /** What was sent. */
  readonly retention = new Retention();
  readonly #clock: AckClock;
  readonly #books: Books;
  #told = 0;
  #toldBytes = 0;
  #isDue = false;

  constructor(clock: AckClock, books: Books) {
    this.#clock = clock;
    this.#books = books;
  }

  /** Everything that came at once has been seen to: time to think of acknowledging. */
  turnEnded(): void {
    const news = this.#books.taken() - this.#told;
    if (news >= ACK_FRAMES || (news > 0 && this.#books.bytes() - this.#toldBytes >= ACK_BYTES)) {
      return this.acknowledge();
    }
    if (news === 0 || this.#isDue) return;
    this.#isDue = true;
    this.#clock.add(this);
  }

  /** Tells the peer what was taken, if that is news. */
  acknowledge(): void {
    this.#isDue = false;
    const taken = this.#books.taken();
    if (taken === this.#told) return;
    this.#told = taken;
    this.#toldBytes = this.#books.bytes();
    this.#books.tell(taken);
  }

  /** There is another connection, over which the peer was told `received`. */
  moved(received: number): void {
    this.#told = received;
    this.#toldBytes = 0;
  }
}
