// The outgoing half of a connection: payloads → frames → cork or backlog → the kernel → FIN.
//
// Inside a write batch of its connection a payload is encoded straight into the cork; otherwise, or behind output that the
// kernel would not take, into the backlog. Order holds, since nothing passes a backlog that is not empty.
//
// After a resume the retransmit buffer is sent again, as fast as the peer reads. Until that is done, further payloads go into that
// buffer, and the backlog is never empty.

import type { Socket } from "bun";
import { Condition } from "../base/condition.ts";
import { PAUSE_OUTPUT_BYTES, SHORT_PAUSE_OUTPUT_BYTES } from "../base/limits.ts";
import { HEADER_BYTES, writeControlHeader, writeHeader } from "../wire/frame.ts";
import type { ConnectionState } from "./connection-state.ts";
import type { Cork, Flushable } from "./cork.ts";
import { WriteQueue } from "./write-queue.ts";
import type { RetransmitBuffer } from "../delivery/retransmit-buffer.ts";

type HeaderWriter = (target: Uint8Array, offset: number, length: number) => void;

/** Most peers read what they are sent: their writers share a backlog that stays empty. */
const NOTHING = new WriteQueue();

const SCRATCH = new Uint8Array(HEADER_BYTES);

/** What a writer tells its connection. */
export interface FrameWriterEvents {
  /** So much is queued that the peer's input is to be held back; called at each further write. */
  backedUp(queued: number): void;
  /** Nothing is queued any more. */
  drained(): void;
  /** The last byte is with the kernel, and FIN behind it. */
  ended(): void;
}

export class FrameWriter implements Flushable {
  /** Bytes that the kernel has taken so far. */
  written = 0;
  readonly #socket: Socket<unknown>;
  readonly #state: ConnectionState;
  readonly #cork: Cork;
  readonly #tap: ((bytes: Uint8Array) => void) | undefined;
  readonly #events: FrameWriterEvents;
  /** Keeps payloads until the peer has acknowledged them; undefined: they are not kept. */
  #retransmit: RetransmitBuffer | undefined;
  /** {@link NOTHING} until something is queued. */
  #backlog = NOTHING;
  /** The number of the next payload that is sent again; undefined: none is. */
  #replayFrom: number | undefined;
  /** Control frames that come behind all payloads, while some are still to be sent again. */
  #last: string[] = [];
  /** Made with the first `writable` that has to wait. */
  #room: Condition | undefined;

  constructor(
    socket: Socket<unknown>,
    state: ConnectionState,
    cork: Cork,
    events: FrameWriterEvents,
    tap: ((bytes: Uint8Array) => void) | undefined,
  ) {
    this.#socket = socket;
    this.#state = state;
    this.#cork = cork;
    this.#events = events;
    this.#tap = tap;
  }

