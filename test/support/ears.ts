// The frames of one direction of a plain connection, counted by somebody who only listens: no code of parley's.

class Ear {
  /** Payload frames that were whole, those before the conversation left out. */
  payloads = 0;
  /** The first of them. */
  first: string | undefined;
  /** What the last `ack` acknowledged. */
  acknowledged = 0;
  /** `welcome` has been said, or accepted. */
  welcomed = false;
  #bytes = Buffer.alloc(0);

  hear(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      if (this.#bytes.length < 4) return;
      const header = this.#bytes.readUInt32BE(0);
      const isControl = header >= 0x80000000;
      const end = 4 + (isControl ? header & 0xffff : header);
      if (this.#bytes.length < end) return;
      this.#frame(isControl, this.#bytes.subarray(4, end));
      this.#bytes = this.#bytes.subarray(end);
    }
  }

  #frame(isControl: boolean, payload: Buffer): void {
    if (isControl) {
      const { type, received } = JSON.parse(payload.toString()) as { type: string; received?: number };
      if (type === "ack") this.acknowledged = received ?? 0;
    } else if (this.welcomed) {
      this.first ??= payload.toString();
      this.payloads++;
    } else if (payload.toString().startsWith('{"type":"welcome"')) {
      this.welcomed = true;
    }
  }
}

/** Both directions of one connection. */
export class Ears {
  readonly up = new Ear();
  readonly down = new Ear();

  hear(direction: "up" | "down", bytes: Buffer): void {
    this[direction].hear(bytes);
    this.up.welcomed = this.down.welcomed;
  }
}
