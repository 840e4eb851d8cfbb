// How far the two directions of a connection and its socket have come. The connection, its reader, its writer and its
// lingering close all ask this one object; each transition is written in one place.
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

  /** `flushing`: nothing more is sent, and not all of it is with the kernel. `fin-sent`: all is, and FIN behind it. */
  get write(): "open" | "flushing" | "fin-sent" {
    return this.#write;
  }

  /** `reset`: the peer has reset the connection, and Bun's `close` is still to come. */
  get socket(): "open" | "reset" | "closed" {
    return this.#socket;
  }

  /** Can payloads be sent? */
  get canSend(): boolean {
    return this.#write === "open" && this.#socket === "open";
  }

  /** Can nothing more arrive? */
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
