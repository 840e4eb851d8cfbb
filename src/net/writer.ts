// The outgoing half of a connection: payloads → frames → cork or backlog → the kernel → FIN.
//
// A payload is encoded straight into the cork, while its connection has it; otherwise, or behind output that the kernel has not
// accepted, into the backlog. The order is kept, since no payload passes a backlog that is not empty.
// Received messages that are sent one after the other, as they came, are a run: it is written from their own chunk.
//
// After a resume the frames of the retransmit buffer are sent again, as fast as the peer reads. Until then later payloads go into
// that buffer, and the backlog is never empty.

import type { Socket } from "bun";
import { Condition } from "../base/condition.ts";
import { PAUSE_OUTPUT_BYTES, SHORT_PAUSE_OUTPUT_BYTES } from "../base/limits.ts";
import {
  hasHeader,
  HEADER_BYTES,
  MAX_HEADER_BYTES,
  UINT32,
  writeControlHeader,
  type Framing,
} from "../wire/frame.ts";
import type { FramePieces } from "../wire/partial-frame.ts";
import { ReceivedMessage } from "../wire/received-message.ts";
import type { ConnectionState } from "./connection-state.ts";
import type { Cork, Flushable } from "./cork.ts";
import { WriteQueue } from "./write-queue.ts";
import type { RetransmitBuffer } from "../delivery/retransmit-buffer.ts";

type HeaderWriter = (target: Uint8Array, offset: number, length: number) => void;

/** Most peers read all output: their writers share a backlog that stays empty. */
const NOTHING = new WriteQueue();

const SCRATCH = new Uint8Array(MAX_HEADER_BYTES);
const { copy } = Buffer.prototype;

/** The events of a writer, for its connection. */
export interface FrameWriterEvents {
  /** Much output is queued, so that the peer's input should be held back; called at each further write. */
  backedUp(queued: number): void;
  /** The queue is empty again. */
  drained(): void;
  /** The kernel has accepted the last byte and FIN. */
  ended(): void;
}

export class FrameWriter implements Flushable {
  /** Bytes that the kernel has accepted so far. */
  written = 0;
  readonly #socket: Socket<unknown>;
  readonly #state: ConnectionState;
  readonly #cork: Cork;
  readonly #tap: ((bytes: Uint8Array) => void) | undefined;
  readonly #events: FrameWriterEvents;
  readonly #framing: Framing;
  readonly #headerBytes: number;
  /** Writes the header of a payload. */
  readonly #writeHeader: HeaderWriter;
  /** Keeps payloads until the peer has acknowledged them; undefined: payloads are not kept. */
  #retransmit: RetransmitBuffer | undefined;
  /** {@link NOTHING} until output is queued. */
  #backlog = NOTHING;
  /** The number of the next payload to send again; undefined: all were sent. */
  #replayFrom: number | undefined;
  /** Control frames to send after the payloads that are sent again. */
  #last: string[] | undefined;
  /** Created by the first `writable` that must wait. */
  #room: Condition | undefined;

  constructor(
    socket: Socket<unknown>,
    state: ConnectionState,
    cork: Cork,
    framing: Framing,
    events: FrameWriterEvents,
    tap: ((bytes: Uint8Array) => void) | undefined,
  ) {
    this.#socket = socket;
    this.#state = state;
    this.#cork = cork;
    this.#framing = framing;
    this.#headerBytes = framing.headerBytes;
    this.#writeHeader = framing.write;
    this.#events = events;
    this.#tap = tap;
  }

