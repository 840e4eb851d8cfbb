// One peer over one Bun socket: a frame reader, a frame writer, and the closing of both. How far each direction has come is in
// connection-state.ts.
//
//     kernel → received → FrameReader → read() or deliver()          send() → FrameWriter → one write a batch → kernel
//
// The listener and `dial` make connections; handshakes and sessions use them. Nothing here knows what a payload means, who the
// peer is, or when to log.

import type { Socket } from "bun";
import { messageOf, type ParleyError } from "../base/errors.ts";
import { MAX_BACKLOG_BYTES, TCP_KEEPALIVE_MS } from "../base/limits.ts";
import { writeControlHeader, type FrameDecoder } from "../wire/frame.ts";
import { formatAddress, plainAddress } from "../base/address.ts";
import { ConnectionError } from "./connection-error.ts";
import { ConnectionState } from "./connection-state.ts";
import type { Cork } from "./cork.ts";
import { unsentBytes } from "../os/sockets.ts";
import { LingeringClose, type LingeringCloseEvents, type Patience } from "./linger.ts";
import { FrameReader, type PausableSocket, type Receiver } from "./reader.ts";
import type { RetransmitBuffer } from "../delivery/retransmit-buffer.ts";
import { FrameWriter, type FrameWriterEvents } from "./writer.ts";

export type Tap = (direction: "in" | "out", bytes: Uint8Array) => void | Promise<void>;

export interface ConnectionOptions {
  cork: Cork;
  /** Longest payload accepted, in bytes; changed by the handshake. */
  maxFrame: number;
  /** Queued output at which the connection fails with `too_slow`, in bytes. */
  maxBacklog?: number;
  /**
   * Read nothing while much output is queued: for the side that answers. If both sides did it, two peers that send at
   * once would wait for each other without end.
   */
  holdInput?: boolean;
  /** When it was accepted, by `performance.now` (default: now), and from where (default: what the socket says). */
  since?: number;
  address?: string;
  port?: number;
  /** What binds proofs to this TLS channel (RFC 9266); undefined on plain TCP. */
  exporter?: Uint8Array;
  /** The pin of the peer's key, over TLS. */
  pin?: string;
  /** Sees every byte as it passes, for `--trace`. Nothing more is delivered before the promise that it returns is settled. */
  tap?: Tap;
  /** Called once, when the socket is gone. */
  onClose?: (connection: Connection) => void;
}

/** The most that Bun reads at once from a plain socket (measured with Bun 1.4.5). */
const RECEIVE_BUFFER_BYTES = 512 * 1024;

