// The state of a connection's two directions and of its socket. The connection, its reader, its writer and its lingering close
// share this object, so that each transition is written in one place.
//
//     read     open ── peer's FIN ──→ ended
//     write    open ── endSending ──→ flushing ── the last byte is with the kernel ──→ fin-sent
//     socket   open ── a write failed ──→ reset ──┬→ closed
//                   ── Bun's `close` ─────────────┘

export class ConnectionState {
  #read: "open" | "ended" = "open";
  #write: "open" | "flushing" | "fin-sent" = "open";
  #socket: "open" | "reset" | "closed" = "open";

  /** `ended`: the peer's FIN has come; what arrived before it may still be undelivered. */
  get read(): "open" | "ended" {
    return this.#read;
  }

  /** `flushing`: sending has ended, and the kernel has not accepted all bytes yet. `fin-sent`: it has, and FIN after them. */
  get write(): "open" | "flushing" | "fin-sent" {
    return this.#write;
  }

  /** `reset`: the peer has reset the connection, and Bun's `close` is still to come. */
  get socket(): "open" | "reset" | "closed" {
    return this.#socket;
  }

  /** True while payloads can be sent. */
  get canSend(): boolean {
    return this.#write === "open" && this.#socket === "open";
  }

  /** True when no more input can arrive. */
  get inputEnded(): boolean {
    return this.#read === "ended" || this.#socket === "closed";
  }

  peerEnded(): void {
    this.#read = "ended";
  }

  endSending(): void {
    if (this.#write === "open") this.#write = "flushing";
  }

  finSent(): void {
    this.#write = "fin-sent";
  }

  wasReset(): void {
    if (this.#socket === "open") this.#socket = "reset";
  }

  /** @param withError false: the peer's FIN came with it, as Bun reports it after ours. */
  closed(withError: boolean): void {
    this.#socket = "closed";
    if (!withError) this.#read = "ended";
  }
}
