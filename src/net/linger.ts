// The lingering close of a connection, so that its output arrives: FIN after all output, then discarding input for a while, then
// close(2). After a close(2) the kernel answers the peer's next bytes with a reset, and a reset destroys output that the peer has
// not read yet.
//
// It is not enough that our kernel has sent everything: 2.5 MB lay in a client's kernel when a server closed (measured with Bun
// 1.4.5 on loopback). So the FIN of a peer with a session is awaited as long as data moves.

import { FINISH_TIMEOUT_MS, LINGER_BYTES, LINGER_MS, STALL_TIMEOUT_MS } from "../base/limits.ts";
import type { ConnectionState } from "./connection-state.ts";
import type { FrameWriter } from "./writer.ts";

/** `brief`: for an error to a peer that has not logged in. `patient`: for the output of a session. */
export type Patience = "brief" | "patient";

export interface LingeringCloseEvents {
  /** Bytes that the peer's kernel has not acknowledged; undefined on a system that cannot say. */
  readonly unsent: number | undefined;
  /** Closes the socket; the kernel still sends what it holds. */
  close(): void;
  /** Resets the connection: the peer has read nothing for {@link STALL_TIMEOUT_MS}. */
  terminate(): void;
}

export class LingeringClose {
  readonly #state: ConnectionState;
  readonly #writer: FrameWriter;
  readonly #events: LingeringCloseEvents;
  readonly #patience: Patience;
  #timer: Timer;
  #discarded = 0;

  /** Starts when the writer is about to end. The caller calls `finSent` when FIN is sent. */
  constructor(state: ConnectionState, sender: FrameWriter, events: LingeringCloseEvents, patience: Patience) {
    this.#state = state;
    this.#writer = sender;
    this.#events = events;
    this.#patience = patience;
    this.#timer = setTimeout(() => this.#checkStall(sender.written), STALL_TIMEOUT_MS);
  }

  /** Called when our FIN is sent. */
  finSent(): void {
    clearTimeout(this.#timer);
    // Bun may report the peer's FIN as `close` alone after ours.
    if (this.#state.inputEnded) this.#events.close();
    else if (this.#patience === "brief") this.#timer = setTimeout(() => this.#events.close(), LINGER_MS);
    else this.#awaitFin(this.#events.unsent, this.#discarded);
  }

  /** Called when the peer's FIN has arrived. */
  peerEnded(): void {
    if (this.#state.write === "fin-sent") this.#events.close();
  }

  /** Counts discarded input: too much of it after our FIN closes the socket. */
  discard(bytes: number): void {
    if (this.#state.write !== "fin-sent") return;
    this.#discarded += bytes;
    if (this.#discarded > LINGER_BYTES) this.#events.close();
  }

  /** Called when the socket is closed. */
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
