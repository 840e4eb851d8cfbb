// The incoming half of a connection: chunks → frames → a reader or a receiver.
//
//     arrived → FrameDecoder ┬ read()      before the login: the handshake pulls one payload at a time
//                            └ deliver(r)  after the login: every whole frame of a chunk goes to `r` in one write batch
//
// The order is kept: while a promise of `r` is pending, or too much output is queued, no further frame is delivered. Frames that
// arrived before the end are delivered before it.

import type { ByteBudget } from "../base/byte-budget.ts";
import type { ParleyError } from "../base/errors.ts";
import { FrameDecoder, type Framing } from "../wire/frame.ts";
import type { ReceivedMessage } from "../wire/received-message.ts";
import { ConnectionError } from "./connection-error.ts";
import type { ConnectionState } from "./connection-state.ts";

/** Receives the frames of a connection. */
export interface Receiver {
  /** A message; the receiver may keep it. A promise, also from `control` and `end`, holds the next frame back. */
  message(message: ReceivedMessage): void | Promise<void>;
  /** The payload of a control frame. */
  control(payload: Uint8Array): void | Promise<void>;
  /** Called when all frames of a chunk were delivered or are held back. */
  turnEnded?(): void;
  /** The peer has ended its side, between two frames. */
  end(): void | Promise<void>;
  /** More output is queued than the peer may leave unread. Without this method, delivery fails at once. */
  overBacklog?(): void;
  /** The peer broke the framing or left too much unread, or the receiver threw. No more frames are delivered. */
  fail(error: unknown): void;
  /** The socket is closed while a promise of the receiver is pending; `close` follows when that has settled. */
  disconnected?(error: Error | undefined): void;
  /** The socket is closed; called once, last. `error` when it was reset. */
  close(error: Error | undefined): void;
}

/** The part of the socket that the reader uses. */
export interface PausableSocket {
  pauseSocket(): void;
  resumeSocket(): void;
}

/** Collects output while frames are delivered, so that it leaves in one write. */
export interface WriteBatch {
  /** False while another batch is collected, of this connection or of another one. */
  begin(): boolean;
  /** Writes the collected output. */
  end(): void;
}

/** The reasons why delivery is paused; bits of `#holds`. */
const HOLD_PROMISE = 1; // a promise of the receiver is pending
const HOLD_OUTPUT = 2; // the peer leaves much output unread
const HOLD_OVER = 4; // failed, finishing or closed: for good
const HOLD_TURN = 8; // it has delivered much: other connections first
const HOLD_TRACE = 16; // the trace is not printed yet

/** Frames that one connection may deliver in a turn of the event loop. A control frame, parsed and answered, counts for many. */
const TURN_FRAMES = 16_384;
const CONTROL_WEIGHT = 64;

/** Input that is read ahead while the receiver is busy, in bytes; beyond it the socket is paused. */
const READ_AHEAD_BYTES = 64 * 1024;

interface PendingRead {
  resolve(payload: Uint8Array | null): void;
  reject(error: unknown): void;
}

export class FrameReader {
  readonly decoder: FrameDecoder;
  readonly #state: ConnectionState;
  readonly #socket: PausableSocket;
  readonly #batch: WriteBatch;
  readonly #budget: ByteBudget;
  /** Memory of the decoder that is counted in the budget, in bytes. */
  #counted = 0;
  #receiver: Receiver | undefined;
  #holds = 0;
  #endDelivered = false;
  #closeError: Error | undefined;
  #closeDelivered = false;
  #delivering = false;
  /** True when another delivery was requested during a delivery. */
  #again = false;
  #failed = false;
  #aborted: ParleyError<string> | undefined;
  #pending: PendingRead | undefined;

  /**
   * @param batch brackets each delivery.
   * @param budget counts the memory of undelivered input.
   */
  constructor(
    maxFrame: number,
    framing: Framing,
    state: ConnectionState,
    socket: PausableSocket,
    batch: WriteBatch,
    budget: ByteBudget,
  ) {
    this.#state = state;
    this.#budget = budget;
    this.decoder = new FrameDecoder(maxFrame, framing);
    this.#socket = socket;
    this.#batch = batch;
  }

  /** True while more can be delivered. */
  get canDeliver(): boolean {
    return !this.#state.inputEnded && (this.#holds & HOLD_OVER) === 0;
  }

