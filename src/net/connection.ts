// One peer over one Bun socket: a frame reader, a frame writer, and the closing of both. connection-state.ts has the state of each
// direction.
//
//     kernel → received → FrameReader → read() or deliver()          send() → FrameWriter → one write a batch → kernel
//
// The listener and `dial` make connections; handshakes and sessions use them. This file does not interpret payloads, know
// the user, or log.

import type { Socket } from "bun";
import type { Bindings } from "../base/bindings.ts";
import { messageOf, type ParleyError } from "../base/errors.ts";
import { MAX_BACKLOG_BYTES, TCP_KEEPALIVE_MS } from "../base/limits.ts";
import { UINT32, writeControlHeader, type FrameDecoder, type Framing } from "../wire/frame.ts";
import { formatAddress, plainAddress } from "../base/address.ts";
import type { Listed } from "../base/roster.ts";
import { ConnectionError } from "./connection-error.ts";
import { ConnectionState } from "./connection-state.ts";
import type { Cork } from "./cork.ts";
import { unsentBytes } from "../os/sockets.ts";
import { LingeringClose, type LingeringCloseEvents, type Patience } from "./linger.ts";
import { FrameReader, type PausableSocket, type Receiver } from "./reader.ts";
import type { RetransmitBuffer } from "../delivery/retransmit-buffer.ts";
import type { ReceivedMessage } from "../wire/received-message.ts";
import { FrameWriter, type FrameWriterEvents } from "./writer.ts";

export type Tap = (direction: "in" | "out", bytes: Uint8Array) => void | Promise<void>;

export interface ConnectionOptions {
  cork: Cork;
  /** Longest payload accepted, in bytes; changed by the handshake. */
  maxFrame: number;
  /** The headers of frames, both ways (default: uint32). */
  framing?: Framing;
  /** Queued output at which the connection fails with `too_slow`, in bytes. */
  maxBacklog?: number;
  /**
   * True for the side that answers: it reads nothing while much output is queued. If both sides did so, two peers that send at
   * once would wait for each other without end.
   */
  holdInput?: boolean;
  /** When it was accepted, by `performance.now` (default: now), and from where (default: the address of the socket). */
  since?: number;
  address?: string;
  port?: number;
  /** The channel bindings for proofs; undefined on plain TCP. */
  bindings?: Bindings;
  /** The pin of the peer's key, over TLS. */
  pin?: string;
  /** Sees every byte as it passes, for `--trace`. Nothing more is delivered before the promise that it returns is settled. */
  tap?: Tap;
  /** Called once, when the socket is closed. */
  onClose?: (connection: Connection) => void;
}

/** The most that Bun reads at once from a plain socket (measured with Bun 1.4.5). */
const RECEIVE_BUFFER_BYTES = 512 * 1024;

export class Connection implements PausableSocket, FrameWriterEvents, LingeringCloseEvents, Listed {
  /** In the listener's roster. */
  place = -1;
  /** The peer's address without the `::ffff:` of a dual-stack listener. */
  readonly address: string;
  /** When it was accepted or dialled, by `performance.now`. */
  readonly since: number;
  /** The channel bindings for proofs that are accepted over TLS; none on plain TCP. */
  readonly bindings: Bindings;
  /** True for a TLS channel. */
  readonly encrypted: boolean;
  /** The pin of the peer's key, if it sent a certificate. */
  readonly pin: string | undefined;
  /** Chunks received so far: timeouts compare it. */
  chunks = 0;
  /** Bytes received so far. */
  bytes = 0;
  /** True when the last read did not fill its buffer: all input that had arrived was read. */
  receiveQueueDrained = false;

  readonly #port: number;
  readonly #socket: Socket<Connection>;
  readonly #reader: FrameReader;
  readonly #writer: FrameWriter;
  readonly #maxBacklog: number;
  readonly #holdInput: boolean;
  readonly #tap: Tap | undefined;
  /** The promise of the tap, until it is settled. */
  #tracing: Promise<void> | undefined;
  readonly #onClose: ConnectionOptions["onClose"];
  #paused = false;
  #backedUpSince: number | undefined;
  readonly #state = new ConnectionState();
  #lingering: LingeringClose | undefined;

