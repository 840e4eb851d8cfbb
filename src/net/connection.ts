// One peer as payloads, over one Bun socket.
//
//     kernel → received → FrameDecoder ┬ read()      before login: the handshake pulls, one payload at a time
//                                      └ deliver(r)  after login: every whole frame of a chunk goes to `r` in one turn
//     send → Sender → one write a turn → kernel
//
// Order holds: while `r.payload` returned a promise, or too much output is queued, nothing further is delivered.
// Nothing here knows what a payload means, who the peer is, or when to log.

import type { Socket } from "bun";
import { ParleyError, messageOf } from "../errors.ts";
import { MAX_BACKLOG_BYTES } from "../limits.ts";
import { FrameDecoder, writeControlHeader } from "../wire/frame.ts";
import type { Cork } from "./cork.ts";
import { Farewell, type FarewellEvents } from "./farewell.ts";
import { Sender, type SenderEvents } from "./sender.ts";

/** `too_slow`: the peer left more output unread than it may. `reset`: the connection was lost. */
export class ConnectionError extends ParleyError<"too_slow" | "reset"> {
  override name = "ConnectionError";
}

/** Takes what a connection delivers. */
export interface Receiver {
  /** A payload, the receiver's to keep. A promise, here and below, holds the next frame back until it settles. */
  payload(payload: Uint8Array): void | Promise<void>;
  /** The payload of a control frame. */
  control(payload: Uint8Array): void | Promise<void>;
  /** The peer has ended its sending side, between two frames. */
  end(): void | Promise<void>;
  /** The peer broke the framing or left too much unread, or a receiver threw: the connection delivers no more. */
  fail(error: unknown): void;
  /** The connection is gone; called once, last. `error` when it was reset. */
  close(error: Error | undefined): void;
}

export interface ConnectionOptions {
  cork: Cork;
  /** Longest payload accepted, in bytes; changed by the handshake. */
  maxFrame: number;
  /** Queued output at which the peer is given up, in bytes. */
  maxBacklog?: number;
  /**
   * Read nothing while much output is queued: for the side that answers. If both sides did it, two that talk at once
   * would wait for each other for ever.
   */
  holdInput?: boolean;
  /** Sees every byte as it passes, for `--trace`. */
  tap?: (direction: "in" | "out", bytes: Uint8Array) => void;
  /** Called once, when the socket is gone. */
  onClose?: (connection: Connection) => void;
}

/** Why nothing is delivered at the moment; bits of `#holds`. */
const HOLD_PROMISE = 1; // the receiver is still busy with the last payload
const HOLD_OUTPUT = 2; // the peer does not read what it asked for
const HOLD_OVER = 4; // failed, finishing or closed: for good

/** What Bun reads at once from a plain socket, at most (measured). */
const RECEIVE_BUFFER_BYTES = 512 * 1024;

/** Input kept for a receiver that is busy before the socket itself is paused, in bytes. */
const READ_AHEAD_BYTES = 64 * 1024;

export class Connection implements SenderEvents, FarewellEvents {
  /** The peer's address without the `::ffff:` of a dual-stack listener. */
  readonly address: string;
  /** `address:port` of the peer, as logs and services show it. */
  readonly peer: string;
  readonly decoder: FrameDecoder;
  /** Set with every chunk; whoever looks for silence clears it. */
  heard = false;
  /** Set when a read found less than it had room for: all that had arrived by then is here. */
  caughtUp = false;

  readonly #socket: Socket<Connection>;
  readonly #sender: Sender;
  readonly #maxBacklog: number;
  readonly #holdInput: boolean;
  readonly #tap: ConnectionOptions["tap"];
  readonly #onClose: ConnectionOptions["onClose"];
  #receiver: Receiver | undefined;
  #holds = 0;
  #paused = false;
  #peerEnded = false;
  #endDelivered = false;
  #finSent = false;
  #closed = false;
  #closeError: Error | undefined;
  #closeDelivered = false;
  #aborted: ParleyError<string> | undefined;
  #wakeReader: (() => void) | undefined;
  #farewell: Farewell | undefined;

