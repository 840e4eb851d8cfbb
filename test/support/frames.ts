// Frames by hand over any stream: for the two ends of a man in the middle, plain or encrypted.

import type { Socket } from "node:net";
import { within } from "./attack.ts";
import { frame } from "./peer.ts";

export class Frames {
  readonly socket: Socket;
  /** Every byte that came, in order. */
  received = Buffer.alloc(0);
  #read = 0;
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk]);
      this.#wake?.();
    });
    for (const event of ["end", "close", "error"]) {
      socket.on(event, () => {
        this.#ended = true;
        this.#wake?.();
      });
    }
  }

  /** The next payload, or null when the stream has ended. */
  async next(): Promise<Buffer | null> {
    for (;;) {
      const rest = this.received.subarray(this.#read);
      if (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE()) {
        const length = rest.readUInt32BE();
        this.#read += 4 + length;
        return rest.subarray(4, 4 + length);
      }
      if (this.#ended) return null;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Every payload until the stream ends. */
  async rest(): Promise<Buffer[]> {
    const payloads: Buffer[] = [];
    for (let next = await this.next(); next !== null; next = await this.next()) payloads.push(next);
    return payloads;
  }

  send(payload: Uint8Array | string): void {
    this.socket.write(frame(payload));
  }

  json(message: object): void {
    this.send(JSON.stringify(message));
  }
}

/** The next of the connections that a test collects, once it is there. */
export function nextOf(list: Frames[]): Promise<Frames> {
  return within("a connection", takeFirst(list));
}

async function takeFirst(list: Frames[]): Promise<Frames> {
  for (;;) {
    const first = list.shift();
    if (first !== undefined) return first;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
