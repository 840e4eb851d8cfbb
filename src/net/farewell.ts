// The end of a connection, so that our last words arrive: FIN when all is sent, then listening to nothing for a while
// (wire protocol, 3.4), then close(2). Closing at once, while the peer still talks, would be a reset, and a reset
// destroys what the peer has not read yet.

import { LINGER_BYTES, LINGER_MS, STALL_TIMEOUT_MS } from "../limits.ts";
import type { Sender } from "./sender.ts";

export interface FarewellEvents {
  /** Time to close the socket: the kernel goes on delivering what it holds. */
  close(): void;
  /** The peer has taken nothing for {@link STALL_TIMEOUT_MS}: give it up. */
  terminate(): void;
}

export class Farewell {
  readonly #sender: Sender;
  readonly #events: FarewellEvents;
  #timer: Timer;
  #finSent = false;
  #discarded = 0;

  /** Begins with ending `sender`; tell it when that is done with `sent`. */
  constructor(sender: Sender, events: FarewellEvents) {
    this.#sender = sender;
    this.#events = events;
    this.#timer = setTimeout(() => this.#checkStall(sender.written), STALL_TIMEOUT_MS);
  }

  /** FIN is on its way; `peerEnded`: so is, or was, the peer's. */
  sent(peerEnded: boolean): void {
    this.#finSent = true;
    clearTimeout(this.#timer);
    // Bun may report the peer's FIN as `close` alone after ours.
    if (peerEnded) this.#events.close();
    else this.#timer = setTimeout(() => this.#events.close(), LINGER_MS);
  }

  /** The peer's FIN has come. */
  peerEnded(): void {
    if (this.#finSent) this.#events.close();
  }

  /** More input that nobody wants. It counts once we have said all that we have to say. */
  discard(bytes: number): void {
    if (!this.#finSent) return;
    this.#discarded += bytes;
    if (this.#discarded > LINGER_BYTES) this.#events.close();
  }

  /** The socket is closed. */
  over(): void {
    clearTimeout(this.#timer);
  }

  #checkStall(written: number): void {
    if (this.#sender.written === written) return this.#events.terminate();
    this.#timer = setTimeout(() => this.#checkStall(this.#sender.written), STALL_TIMEOUT_MS);
  }
}