  get #isGone(): boolean {
    return this.#state.socket !== "open";
  }

  /** Queued bytes from which on the peer's input is held back. */
  get #pauseLimit(): number {
    return this.#cork.budget.isShort ? SHORT_PAUSE_OUTPUT_BYTES : PAUSE_OUTPUT_BYTES;
  }

  /** Is something left to be sent? */
  get hasOutput(): boolean {
    return this.queued > 0 || this.#replayFrom !== undefined;
  }

  /** Bytes waiting for the kernel. What is to be sent again, and has not been queued yet, does not count. */
  get queued(): number {
    const cork = this.#cork;
    return this.#backlog.length + (cork.owner === this ? cork.length : 0);
  }

  /** Collects what is sent from now on; false while another batch is collected, and then it goes through the backlog. */
  begin(): boolean {
    if (this.#cork.owner !== undefined) return false;
    this.#cork.owner = this;
    return true;
  }

  /** Ends the batch that `begin` began: one write. */
  end(): void {
    try {
      this.#flushCork();
    } finally {
      this.#cork.owner = undefined; // others share it, whatever has happened to this connection
    }
    if (this.#state.write === "flushing") this.#finishEnd();
  }

  /**
   * Sends one payload; it is copied, or with the kernel, when this returns. Nothing happens after `endSending`.
   *
   * @param header writes the frame's header: that of a payload, or of a control frame.
   */
  send(payload: string | Uint8Array, header: HeaderWriter = writeHeader): void {
    if (!this.#state.canSend) return this.#trackUnsent(payload, header);
    const cork = this.#cork;
    if (cork.owner !== this || this.#backlog.length > 0) return this.#queue(payload, header);
    const { buffer, length } = cork;
    const start = length + HEADER_BYTES;
    if (typeof payload === "string") {
      // One UTF-16 unit is at most three bytes of UTF-8.
      if (start + 3 * payload.length > buffer.length) return this.send(Buffer.from(payload), header);
      const written = buffer.write(payload, start);
      header(buffer, length, written);
      cork.length = start + written;
      if (header === writeHeader) cork.payloads++;
      return;
    }
    if (start + payload.length > buffer.length) return this.#sendLarge(payload, header);
    header(buffer, length, payload.length);
    buffer.set(payload, start);
    cork.length = start + payload.length;
    if (header === writeHeader) cork.payloads++;
  }

  /** A payload for a socket that is closed: it is kept for the connection that the client comes back on. */
  #trackUnsent(payload: string | Uint8Array, header: HeaderWriter): void {
    if (this.#state.write !== "open" || header !== writeHeader) return;
    this.#flushCork(); // what was sent before it in this batch comes first
    this.#retransmit?.add(typeof payload === "string" ? Buffer.from(payload) : payload);
  }

  /** Sends a control frame behind all payloads. */
  sendLast(text: string): void {
    if (this.#replayFrom === undefined) this.send(text, writeControlHeader);
    else this.#last.push(text);
  }

  /** Sends the payloads of `retransmit` once more, from number `received` of the session on, and keeps in it what follows. */
  sendAgain(retransmit: RetransmitBuffer, received: number): void {
    this.#retransmit = retransmit;
    if (!this.#state.canSend) return;
    this.#replayFrom = received;
    this.#replay();
    this.#cork.flushLater(this);
  }

  /** Keeps what is sent from now on in `buffer`; undefined: keeps nothing. */
  track(buffer: RetransmitBuffer | undefined): void {
    if (buffer === undefined) this.#replay(Infinity); // what is not queued by then would be lost
    this.#retransmit = buffer;
  }

  /** Queues what is sent again, up to `limit` bytes, or one payload that is longer. */
  #replay(limit = this.#pauseLimit): void {
    const retransmit = this.#retransmit;
    if (this.#replayFrom === undefined || retransmit === undefined || this.#isGone) return;
    this.#replayFrom = Math.max(this.#replayFrom, retransmit.acknowledged);
    const backlog = this.#queueHere();
    for (const frame of retransmit.unacknowledged(this.#replayFrom)) {
      if (backlog.length > 0 && backlog.length + frame.length > limit) return;
      backlog.append(frame);
      if (this.#replayFrom === undefined) return; // there was no memory for it: the session has ended
      this.#replayFrom++;
    }
    this.#replayFrom = undefined;
    for (const text of this.#last.splice(0)) this.#queue(text, writeControlHeader);
  }

  /** Sends nothing after this: what is queued goes out, then FIN. */
  endSending(): void {
    if (this.#state.write !== "open") return;
    this.#state.endSending();
    if (this.#cork.owner !== this) this.#finishEnd();
  }

  get #isWritable(): boolean {
    return this.#isGone || (this.#backlog.length <= this.#pauseLimit && this.#replayFrom === undefined);
  }

  /** Is what is sent kept? */
  get isTracking(): boolean {
    return this.#retransmit !== undefined;
  }

  /** Resolves when little enough is queued to send more; undefined when that is the case now. */
  writable(): Promise<void> | undefined {
    if (this.#isWritable) return undefined;
    return (this.#room ??= new Condition()).wait();
  }

  /** Hands queued output to the kernel: at the end of a turn of the event loop, and when the kernel has room. */
  flush(): void {
    if (this.#isGone) return;
    this.#drainOutbox();
    while (this.#replayFrom !== undefined && this.#backlog.length === 0 && !this.#isGone) {
      this.#replay();
      this.#drainOutbox();
    }
    if (this.#isGone) return;
    if (this.#isWritable) this.#room?.notifyAll();
    if (this.#backlog.length === 0) this.#events.drained();
    else this.#checkBackpressure();
    if (this.#state.write === "flushing") this.#finishEnd();
  }

  /** The socket is closed: what is queued is dropped. */
  close(): void {
    this.#backlog.clear();
    this.#replayFrom = undefined;
    this.#room?.notifyAll();
  }

  /**
   * A payload that the cork cannot hold. It leaves uncopied with its header when that stands before it; otherwise the header
   * and the beginning are one write, and the rest is another one.
   */
  #sendLarge(payload: Uint8Array, header: HeaderWriter): void {
    const { buffer } = this.#cork;
    this.#flushCork();
    if (this.#isGone) return this.#trackUnsent(payload, header);
    if (this.#backlog.length > 0) return this.#queue(payload, header);
    const frame = header === writeHeader ? frameAround(payload) : undefined;
    if (frame !== undefined) {
      this.#retransmit?.add(payload);
      return this.#write(frame, 0, frame.length);
    }
    const head = Math.min(payload.length, buffer.length - HEADER_BYTES);
    header(buffer, 0, payload.length);
    buffer.set(payload.subarray(0, head), HEADER_BYTES);
    this.#cork.length = HEADER_BYTES + head;
    if (header === writeHeader) {
      if (head === payload.length) this.#cork.payloads = 1;
      else this.#retransmit?.add(payload); // the cork has only its beginning
    }
    if (head === payload.length) return;
    this.#flushCork();
    this.#write(payload, head, payload.length);
  }

  #queueHere(): WriteQueue {
    if (this.#backlog === NOTHING) this.#backlog = new WriteQueue(this.#cork.budget);
    return this.#backlog;
  }

  #queue(payload: string | Uint8Array, header: HeaderWriter): void {
    const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
    header(SCRATCH, 0, bytes.length); // throws for an impossible length, before anything is queued
    if (header === writeHeader) this.#retransmit?.add(bytes);
    if (header === writeHeader && this.#replayFrom !== undefined) return; // it comes out of that buffer in its turn
    const { target, offset } = this.#queueHere().reserve(HEADER_BYTES + bytes.length);
    header(target, offset, bytes.length);
    target.set(bytes, offset + HEADER_BYTES);
    this.#cork.flushLater(this);
    this.#checkBackpressure();
  }

  #flushCork(): void {
    const cork = this.#cork;
    if (cork.owner !== this || cork.length === 0) return;
    const { buffer } = cork;
    this.#retransmit?.record(buffer, 0, cork.length, cork.payloads);
    const { length } = cork; // an overflow of the retransmit buffer has put `bye` behind it
    cork.length = cork.payloads = 0;
    this.#write(buffer, 0, length);
  }

  /** Writes what the kernel takes and keeps a copy of the rest: Bun buffers nothing. */
  #write(bytes: Uint8Array, start: number, end: number): void {
    if (this.#isGone) return;
    const taken = this.#backlog.length > 0 ? 0 : this.#writeToSocket(bytes, start, end);
    if (start + taken === end || this.#isGone) return;
    this.#queueHere().append(bytes.subarray(start + taken, end));
    this.#checkBackpressure();
  }

  /** Writes what is queued, block by block, until the kernel has enough. */
  #drainOutbox(): void {
    while (this.#backlog.length > 0) {
      const bytes = this.#backlog.first;
      const taken = this.#writeToSocket(bytes, 0, bytes.length);
      if (this.#isGone) return;
      this.#backlog.consume(taken);
      if (taken < bytes.length) return;
    }
  }

  /** Hands bytes to the kernel; how many it took. */
  #writeToSocket(bytes: Uint8Array, start: number, end: number): number {
    const taken = this.#socket.write(bytes, start, end - start);
    if (taken < 0) {
      // Reset by the peer while the socket is paused: Bun 1.4.5 reports it nowhere else (measured).
      this.#state.wasReset();
      this.#socket.terminate();
      return 0;
    }
    if (taken === 0) return 0;
    this.written += taken;
    this.#tap?.(bytes.subarray(start, start + taken));
    return taken;
  }

  #checkBackpressure(): void {
    if (this.#backlog.length > this.#pauseLimit) this.#events.backedUp(this.#backlog.length);
  }

  #finishEnd(): void {
    if (this.#state.write !== "flushing" || this.#isGone || this.hasOutput) return;
    this.#state.finSent();
    this.#socket.shutdown();
    this.#events.ended();
  }
}

/** The frame that `payload` lies in, when its header stands before it in memory, as it does where a peer sent it. */
function frameAround(payload: Uint8Array): Uint8Array | undefined {
  const { buffer, byteOffset, length } = payload;
  if (byteOffset < HEADER_BYTES) return undefined;
  const frame = new Uint8Array(buffer, byteOffset - HEADER_BYTES, HEADER_BYTES + length);
  writeHeader(SCRATCH, 0, length);
  return SCRATCH.every((byte, index) => frame[index] === byte) ? frame : undefined;
}
