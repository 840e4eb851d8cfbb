// The acknowledgements of one session, on either side: the retransmit buffer for sent frames, and the time to acknowledge
// received ones. An AckTracker survives the loss of a connection. Its owner (a Conversation or a Client) calls `turnEnded` after each
// batch of received frames.
//
//     received → due (the timer waits) → acknowledged; at once after ACK_FRAMES payloads or ACK_BYTES bytes

import { ACK_BYTES, ACK_FRAMES, ACK_MS } from "../base/limits.ts";
import { RetransmitBuffer } from "./retransmit-buffer.ts";

/** Sends due acknowledgements within {@link ACK_MS}. All sessions share it: a timer for each costs more than its ack. */
export class DelayedAckTimer {
  readonly #due = new Set<AckTracker>();
  #timer: Timer | undefined;

  /** Calls `acknowledge` of `tracker` at the next tick. */
  add(tracker: AckTracker): void {
    this.#due.add(tracker);
    this.#timer ??= setTimeout(() => this.#tick(), ACK_MS / 2);
  }

  /** Forgets `tracker`, whose session has ended: the timer would keep it in memory. */
  remove(tracker: AckTracker): void {
    this.#due.delete(tracker);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#due.clear();
  }

  #tick(): void {
    this.#timer = undefined;
    const due = [...this.#due];
    this.#due.clear();
    for (const tracker of due) tracker.acknowledge();
  }
}

/** Callbacks into the owner, called at most once a batch. */
export interface AckSource {
  /** The number of the session's payloads that were received and processed. */
  processed(): number;
  /** Bytes received over the present connection. */
  bytesReceived(): number;
  /** Sends an `ack` to the peer, if there is a connection. */
  sendAck(received: number): void;
}

export class AckTracker {
  /** The payloads that were sent and that the peer has not acknowledged. */
  readonly retransmit = new RetransmitBuffer();
  readonly #timer: DelayedAckTimer;
  readonly #source: AckSource;
  #lastAcked = 0;
  #bytesAtLastAck = 0;
  #isDue = false;

  constructor(timer: DelayedAckTimer, source: AckSource) {
    this.#timer = timer;
    this.#source = source;
  }

  /** Acknowledges now or soon, after a batch of received frames. */
  turnEnded(): void {
    const pending = this.#source.processed() - this.#lastAcked;
    if (
      pending >= ACK_FRAMES ||
      (pending > 0 && this.#source.bytesReceived() - this.#bytesAtLastAck >= ACK_BYTES)
    ) {
      return this.acknowledge();
    }
    if (pending === 0 || this.#isDue) return;
    this.#isDue = true;
    this.#timer.add(this);
  }

  /** Acknowledges all processed payloads, unless the last `ack` has their number already. */
  acknowledge(): void {
    this.#isDue = false;
    const processed = this.#source.processed();
    if (processed === this.#lastAcked) return;
    this.#lastAcked = processed;
    this.#bytesAtLastAck = this.#source.bytesReceived();
    this.#source.sendAck(processed);
  }

  /** Drops the unacknowledged payloads, and acknowledges nothing any more. */
  stop(): void {
    this.#timer.remove(this);
    this.retransmit.clear();
  }

  /** Continues over a new connection. @param received the number that the handshake has acknowledged to the peer. */
  reconnected(received: number): void {
    this.#lastAcked = received;
    this.#bytesAtLastAck = 0;
  }
}
