// One connection's stream: the same frame over and over, other bytes than on every other connection, a number of them
// on their way at a time. Every byte that comes back is compared.

import { control, frame, type Peer } from "../peer.ts";

/** At least so often messages are acknowledged, by the wire protocol. */
const ACK_FRAMES = 256;
/** More than one read of Bun's socket gives. */
const LONGEST_CHUNK = 512 * 1024;
/** Random bytes are repeated after so many. */
const RANDOM_BYTES = 64 * 1024;
const CONTROL = 0x80;
const HEADER = 4;
const NOTHING = Buffer.alloc(0);

export interface StreamOptions {
  /** Of a payload. */
  bytes: number;
  inFlight: number;
  /** Do both sides acknowledge? */
  acknowledges: boolean;
}

/** A payload of `bytes` that nobody else has, with its header. */
export function randomFrame(bytes: number): Buffer {
  const random = crypto.getRandomValues(Buffer.alloc(Math.min(bytes, RANDOM_BYTES)));
  return frame(Buffer.alloc(bytes, random));
}

export class Stream {
  readonly #peer: Peer;
  readonly #frameBytes: number;
  readonly #inFlight: number;
  /** Frames enough that whatever begins within the first can be written or compared in one piece. */
  readonly #pattern: Buffer;
  readonly #acknowledges: boolean;
  #sent = 0;
  #received = 0;
  #acknowledged = 0;
  #goal = 0;
  /** What is left of a control frame that we have read the beginning of, or written. */
  #skip = 0;
  #cut: Buffer = NOTHING;
  #unwritten: Buffer = NOTHING;
  #done = Promise.withResolvers<void>();

  constructor(peer: Peer, { bytes, inFlight, acknowledges }: StreamOptions) {
    const whole = randomFrame(bytes);
    this.#frameBytes = whole.length;
    this.#inFlight = inFlight;
    const most = Math.max(LONGEST_CHUNK, whole.length * inFlight);
    this.#pattern = Buffer.alloc(whole.length + most, whole);
    this.#acknowledges = acknowledges;
    this.#peer = peer;
    peer.onData = (chunk) => this.#take(chunk);
    peer.onDrain = () => this.#pump();
    peer.onGone = (why) => this.#done.reject(new Error(why));
  }

  /** Sends `count` more messages and waits for all of them to come back. */
  run(count: number): Promise<void> {
    this.#goal += count * this.#frameBytes;
    this.#done = Promise.withResolvers<void>();
    this.#pump();
    return this.#done.promise;
  }

  #take(chunk: Buffer): void {
    if (this.#acknowledges) this.#takeMixed(chunk);
    else this.#takeEchoes(chunk);
    if (this.#received === this.#goal) this.#done.resolve();
    else this.#pump();
  }

  #takeEchoes(chunk: Buffer): void {
    if (!this.#isNext(chunk)) {
      this.#done.reject(new Error(`other bytes came back, somewhere after ${this.#received}`));
    }
    this.#received += chunk.length;
  }

  /** Echoes with control frames between them: mostly one, at the end of what the server wrote at once. */
  #takeMixed(fresh: Buffer): void {
    let chunk = this.#cut.length === 0 ? fresh : Buffer.concat([this.#cut, fresh]);
    this.#cut = NOTHING;
    while (chunk.length > 0) {
      const begun = this.#received % this.#frameBytes;
      let length = Math.min(this.#skip, chunk.length);
      if (length > 0) {
        this.#skip -= length;
      } else if (begun === 0 && chunk[0]! >= CONTROL) {
        if (chunk.length < HEADER) return void (this.#cut = chunk);
        length = HEADER;
        this.#skip = chunk.readUInt16BE(2);
      } else {
        const whole = Math.floor((begun + chunk.length) / this.#frameBytes) * this.#frameBytes - begun;
        length =
          whole > 0 && this.#isNext(chunk.subarray(0, whole))
            ? whole
            : Math.min(this.#frameBytes - begun, chunk.length);
        this.#takeEchoes(chunk.subarray(0, length));
      }
      chunk = chunk.subarray(length);
    }
  }

  #isNext(chunk: Buffer): boolean {
    const start = this.#received % this.#frameBytes;
    return this.#pattern.compare(chunk, 0, chunk.length, start, start + chunk.length) === 0;
  }

  #pump(): void {
    const due = Math.floor(this.#received / this.#frameBytes);
    if (this.#acknowledges && due - this.#acknowledged >= ACK_FRAMES && this.#sent % this.#frameBytes === 0) {
      this.#acknowledged = due;
      this.#unwritten = Buffer.concat([this.#unwritten, control({ type: "ack", received: due })]);
    }
    const until = Math.min(this.#goal, (due + this.#inFlight) * this.#frameBytes);
    while (this.#sent < until || this.#unwritten.length > 0) {
      const start = this.#sent % this.#frameBytes;
      const messages = this.#pattern.subarray(start, start + until - this.#sent);
      const before = this.#unwritten.length;
      const bytes = before === 0 ? messages : Buffer.concat([this.#unwritten, messages]);
      const taken = Math.max(0, this.#peer.socket.write(bytes));
      this.#unwritten = this.#unwritten.subarray(taken);
      this.#sent += Math.max(0, taken - before);
      if (taken < bytes.length) return;
    }
  }
}