  /** True while the receiver processes a frame, or input is held back. */
  get isHeld(): boolean {
    return (this.#holds & ~HOLD_OVER) !== 0;
  }

  /** True while input is held back because the peer does not read. */
  get isWriteBlocked(): boolean {
    return this.#holds === HOLD_OUTPUT;
  }

  /** @throws {ParleyError} the error of `abort`, if it was called. */
  check(): void {
    if (this.#aborted !== undefined) throw this.#aborted;
  }

  /** True while a `read` waits. */
  get isReading(): boolean {
    return this.#pending !== undefined;
  }

  // --- input ---

  arrived(chunk: Uint8Array): void {
    this.decoder.push(chunk);
    if (this.#holds === 0 && this.#receiver !== undefined) this.#deliver();
    else {
      if (this.decoder.buffered > READ_AHEAD_BYTES) this.#socket.pauseSocket();
      this.#wake(); // reads on where a frame is not complete
    }
    this.#count();
  }

  /** Memory of undelivered input, in bytes. */
  get allocated(): number {
    return this.#counted;
  }

  /** Counts the decoder's memory in the budget, until the socket is closed. */
  #count(): void {
    const allocated = this.#state.socket === "closed" ? 0 : this.decoder.allocated;
    const grown = allocated - this.#counted;
    this.#counted = allocated;
    if (grown > 0) this.#budget.take(grown);
    else if (grown < 0) this.#budget.give(-grown);
  }

  /** The peer's FIN. */
  end(): void {
    this.#wake();
    this.#deliver();
  }

  /** The socket is closed. */
  close(error: Error | undefined): void {
    this.#closeError = error;
    this.#holds &= ~HOLD_OUTPUT; // no `drain` will come
    this.#count();
    this.#wake();
    if (this.#holds === 0 && !this.#delivering) this.#deliver();
    if (this.#delivering) return; // in the middle of a send: `#deliver` ends with it
    if (this.isHeld) this.#receiver?.disconnected?.(error);
    this.#deliverClose();
  }

  // --- pulling ---

  /**
   * The next payload, or null when the peer has ended its sending side between two frames.
   *
   * @throws {ParleyError} the error of `abort`.
   * @throws {FrameError} when the peer broke the framing.
   * @throws {ConnectionError} `reset` when the connection was lost.
   */
  read(): Promise<Uint8Array | null> {
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
      this.#wake();
    });
  }

  /** Settles the pending `read`, if it can be. */
  #wake(): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    try {
      const payload = this.#nextOrEnd();
      if (payload === undefined) return this.#socket.resumeSocket();
      this.#pending = undefined;
      pending.resolve(payload);
    } catch (error) {
      this.#pending = undefined;
      pending.reject(error);
    }
  }