  constructor(socket: Socket<Connection>, options: ConnectionOptions) {
    // Read now: Bun forgets both by the time of `close`.
    this.address = options.address ?? plainAddress(socket.remoteAddress);
    this.#port = options.port ?? socket.remotePort;
    this.since = options.since ?? performance.now();
    this.bindings = options.bindings ?? NO_BINDINGS;
    this.encrypted = options.bindings !== undefined;
    this.pin = options.pin;
    this.#socket = socket;
    const { cork, framing = UINT32, tap } = options;
    const tapOut = tap && ((bytes: Uint8Array) => this.#trace(tap, "out", bytes));
    this.#writer = new FrameWriter(socket, this.#state, cork, framing, this, tapOut);
    this.#reader = new FrameReader(options.maxFrame, framing, this.#state, this, this.#writer, cork.budget);
    this.#maxBacklog = options.maxBacklog ?? MAX_BACKLOG_BYTES;
    this.#holdInput = options.holdInput ?? false;
    this.#tap = tap;
    this.#onClose = options.onClose;
  }

  /** `address:port` of the peer, as logs and services show it. */
  get peer(): string {
    return formatAddress(this.address, this.#port);
  }

  /** `address:port` of this end; undefined on a closed connection. */
  get local(): string | undefined {
    if (this.closed) return undefined;
    return formatAddress(plainAddress(this.#socket.localAddress), this.#socket.localPort);
  }

  /** The reader's decoder, whose limits change when the login is done. */
  get decoder(): FrameDecoder {
    return this.#reader.decoder;
  }

  /** True when the socket is closed. */
  get closed(): boolean {
    return this.#state.socket === "closed";
  }

  /** True after {@link finish}, and when the socket is closed. */
  get finishing(): boolean {
    return this.#lingering !== undefined || this.closed;
  }

  /** True when the peer has sent FIN, or the socket is closed. */
  get inputEnded(): boolean {
    return this.#state.inputEnded;
  }

  /** True while more input can be delivered: before the peer's FIN, and before a failure. */
  get canDeliver(): boolean {
    return this.#reader.canDeliver;
  }

  /** True while a `read` is pending. */
  get isReading(): boolean {
    return this.#reader.isReading;
  }

  /** True while the receiver processes a frame, or input is held back. */
  get isInputHeld(): boolean {
    return this.#reader.isHeld;
  }

  /** True while input is held back because the peer does not read. */
  get isWriteBlocked(): boolean {
    return this.#reader.isWriteBlocked;
  }

  /** Bytes that the kernel has accepted so far. */
  get written(): number {
    return this.#writer.written;
  }

  // --- input ---

  /** The next payload, before login: see {@link FrameReader.read}. */
  read(): Promise<Uint8Array | null> {
    return this.#reader.read();
  }

  /** Makes the pending `read`, and every later one, throw `error`: a deadline has passed. */
  abort(error: ParleyError<string>): void {
    this.#reader.abort(error);
  }

  /** @throws {ParleyError} the error of `abort`, if it was called: for callers that have waited for something else. */
  check(): void {
    this.#reader.check();
  }

  /** Delivers every later frame to `receiver`, also frames that arrived with the login: see {@link FrameReader.deliver}. */
  deliver(receiver: Receiver, prepare?: () => void | Promise<void>): void {
    this.#reader.deliver(receiver, prepare);
  }

  pauseSocket(): void {
    if (this.#paused || this.closed) return;
    this.#paused = true;
    this.#socket.pause();
  }

  resumeSocket(): void {
    if (!this.#paused || this.closed) return;
    this.#paused = false;
    this.#socket.resume();
  }

  // --- output ---

  /**
   * Sends one payload: text as UTF-8, bytes and received messages as they are. The bytes may be reused when this returns.
   *
   * Does nothing on a connection that is finishing or closed.
   */
  send(message: string | Uint8Array | ReceivedMessage): void {
    this.#writer.send(message);
  }

  /** Sends `bytes` as payloads of `longest` bytes at most, and hands them to the kernel now, not at the end of the turn. */
  sendAtOnce(bytes: Uint8Array, longest: number): void {
    const isBatched = this.#writer.begin();
    try {
      for (let at = 0; at < bytes.length; at += longest) this.#writer.send(bytes.subarray(at, at + longest));
    } finally {
      if (isBatched) this.#writer.end();
    }
  }

  /** Sends one control frame. Only for connections whose sides have agreed to control frames. */
  sendControl(text: string): void {
    this.#writer.send(text, writeControlHeader);
  }

  /** From now on, keeps sent frames in `buffer` until they are acknowledged; undefined: keeps none. */
  trackUnacked(retention: RetransmitBuffer | undefined): void {
    this.#writer.track(retention);
  }

  /** True when sent frames are kept until they are acknowledged. */
  get tracksUnacked(): boolean {
    return this.#writer.isTracking;
  }

  /** Sends one control frame after all payloads, those that are sent again included. */
  sendLast(text: string): void {
    this.#writer.sendLast(text);
  }

  /**
   * Sends the frames in `retransmit` again, without the first `received` payloads of the session, as fast as the peer reads. Later
   * frames follow them, and are kept in the same buffer.
   */
  sendAgain(retransmit: RetransmitBuffer, received = retransmit.acknowledged): void {
    this.#writer.sendAgain(retransmit, received);
  }

  /** Stops delivering, and calls the receiver's `fail` unless it was called before. */
  fail(error: unknown): void {
    this.#reader.fail(error);
  }

  /** Stops delivering without calling the receiver: the session has another connection. */
  detach(): void {
    this.#reader.detach();
  }

  /** True when the kernel has not accepted all output yet. */
  get hasOutput(): boolean {
    return this.#writer.hasOutput;
  }

  /** Bytes that the kernel has not accepted yet. */
  get queued(): number {
    return this.#writer.queued;
  }

  /** Resolves when there is room to send more; undefined when there is room now. */
  writable(): Promise<void> | undefined {
    return this.#writer.writable() ?? this.#tracing;
  }

  /** Half-closes: queued output, then FIN. Input is still delivered. */
  endSending(): void {
    this.#writer.endSending();
  }

  /** Called by the writer when much is queued. */
  backedUp(queued: number): void {
    this.#backedUpSince ??= performance.now();
    if (this.#holdInput) this.#reader.holdForOutput();
    if (queued > this.#maxBacklog && !this.finishing) {
      this.#reader.overBacklog(
        new ConnectionError("too_slow", `the peer left ${queued} bytes of output unread`),
      );
    }
  }

  /** Called by the writer when its queue is empty. */
  drained(): void {
    this.#backedUpSince = undefined;
    this.#reader.outputDrained();
  }

  /** Since when much output is queued, by `performance.now`; undefined once the queue is empty. */
  get backedUpSince(): number | undefined {
    return this.#backedUpSince;
  }

  /** The amount of output that the peer may leave unread, in bytes. */
  get maxBacklog(): number {
    return this.#maxBacklog;
  }

  /** Memory for the peer, in bytes: queued output and undelivered input. */
  get allocated(): number {
    return this.#writer.queued + this.#reader.allocated;
  }

  /** Turns TCP keepalive on. It takes four system calls, so only connections that last have it. */
  keepAlive(): void {
    if (!this.closed) this.#socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
  }

  // --- the end ---

  /**
   * Closes with a lingering close: queued output goes out, then FIN. Input is discarded for a while, so that no reset
   * destroys our output; then the socket is closed.
   */
  finish(patience: Patience = "brief"): void {
    if (this.finishing) return;
    this.#reader.stop();
    this.#lingering = new LingeringClose(this.#state, this.#writer, this, patience);
    const { write, inputEnded } = this.#state;
    if (write === "fin-sent") return this.ended();
    if (inputEnded && !this.#writer.hasOutput) return this.close(); // both sides have ended
    this.#writer.endSending();
    if (this.#state.write !== "fin-sent") this.pauseSocket(); // reads no input before all output is sent
  }

  /** Closes at once with a reset; queued output is lost. */
  terminate(): void {
    this.#reader.stop();
    if (!this.closed) this.#socket.terminate();
  }

  /** Bytes sent that the peer's kernel has not acknowledged; undefined on a system that cannot say. */
  get unsent(): number | undefined {
    return this.closed ? 0 : unsentBytes((this.#socket as unknown as { fd: number }).fd);
  }

  /** Called by the lingering close: close(2). */
  close(): void {
    if (!this.closed) this.#socket.end();
  }

  /** Called by the writer when FIN is sent. */
  ended(): void {
    if (this.#lingering === undefined) return;
    this.resumeSocket();
    this.#lingering.finSent();
  }

  // --- events of the socket ---

  /** The socket's `data`. */
  received(chunk: Uint8Array): void {
    this.chunks++;
    this.bytes += chunk.length;
    if (chunk.length < RECEIVE_BUFFER_BYTES) this.receiveQueueDrained = true;
    if (this.#lingering !== undefined) return this.#lingering.discard(chunk.length);
    if (this.#tap !== undefined) this.#trace(this.#tap, "in", chunk);
    this.#reader.arrived(chunk);
  }

  #trace(tap: Tap, direction: "in" | "out", bytes: Uint8Array): void {
    const printed = tap(direction, bytes);
    if (printed === undefined || printed === this.#tracing) return;
    this.#tracing = printed;
    if (this.#lingering === undefined) this.#reader.holdForTrace();
    void printed.then(() => {
      if (this.#tracing !== printed) return;
      this.#tracing = undefined;
      this.#reader.traced();
    });
  }

  /** The socket's `end`: the peer's FIN. */
  peerEnded(): void {
    this.#state.peerEnded();
    this.#reader.end();
    this.#lingering?.peerEnded();
  }

  /** The socket's `drain`. */
  flush(): void {
    this.#writer.flush();
  }

  /** The socket's `close`. After our own FIN, Bun reports the peer's FIN as this alone (measured with Bun 1.4.5). */
  wasClosed(error: Error | undefined): void {
    if (this.closed) return;
    this.#state.closed(error !== undefined);
    this.#lingering?.cancel();
    this.#writer.close();
    this.#onClose?.(this);
    this.#reader.close(error);
  }

  /** The socket's `error`: a handler of the socket threw. */
  onHandlerError(error: unknown): void {
    this.#reader.abort(new ConnectionError("reset", messageOf(error), { cause: error }));
    this.#reader.fail(error);
  }
}

const NO_BINDINGS: Bindings = new Map();