export class Connection implements PausableSocket, FrameWriterEvents, LingeringCloseEvents {
  /** The peer's address without the `::ffff:` of a dual-stack listener. */
  readonly address: string;
  /** When it was accepted or dialled, by `performance.now`. */
  readonly since: number;
  /** What binds proofs to this channel: 32 bytes over TLS, none on plain TCP. */
  readonly binding: Uint8Array;
  /** The pin of the peer's key, where it showed one. */
  readonly pin: string | undefined;
  /** Chunks received so far: timeouts compare it. */
  chunks = 0;
  /** Bytes received so far. */
  bytes = 0;
  /** Set when a read found less than it had room for: everything that had arrived by then was read. */
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
    this.binding = options.exporter ?? NO_BINDING;
    this.pin = options.pin;
    this.#socket = socket;
    const { cork, tap } = options;
    const tapOut = tap && ((bytes: Uint8Array) => this.#trace(tap, "out", bytes));
    this.#writer = new FrameWriter(socket, this.#state, cork, this, tapOut);
    this.#reader = new FrameReader(options.maxFrame, this.#state, this, this.#writer, cork.budget);
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

  /** Is the socket gone? */
  get closed(): boolean {
    return this.#state.socket === "closed";
  }

  /** Was {@link finish} called, or is the socket closed? */
  get finishing(): boolean {
    return this.#lingering !== undefined || this.closed;
  }

  /** Has the peer sent FIN, or is the socket closed? */
  get inputEnded(): boolean {
    return this.#state.inputEnded;
  }

  /** Can more input be delivered? Not after the peer's FIN, and not after a failure. */
  get canDeliver(): boolean {
    return this.#reader.canDeliver;
  }

  /** Is a `read` pending? */
  get isReading(): boolean {
    return this.#reader.isReading;
  }

  /** Is it a TLS channel? */
  get encrypted(): boolean {
    return this.binding.length > 0;
  }

  /** Is a frame still with the receiver, or is input held back? */
  get isInputHeld(): boolean {
    return this.#reader.isHeld;
  }

  /** Is input held back because the peer does not read? */
  get isWriteBlocked(): boolean {
    return this.#reader.isWriteBlocked;
  }

  /** Bytes that the kernel has taken so far. */
  get written(): number {
    return this.#writer.written;
  }

  // --- what comes in ---

  /** The next payload, before login: see {@link FrameReader.read}. */
  read(): Promise<Uint8Array | null> {
    return this.#reader.read();
  }

  /** Makes the pending `read`, and every later one, throw `error`: a deadline has passed. */
  abort(error: ParleyError<string>): void {
    this.#reader.abort(error);
  }

  /** @throws {ParleyError} what `abort` was given, if it was called: for callers that have waited for something else. */
  check(): void {
    this.#reader.check();
  }

  /** Delivers every further frame to `receiver`, also those that came with the login: see {@link FrameReader.deliver}. */
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

  // --- what goes out ---

  /**
   * Sends one payload: text as UTF-8, bytes as they are. They are copied or in the kernel when this returns.
   *
   * Nothing happens on a connection that is finishing or closed.
   */
  send(payload: string | Uint8Array): void {
    this.#writer.send(payload);
  }

  /** Sends one control frame; only after both sides agreed to them. */
  sendControl(text: string): void {
    this.#writer.send(text, writeControlHeader);
  }

  /** Keeps what is sent from now on in `buffer` until it is acknowledged; undefined: keeps nothing. */
  trackUnacked(retention: RetransmitBuffer | undefined): void {
    this.#writer.track(retention);
  }

  /** Is what is sent kept until it is acknowledged? */
  get tracksUnacked(): boolean {
    return this.#writer.isTracking;
  }

  /** Sends one control frame behind all payloads, those that are sent again included. */
  sendLast(text: string): void {
    this.#writer.sendLast(text);
  }

  /**
   * Sends what is in `retransmit` once more, but for the first `received` payloads of the session, as fast as the peer reads. What
   * is sent from now on comes behind it, and is kept in it.
   */
  sendAgain(retransmit: RetransmitBuffer, received = retransmit.acknowledged): void {
    this.#writer.sendAgain(retransmit, received);
  }

  /** Delivers nothing any more; the receiver's `fail` is called, unless it was called before. */
  fail(error: unknown): void {
    this.#reader.fail(error);
  }

  /** Delivers nothing any more and calls no receiver: the session has another connection. */
  detach(): void {
    this.#reader.detach();
  }

  /** Is output left that the kernel has not taken? */
  get hasOutput(): boolean {
    return this.#writer.hasOutput;
  }

  /** Bytes waiting for the kernel to take them. */
  get queued(): number {
    return this.#writer.queued;
  }

  /** Resolves when little enough output is queued to send more; undefined when that is the case now. */
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
      this.#reader.overBacklog(new ConnectionError("too_slow", `${queued} bytes of output were left unread`));
    }
  }

  /** Called by the writer when nothing is queued any more. */
  drained(): void {
    this.#backedUpSince = undefined;
    this.#reader.outputDrained();
  }

  /** Since when much is queued, by `performance.now`; undefined once nothing is queued any more. */
  get backedUpSince(): number | undefined {
    return this.#backedUpSince;
  }

  /** How much the peer may leave unread, in bytes. */
  get maxBacklog(): number {
    return this.#maxBacklog;
  }

  /** Memory held for the peer: output that is queued, and input that is not delivered, in bytes. */
  get allocated(): number {
    return this.#writer.queued + this.#reader.allocated;
  }

  /** Turns TCP keepalive on. It takes four system calls, so only connections that last have it. */
  keepAlive(): void {
    if (!this.closed) this.#socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
  }

  // --- the end ---

  /**
   * Closes with a lingering close: queued output goes out, then FIN. What the peer still sends is discarded for a while, so
   * that no reset destroys what we have sent; then the socket is closed.
   */
  finish(patience: Patience = "brief"): void {
    if (this.finishing) return;
    this.#reader.stop();
    this.#lingering = new LingeringClose(this.#state, this.#writer, this, patience);
    const { write, inputEnded } = this.#state;
    if (write === "fin-sent") return this.ended();
    if (inputEnded && !this.#writer.hasOutput) return this.close(); // neither side has anything to say
    this.#writer.endSending();
    if (this.#state.write !== "fin-sent") this.pauseSocket(); // nothing is read before all is said
  }

  /** Closes at once with a reset: what is queued is lost. */
  terminate(): void {
    this.#reader.stop();
    if (!this.closed) this.#socket.terminate();
  }

  /** Bytes sent that the peer's kernel has not acknowledged; undefined where the system does not tell. */
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

  // --- what the socket says ---

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

const NO_BINDING = new Uint8Array(0);
