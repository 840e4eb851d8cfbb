// The end of a connection, so that our last words arrive: FIN when all is sent, then listening to nothing for a while
// (wire protocol, 3.4), then close(2). Closing while the peer still talks is answered with a reset by the kernel at
// the next thing that it says, and a reset destroys what it has not read yet.
//
// That the kernel has sent all of it proves nothing: 2.5 MB lay in a client's kernel when a server closed (measured with Bun
// 1.4.5 on loopback). So a peer in a conversation is waited for until its own FIN, as long as something moves.

import { FINISH_TIMEOUT_MS, LINGER_BYTES, LINGER_MS, STALL_TIMEOUT_MS } from "../base/limits.ts";
import type { ConnectionState } from "./connection-state.ts";
import type { FrameWriter } from "./writer.ts";

/** `brief`: for a few words to a peer that has not logged in. `patient`: for what was said in a conversation. */
export type Patience = "brief" | "patient";

export interface LingeringCloseEvents {
  /** Bytes that the peer's kernel has not acknowledged; undefined where the system does not tell. */
  readonly unsent: number | undefined;
  /** Time to close the socket: the kernel goes on delivering what it holds. */
  close(): void;
  /** The peer has taken nothing for {@link STALL_TIMEOUT_MS}: give it up. */
  terminate(): void;
}

export class LingeringClose {
  readonly #state: ConnectionState;
  readonly #writer: FrameWriter;
  readonly #events: LingeringCloseEvents;
  readonly #patience: Patience;
  #timer: Timer;
  #discarded = 0;

  /** Begins when the writer is to end; `finSent` is to be called when that is done. */
  constructor(state: ConnectionState, sender: FrameWriter, events: LingeringCloseEvents, patience: Patience) {
    this.#state = state;
    this.#writer = sender;
    this.#events = events;
    this.#patience = patience;
    this.#timer = setTimeout(() => this.#checkStall(sender.written), STALL_TIMEOUT_MS);
  }

  /** FIN is on its way. */
  finSent(): void {
    clearTimeout(this.#timer);
    // Bun may report the peer's FIN as `close` alone after ours.
    if (this.#state.inputEnded) this.#events.close();
    else if (this.#patience === "brief") this.#timer = setTimeout(() => this.#events.close(), LINGER_MS);
    else this.#awaitFin(this.#events.unsent, this.#discarded);
  }

  /** The peer's FIN has come. */
  peerEnded(): void {
    if (this.#state.write === "fin-sent") this.#events.close();
  }

  /** More input that nobody wants. It counts once we have said all that we have to say. */
  discard(bytes: number): void {
    if (this.#state.write !== "fin-sent") return;
    this.#discarded += bytes;
    if (this.#discarded > LINGER_BYTES) this.#events.close();
  }

  /** The socket is closed. */
  cancel(): void {
    clearTimeout(this.#timer);
  }

  #awaitFin(unsent: number | undefined, discarded: number): void {
    this.#timer = setTimeout(() => {
      const now = this.#events.unsent;
      if (now === unsent && this.#discarded === discarded) this.#events.close();
      else this.#awaitFin(now, this.#discarded);
    }, FINISH_TIMEOUT_MS);
  }

  #checkStall(written: number): void {
    if (this.#writer.written === written) return this.#events.terminate();
    this.#timer = setTimeout(() => this.#checkStall(this.#writer.written), STALL_TIMEOUT_MS);
  }
}