  /** The next payload; null at the end of the input, and undefined when more bytes are needed. */
  #nextOrEnd(): Uint8Array | null | undefined {
    this.check();
    const payload = this.decoder.next();
    if (payload !== undefined || !this.#state.inputEnded) return payload;
    if (this.#closeError !== undefined) {
      throw new ConnectionError("reset", "the connection was reset", { cause: this.#closeError });
    }
    this.decoder.end();
    return null;
  }

  /** Makes the pending `read`, and every later one, throw `error`. */
  abort(error: ParleyError<string>): void {
    this.#aborted = error;
    this.#wake();
  }

  // --- delivering ---

  /**
   * Delivers every later frame to `receiver`, also those that were received already, once `prepare` is done.
   * Failures and the end of the connection reach it from now on.
   */
  deliver(receiver: Receiver, prepare?: () => void | Promise<void>): void {
    this.#receiver = receiver;
    this.#holds |= HOLD_PROMISE;
    try {
      const pending = prepare?.();
      if (pending !== undefined) return this.#holdUntil(pending);
    } catch (error) {
      this.fail(error);
    }
    this.#release(HOLD_PROMISE);
  }

  /** Delivers the received frames. All output of the delivery leaves in one write. */
  #deliver(): void {
    this.#again = this.#delivering;
    if (this.#delivering) return; // hooks are not called within a hook
    this.#delivering = true;
    const isBatched = this.#batch.begin();
    try {
      this.#deliverFrames();
    } finally {
      if (isBatched) this.#batch.end();
      this.#delivering = false;
    }
    // An end that arrived meanwhile is delivered now, after the output before it.
    if (this.#again && this.#holds === 0) this.#goOn();
    if (this.#state.socket !== "closed") return;
    if (this.isHeld) this.#receiver?.disconnected?.(this.#closeError);
    this.#deliverClose();
  }

  /** Delivers until something holds. The hot path. */
  #deliverFrames(): void {
    const receiver = this.#receiver;
    if (receiver === undefined) return;
    const { decoder } = this;
    let left = TURN_FRAMES;
    try {
      while (this.#holds === 0) {
        if (!decoder.take()) {
          receiver.turnEnded?.();
          if (this.#state.read === "ended") this.#deliverEnd(receiver);
          return;
        }
        const pending = decoder.isControl
          ? receiver.control(decoder.payload)
          : receiver.message(decoder.message);
        if (pending !== undefined) this.#holdUntil(pending);
        left -= decoder.isControl ? CONTROL_WEIGHT : 1;
        if (left <= 0) this.#yieldTurn();
      }
      // Delivered frames are acknowledged although others are held back.
      if ((this.#holds & HOLD_OVER) === 0) receiver.turnEnded?.();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Stops delivering; calls the receiver's `fail` once. */
  fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#holds |= HOLD_OVER;
    this.#receiver?.fail(error);
    this.#deliverClose();
  }

  /** More output is queued than the peer may leave unread: the receiver decides, or it is `error`. */
  overBacklog(error: ConnectionError): void {
    if (this.#receiver?.overBacklog === undefined) this.fail(error);
    else if (!this.#failed) this.#receiver.overBacklog();
  }

  /** Delivers nothing any more, and calls no receiver. */
  detach(): void {
    this.#receiver = undefined;
    this.stop();
  }

  /** Delivers nothing any more: this side closes. */
  stop(): void {
    this.#holds |= HOLD_OVER;
  }

  /** Delivers nothing, and reads nothing, until the output has drained. */
  holdForOutput(): void {
    if (this.#receiver === undefined) return;
    this.#holds |= HOLD_OUTPUT;
    this.#socket.pauseSocket();
  }

  outputDrained(): void {
    this.#release(HOLD_OUTPUT);
  }

  /** Delivers nothing, and reads nothing, until what was traced is printed. */
  holdForTrace(): void {
    this.#holds |= HOLD_TRACE;
    this.#socket.pauseSocket();
  }

  traced(): void {
    this.#release(HOLD_TRACE);
  }

  #deliverEnd(receiver: Receiver): void {
    if (this.#endDelivered) return;
    this.#endDelivered = true;
    this.decoder.end();
    const pending = receiver.end();
    if (pending !== undefined) this.#holdUntil(pending);
  }

  /** Calls the receiver's `close`, once everything that had arrived was delivered. */
  #deliverClose(): void {
    const isBusy = (this.#holds & HOLD_OVER) === 0 && this.#holds !== 0;
    if (this.#state.socket !== "closed" || isBusy || this.#closeDelivered || this.#receiver === undefined)
      return;
    this.#closeDelivered = true;
    this.#holds |= HOLD_OVER;
    this.#receiver.close(this.#closeError);
  }

  /** Lets the other connections deliver first. */
  #yieldTurn(): void {
    this.#holds |= HOLD_TURN;
    if (this.decoder.buffered > READ_AHEAD_BYTES) this.#socket.pauseSocket();
    setImmediate(() => this.#release(HOLD_TURN));
  }

  #holdUntil(pending: Promise<void>): void {
    this.#holds |= HOLD_PROMISE;
    void pending.then(
      () => this.#release(HOLD_PROMISE),
      (error: unknown) => this.fail(error),
    );
  }

  #release(reason: number): void {
    if ((this.#holds & reason) === 0) return;
    this.#holds &= ~reason;
    if (this.#holds === 0) this.#goOn();
  }

  #goOn(): void {
    this.#deliver();
    this.#count();
    // Reading on before this would let a chunk in for each promise, and grow without bound (measured with Bun 1.4.5).
    const hasRoom =
      this.decoder.buffered <= READ_AHEAD_BYTES && (this.#holds & (HOLD_OUTPUT | HOLD_TRACE)) === 0;
    if (this.#holds === 0 || hasRoom) this.#socket.resumeSocket();
    this.#deliverClose();
  }
}