  get #isGone(): boolean {
    return this.#state.socket !== "open";
  }

  /** The number of queued bytes from which the peer's input is held back. */
  get #pauseLimit(): number {
    return this.#cork.budget.isShort ? SHORT_PAUSE_OUTPUT_BYTES : PAUSE_OUTPUT_BYTES;
  }

  /** True when the kernel has not accepted all output yet. */
  get hasOutput(): boolean {
    return this.queued > 0 || this.#replayFrom !== undefined;
  }

  /** Bytes that the kernel has not accepted yet, without payloads that are still to be sent again. */
  get queued(): number {
    const cork = this.#cork;
    return this.#backlog.length + (cork.owner === this ? cork.waiting : 0);
  }

  /** Begins to collect output. False while another connection has the cork: then output goes through the backlog. */
  begin(): boolean {
    return this.#cork.begin(this);
  }

  /** Ends the batch of `begin`, or a loan of the cork, and writes its output in one write. */
  end(): void {
    try {
      this.#flushCork();
    } finally {
      this.#cork.free(); // other connections share the cork
    }
    if (this.#state.write === "flushing") this.#finishEnd();
  }

  /**
   * Sends one payload. Its bytes may be reused when this returns. Does nothing after `endSending`.
   *
   * @param header writes the frame's header: that of a payload, or of a control frame.
   */
  send(message: string | Uint8Array | ReceivedMessage, header: HeaderWriter = this.#writeHeader): void {
    const cork = this.#cork;
    if (cork.owner === this && message instanceof ReceivedMessage && cork.isNext(message))
      return this.#extendRun(message);
    const mayUseCork = this.#state.canSend && this.#backlog.length === 0;
    if (mayUseCork && cork.owner === undefined) cork.lend(this);
    const isDirect = mayUseCork && cork.owner === this;
    if (message instanceof ReceivedMessage) {
      const { pieces } = message;
      if (pieces?.start === HEADER_BYTES && this.#framing === UINT32 && this.#state.canSend)
        return this.#sendPieces(pieces);
      if (isDirect) {
        if (!cork.isLent && this.#beginRun(message)) return;
      } else {
        const frame = this.#frameOf(message);
        if (frame !== undefined && this.#state.canSend) return this.#queueFrame(frame);
      }
      return this.send(message.share()?.subarray(message.start, message.end) ?? message.bytes);
    }
    this.#sendBytes(message, header, isDirect);
  }

  /** Adds a received message to the run that it is next to. */
  #extendRun(message: ReceivedMessage): void {
    const cork = this.#cork;
    const { end } = message;
    // Longer runs would leave a part of each block of the retransmit buffer empty.
    if (this.#retransmit !== undefined && end - cork.runStart > cork.buffer.length) {
      this.#flushCork();
      return this.send(message);
    }
    cork.runEnd = end;
    cork.runPayloads++;
    if (end - cork.runStart >= cork.buffer.length) this.#flushCork();
  }

  /** Begins a run with a received message. False when its frame is not in its chunk, or the service may have changed it. */
  #beginRun(message: ReceivedMessage): boolean {
    const cork = this.#cork;
    if (this.#framing !== UINT32) return false;
    const { start, end } = message;
    const chunk = message.share();
    if (chunk === undefined || !hasHeader(chunk, start, end)) return false;
    this.#endRun();
    if (this.#backlog.length > 0 || this.#isGone) return false;
    cork.run = chunk;
    cork.runStart = start - HEADER_BYTES;
    cork.runEnd = end;
    cork.runPayloads = 1;
    if (end - cork.runStart >= cork.buffer.length) this.#flushCork();
    return true;
  }

  /** Puts the run into the cork, or writes it when it is too long for that. */
  #endRun(): void {
    const cork = this.#cork;
    const { run, runStart, runEnd, buffer } = cork;
    if (run === undefined) return;
    if (cork.waiting > buffer.length) return this.#flushCork();
    copy.call(run, buffer, cork.length, runStart, runEnd);
    cork.length = cork.waiting;
    cork.payloads += cork.runPayloads;
    cork.run = undefined;
  }

  #sendBytes(payload: string | Uint8Array, header: HeaderWriter, isDirect: boolean): void {
    if (!isDirect) {
      return this.#state.canSend ? this.#queue(payload, header) : this.#trackUnsent(payload, header);
    }
    const cork = this.#cork;
    if (cork.run !== undefined) {
      this.#endRun();
      return this.send(payload, header); // perhaps the kernel is full now
    }
    const { buffer, length } = cork;
    const start = length + this.#headerBytes;
    if (typeof payload === "string") {
      // One UTF-16 unit is at most three bytes of UTF-8.
      if (start + 3 * payload.length > buffer.length) return this.send(Buffer.from(payload), header);
      const written = buffer.write(payload, start);
      header(buffer, length, written);
      cork.length = start + written;
    } else {
      if (start + payload.length > buffer.length) return this.#sendLarge(payload, header);
      header(buffer, length, payload.length);
      buffer.set(payload, start);
      cork.length = start + payload.length;
    }
    if (header === this.#writeHeader) cork.payloads++;
    if (cork.isLent) this.#keep();
  }

  /** Keeps what is in the cork. Within a batch this is done at its end; at other times the sender may look at its window at once. */
  #keep(): void {
    const cork = this.#cork;
    if (this.#retransmit === undefined || cork.payloads === 0) return;
    const { keptFrom, length, payloads } = cork;
    cork.keptFrom = length;
    cork.payloads = 0;
    this.#retransmit.record(cork.buffer, keptFrom, length, payloads);
  }

  /** Keeps a payload for a closed socket, until the client has another connection. */
  #trackUnsent(payload: string | Uint8Array, header: HeaderWriter): void {
    if (this.#state.write !== "open" || header !== this.#writeHeader) return;
    this.#flushCork(); // earlier output of this batch comes first
    this.#retransmit?.add(typeof payload === "string" ? Buffer.from(payload) : payload);
  }

  /** Sends a control frame after all payloads. */
  sendLast(text: string): void {
    if (this.#replayFrom === undefined) this.send(text, writeControlHeader);
    else (this.#last ??= []).push(text);
  }

  /** Sends the payloads of `retransmit` again, from number `received` of the session on, and keeps later payloads in it. */
  sendAgain(retransmit: RetransmitBuffer, received: number): void {
    this.#flushCork(); // `welcome` is no output of the session
    this.#retransmit = retransmit;
    if (!this.#state.canSend) return;
    this.#replayFrom = received;
    this.#replay();
    this.#cork.flushLater(this);
  }

  /** From now on, keeps sent payloads in `buffer`; undefined: keeps none. */
  track(buffer: RetransmitBuffer | undefined): void {
    if (buffer === undefined) this.#replay(Infinity); // payloads that are not queued by then would be lost
    if (this.#retransmit === undefined && this.#cork.owner === this) this.#keepFromHere();
    this.#retransmit = buffer;
  }

  /** What is in the cork already, such as `welcome`, is no output of the session. */
  #keepFromHere(): void {
    const cork = this.#cork;
    this.#endRun();
    cork.keptFrom = cork.length;
    cork.payloads = 0;
  }

  /** Queues payloads to send again: up to `limit` bytes, or one longer payload. */
  #replay(limit = this.#pauseLimit): void {
    const retransmit = this.#retransmit;
    if (this.#replayFrom === undefined || retransmit === undefined || this.#isGone) return;
    this.#replayFrom = Math.max(this.#replayFrom, retransmit.acknowledged);
    const backlog = this.#queueHere();
    for (const frame of retransmit.unacknowledged(this.#replayFrom)) {
      if (backlog.length > 0 && backlog.length + frame.length > limit) return;
      backlog.append(frame);
      if (this.#replayFrom === undefined) return; // the memory was exhausted, and the session has ended
      this.#replayFrom++;
    }
    this.#replayFrom = undefined;
    const last = this.#last ?? [];
    this.#last = undefined;
    for (const text of last) this.#queue(text, writeControlHeader);
  }

  /** Ends sending: writes the queued output, then FIN. */
  endSending(): void {
    if (this.#state.write !== "open") return;
    if (this.#cork.owner === this) this.#endRun(); // nothing is added to it any more
    this.#state.endSending();
    if (this.#cork.owner !== this) this.#finishEnd();
  }

  get #isWritable(): boolean {
    return this.#isGone || (this.#backlog.length <= this.#pauseLimit && this.#replayFrom === undefined);
  }

  /** True when sent payloads are kept. */
  get isTracking(): boolean {
    return this.#retransmit !== undefined;
  }

  /** Resolves when there is room to send more; undefined when there is room now. */
  writable(): Promise<void> | undefined {
    if (this.#isWritable) return undefined;
    return (this.#room ??= new Condition()).wait();
  }

  /** Writes queued output, at the end of a turn of the event loop and when the kernel has room. */
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

  /** Drops the queue, since the socket is closed. */
  close(): void {
    this.#backlog.clear();
    this.#replayFrom = undefined;
    this.#room?.notifyAll();
  }

  /** Writes a payload that is too long for the cork: header and beginning are one write, and the rest is another one. */
  #sendLarge(payload: Uint8Array, header: HeaderWriter): void {
    const cork = this.#cork;
    const { buffer } = cork;
    const headerBytes = this.#headerBytes;
    this.#flushCork();
    if (this.#isGone) return this.#trackUnsent(payload, header);
    if (this.#backlog.length > 0) return this.#queue(payload, header);
    const head = Math.min(payload.length, buffer.length - headerBytes);
    header(buffer, 0, payload.length);
    buffer.set(payload.subarray(0, head), headerBytes);
    cork.length = headerBytes + head;
    if (header === this.#writeHeader && head === payload.length) cork.payloads = 1;
    if (head === payload.length) return cork.isLent ? this.#keep() : undefined;
    this.#flushCork();
    this.#write(payload, head, payload.length);
    // The cork had only its beginning. An overflow sends `bye`, which comes behind it.
    if (header === this.#writeHeader) this.#retransmit?.add(payload);
  }

  #queueHere(): WriteQueue {
    if (this.#backlog === NOTHING) this.#backlog = new WriteQueue(this.#cork.budget);
    return this.#backlog;
  }

  #queue(payload: string | Uint8Array, header: HeaderWriter): void {
    const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
    header(SCRATCH, 0, bytes.length); // throws for an invalid length, before bytes are queued
    if (header === this.#writeHeader) this.#retransmit?.add(bytes);
    if (header === this.#writeHeader && this.#replayFrom !== undefined) return; // `#replay` sends it in its turn
    const { target, offset } = this.#queueHere().reserve(this.#headerBytes + bytes.length);
    header(target, offset, bytes.length);
    target.set(bytes, offset + this.#headerBytes);
    this.#cork.flushLater(this);
    this.#checkBackpressure();
  }

  /** The whole memory of a message, if that is its frame and nothing else, as in a broadcast. */
  #frameOf(message: ReceivedMessage): Uint8Array | undefined {
    if (this.#framing !== UINT32 || message.start !== HEADER_BYTES) return undefined;
    const chunk = message.share();
    const isWhole = chunk?.length === message.end && hasHeader(chunk, HEADER_BYTES, message.end);
    return isWhole ? chunk : undefined;
  }

  /** Queues a payload with its header, which is written from where it is. */
  #queueFrame(frame: Uint8Array): void {
    this.#retransmit?.record(frame, 0, frame.length, 1);
    if (this.#replayFrom !== undefined) return; // `#replay` sends it in its turn
    this.#queueHere().appendUnchanging(frame);
    this.#cork.flushLater(this);
    this.#checkBackpressure();
  }

  /** Sends a frame that lies in several pieces. */
  #sendPieces(frame: FramePieces): void {
    this.#flushCork();
    // `#replay` sends it in its turn, if that is not over.
    if (this.#replayFrom === undefined) for (const piece of frame.list) this.#writeUnchanging(piece);
    this.#retransmit?.recordPieces(frame);
    this.#checkBackpressure();
  }

  /** Writes bytes that nothing changes any more: what the kernel does not take is not copied. */
  #writeUnchanging(bytes: Uint8Array): void {
    if (this.#isGone) return;
    const taken = this.#backlog.length > 0 ? 0 : this.#writeToSocket(bytes, 0, bytes.length);
    if (taken < bytes.length && !this.#isGone)
      this.#queueHere().appendUnchanging(taken === 0 ? bytes : bytes.subarray(taken));
  }

  #flushCork(): void {
    const cork = this.#cork;
    if (cork.owner !== this) return;
    if (cork.length > 0 && cork.run !== undefined && cork.waiting <= cork.buffer.length) this.#endRun();
    const { run, runStart, runPayloads } = cork;
    cork.run = undefined;
    if (cork.length > 0) this.#flushBuffer();
    if (run === undefined) return;
    this.#retransmit?.recordChunk(run, runStart, cork.runEnd, runPayloads);
    this.#write(run, runStart, cork.runEnd);
    if (cork.length > 0) this.#flushBuffer(); // an overflow of the retransmit buffer has added `bye`
  }

  #flushBuffer(): void {
    const cork = this.#cork;
    const { buffer } = cork;
    this.#retransmit?.record(buffer, cork.keptFrom, cork.length, cork.payloads);
    const { length } = cork; // an overflow of the retransmit buffer has added `bye`
    cork.length = cork.payloads = cork.keptFrom = 0;
    this.#write(buffer, 0, length);
  }

  /** Writes to the kernel, and keeps a copy of the rest, since Bun buffers nothing. */
  #write(bytes: Uint8Array, start: number, end: number): void {
    if (this.#isGone) return;
    const taken = this.#backlog.length > 0 ? 0 : this.#writeToSocket(bytes, start, end);
    if (start + taken === end || this.#isGone) return;
    this.#queueHere().append(bytes.subarray(start + taken, end));
    this.#checkBackpressure();
  }

  /** Writes the queue, block by block, until the kernel is full. */
  #drainOutbox(): void {
    while (this.#backlog.length > 0) {
      const bytes = this.#backlog.first;
      const taken = this.#writeToSocket(bytes, 0, bytes.length);
      if (this.#isGone) return;
      this.#backlog.consume(taken);
      if (taken < bytes.length) return;
    }
  }

  /** Writes bytes to the kernel, and returns how many it accepted. */
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