  constructor(socket: Socket<Connection>, options: ConnectionOptions) {
    // Read now: Bun forgets both by the time of `close`.
    this.address = socket.remoteAddress.replace(/^::ffff:(?=\d+\.)/i, "");
    this.peer = formatAddress(this.address, socket.remotePort);
    this.#socket = socket;
    const { cork, tap } = options;
    this.#sender = new Sender(socket, cork, this, tap && ((bytes) => tap("out", bytes)));
    this.#maxBacklog = options.maxBacklog ?? MAX_BACKLOG_BYTES;
    this.#holdInput = options.holdInput ?? false;
    this.#tap = tap;
    this.#onClose = options.onClose;
    this.decoder = new FrameDecoder(options.maxFrame);
  }

  /** Is the socket gone? */
  get closed(): boolean {
    return this.#closed;
  }

  /** Has `finish` or `terminate` been called, or the socket closed? */
  get finishing(): boolean {
    return this.#farewell !== undefined || this.#closed;
  }

  /** Has the peer ended its side, or the connection ended altogether? */
  get over(): boolean {
    return this.#peerEnded || this.#closed;
  }

  /** Is a payload still with the receiver, or input held back? */
  get busy(): boolean {
    return (this.#holds & ~HOLD_OVER) !== 0;
  }

  // --- reading, before login ---

  /**
   * The next payload, or null when the peer has ended its sending side between two frames.
   *
   * @throws {ParleyError} whatever `abort` was given.
   * @throws {FrameError} when the peer broke the framing.
   * @throws {ConnectionError} `reset` when the connection was lost.
   */
  async read(): Promise<Uint8Array | null> {
    for (;;) {
      if (this.#aborted !== undefined) throw this.#aborted;
      const payload = this.decoder.next();
      if (payload !== undefined) return payload;
      if (this.#peerEnded || this.#closed) {
        if (this.#closeError !== undefined) {
          throw new ConnectionError("reset", "the connection was reset", { cause: this.#closeError });
        }
        this.decoder.end();
        return null;
      }
      this.#unpause();
      await new Promise<void>((resolve) => (this.#wakeReader = resolve));
    }
  }

  /** Makes the pending `read`, and every later one, throw `error`: a deadline has passed. */
  abort(error: ParleyError<string>): void {
    this.#aborted = error;
    this.#wake();
  }

  // --- delivering, after login ---

  /** Hands every further frame to `receiver`, beginning with those that came on the heels of the login. */
  deliver(receiver: Receiver): void {
    this.#receiver = receiver;
    this.#unpause();
    this.#turn();
    this.#deliverClose();
  }

  /** One turn: everything sent while delivering leaves in one write at its end. */
  #turn(): void {
    const corked = this.#sender.beginTurn();
    try {
      this.#deliver();
    } finally {
      if (corked) this.#sender.endTurn();
    }
  }

  #deliver(): void {
    const receiver = this.#receiver;
    if (receiver === undefined) return;
    const decoder = this.decoder;
    try {
      while (this.#holds === 0) {
        const payload = decoder.next();
        if (payload === undefined) {
          if (this.#peerEnded) this.#deliverEnd(receiver);
          return;
        }
        const pending = decoder.isControl ? receiver.control(payload) : receiver.payload(payload);
        if (pending !== undefined) this.#holdUntil(pending);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #deliverEnd(receiver: Receiver): void {
    if (this.#endDelivered) return;
    this.#endDelivered = true;
    this.decoder.end();
    const pending = receiver.end();
    if (pending !== undefined) this.#holdUntil(pending);
  }

  #fail(error: unknown): void {
    if (this.#closeDelivered) return;
    this.#holds |= HOLD_OVER;
    this.#receiver?.fail(error);
    this.#deliverClose();
  }

  #holdUntil(pending: Promise<void>): void {
    this.#holds |= HOLD_PROMISE;
    void pending.then(
      () => this.#release(HOLD_PROMISE),
      (error: unknown) => this.#fail(error),
    );
  }

  #hold(reason: number): void {
    this.#holds |= reason;
    this.#pause();
  }

  #release(reason: number): void {
    if ((this.#holds & reason) === 0) return;
    this.#holds &= ~reason;
    if (this.#holds !== 0) return;
    this.#unpause();
    this.#turn();
    this.#deliverClose();
  }

  #pause(): void {
    if (this.#paused || this.#closed) return;
    this.#paused = true;
    this.#socket.pause();
  }

  #unpause(): void {
    if (!this.#paused || this.#closed) return;
    this.#paused = false;
    this.#socket.resume();
  }

  // --- sending ---

  /**
   * Sends one payload: text as UTF-8, bytes as they are. They are copied or in the kernel when this returns.
   *
   * Nothing happens on a connection that is finishing or gone.
   */
  send(payload: string | Uint8Array): void {
    this.#sender.send(payload);
  }

  /** Sends one control frame; only after both sides agreed to them. */
  sendControl(text: string): void {
    this.#sender.send(text, writeControlHeader);
  }

  /** Resolves when little enough output is queued to send more; undefined when that is so already. */
  writable(): Promise<void> | undefined {
    return this.#sender.writable();
  }

  /** Says no more but goes on listening: queued output, then FIN. How a client without control frames ends. */
  endSending(): void {
    this.#sender.end();
  }

  /** The sender's: too much is queued. */
  backedUp(queued: number): void {
    if (queued > this.#maxBacklog) {
      if ((this.#holds & HOLD_OVER) !== 0) return;
      this.#fail(new ConnectionError("too_slow", `${queued} bytes of output were left unread`));
    } else if (this.#holdInput && this.#receiver !== undefined) {
      this.#hold(HOLD_OUTPUT);
    }
  }

  /** The sender's: nothing is queued any more. */
  drained(): void {
    this.#release(HOLD_OUTPUT);
  }

  // --- ending ---

  /**
   * Says no more: queued output goes out, then FIN. What the peer still sends is discarded for a while, so that a reset
   * does not destroy our last words; then the socket is closed.
   */
  finish(): void {
    if (this.finishing) return;
    this.#holds |= HOLD_OVER;
    this.#unpause();
    this.#farewell = new Farewell(this.#sender, this);
    this.#sender.end();
    if (this.#finSent) this.#farewell.sent(this.#peerEnded);
  }

  /** Closes at once with a reset: what is queued is lost. */
  terminate(): void {
    this.#holds |= HOLD_OVER;
    if (!this.#closed) this.#socket.terminate();
  }

  /** The farewell's: close(2). */
  close(): void {
    if (!this.#closed) this.#socket.end();
  }

  /** The sender's: FIN is on its way. */
  ended(): void {
    this.#finSent = true;
    this.#farewell?.sent(this.#peerEnded);
  }

  // --- what the socket says ---

  /** The socket's `data`. */
  received(chunk: Uint8Array): void {
    this.heard = true;
    if (chunk.length < RECEIVE_BUFFER_BYTES) this.caughtUp = true;
    this.#tap?.("in", chunk);
    if (this.#farewell !== undefined) return this.#farewell.discard(chunk.length);
    this.decoder.push(chunk);
    if (this.#holds === 0 && this.#receiver !== undefined) return this.#turn();
    this.#wake();
    if (this.decoder.buffered > READ_AHEAD_BYTES) this.#pause();
  }

  /** The socket's `end`: the peer's FIN. */
  peerEnded(): void {
    this.#peerEnded = true;
    this.#wake();
    if (this.#farewell === undefined) this.#turn();
    else this.#farewell.peerEnded();
  }

  /** The socket's `drain`. */
  flush(): void {
    this.#sender.flush();
  }

  /** The socket's `close`. */
  wasClosed(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#closeError = error;
    // After our own FIN, Bun reports the peer's as `close` alone (measured).
    if (error === undefined) this.#peerEnded = true;
    this.#farewell?.over();
    this.#sender.close();
    this.#wake();
    this.#onClose?.(this);
    if (this.#holds === 0) this.#turn();
    this.#deliverClose();
  }

  /** Tells the receiver that it is over, once it has taken what had arrived. */
  #deliverClose(): void {
    const isBusy = (this.#holds & HOLD_OVER) === 0 && this.#holds !== 0;
    if (!this.#closed || isBusy || this.#closeDelivered || this.#receiver === undefined) return;
    this.#closeDelivered = true;
    this.#holds |= HOLD_OVER;
    this.#receiver.close(this.#closeError);
  }

  /** The socket's `error`: one of our own handlers threw what it should have caught. */
  broke(error: unknown): void {
    if (this.#receiver === undefined)
      this.abort(new ConnectionError("reset", messageOf(error), { cause: error }));
    else this.#fail(error);
  }

  #wake(): void {
    this.#wakeReader?.();
    this.#wakeReader = undefined;
  }
}

/** `host:port` with the brackets that an IPv6 address needs. */
export function formatAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
