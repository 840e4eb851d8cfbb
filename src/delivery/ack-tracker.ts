// The books of a durable conversation, on either side: what was sent and is not acknowledged, what was taken and is not
// told yet. It outlives connections; whoever has one sees to it that it is fed and asked.

import { ACK_BYTES, ACK_FRAMES, ACK_MS } from "../base/limits.ts";
import { RetransmitBuffer } from "./retransmit-buffer.ts";

/** Tells what is due every {@link ACK_MS}, for all ledgers of a process: a timer for each would cost more than its acks. */
export class DelayedAckTimer {
  readonly #due = new Set<AckTracker>();
  #timer: Timer | undefined;

  add(ledger: AckTracker): void {
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
export interface AckSource {
  /** Payloads of the peer that are done with, in all. */
  processed(): number;
  /** Bytes received over the present connection. */
  bytesReceived(): number;
  /** Sends an `ack` to the peer, if there is a connection. */
  sendAck(received: number): void;
}

export class AckTracker {
  /** What was sent. */
  readonly retransmit = new RetransmitBuffer();
  readonly #timer: DelayedAckTimer;
  readonly #source: AckSource;
  #lastAcked = 0;
  #bytesAtLastAck = 0;
  #isDue = false;

  constructor(clock: DelayedAckTimer, books: AckSource) {
    this.#timer = clock;
    this.#source = books;
  }

  /** Everything that came at once has been seen to: time to think of acknowledging. */
  turnEnded(): void {
    const news = this.#source.processed() - this.#lastAcked;
    if (
      news >= ACK_FRAMES ||
      (news > 0 && this.#source.bytesReceived() - this.#bytesAtLastAck >= ACK_BYTES)
    ) {
      return this.acknowledge();
    }
    if (news === 0 || this.#isDue) return;
    this.#isDue = true;
    this.#timer.add(this);
  }

  /** Tells the peer what was taken, if that is news. */
  acknowledge(): void {
    this.#isDue = false;
    const taken = this.#source.processed();
    if (taken === this.#lastAcked) return;
    this.#lastAcked = taken;
    this.#bytesAtLastAck = this.#source.bytesReceived();
    this.#source.sendAck(taken);
  }

  /** There is another connection, over which the peer was told `received`. */
  reconnected(received: number): void {
    this.#lastAcked = received;
    this.#bytesAtLastAck = 0;
  }
}
