// One plain byte stream over a Bun socket, TCP or Unix, dialled or accepted. Each direction ends alone, and a reset differs from an
// end. It holds no more output than its user lets it, and reads no more than its user takes.
//
//     dialStream, or streamHandlers for a listener → Stream, not read yet → start(events) → data … end … closed
//
// After our own FIN Bun reports the peer's FIN as `close` without an error, and a reset as `close` with one. A Unix socket whose
// peer has closed both directions is closed at once, which TCP reports with the next write only (all measured with Bun 1.4.5).

import type { Socket } from "bun";
import { formatAddress, lookupName, plainAddress } from "../base/address.ts";
import { UNLIMITED, type ByteBudget } from "../base/byte-budget.ts";
import { reasonOf, systemCode } from "../base/errors.ts";
import { Condition } from "../base/condition.ts";
import { PAUSE_OUTPUT_BYTES, SHORT_PAUSE_OUTPUT_BYTES, TCP_KEEPALIVE_MS } from "../base/limits.ts";
import { sayDuration } from "../base/units.ts";
import { setResetOnClose } from "../os/sockets.ts";
import { DialError } from "./dial.ts";
import { WriteQueue } from "./write-queue.ts";

export interface StreamEvents {
  /**
   * Bytes have come; they may be kept. With a promise no more is read until it settles; it must not reject. A peer that resets may
   * cause one more call before that.
   */
  data(bytes: Uint8Array): void | Promise<void>;
  /** The peer has ended its output. Ours is still open. */
  end(): void;
  /** Called once, when the socket is closed: without an error after both ends, or after {@link Stream.reset}. */
  closed(error: Error | undefined): void;
  /** The kernel has taken some of what was queued. */
  taken?(): void;
}

export interface StreamOptions {
  /** Counts the memory of what is queued. */
  budget?: ByteBudget;
  /** Called once when the socket has been given back, also that of a dial which was given up. */
  released?: () => void;
}

/** Where a stream leads: a TCP port, or a Unix socket. */
export type StreamAddress = { host: string; port: number } | { unix: string };

/** `host:port`, or `unix:/path`. */
export function formatStreamAddress(address: StreamAddress): string {
  return "unix" in address ? `unix:${address.unix}` : formatAddress(address.host, address.port);
}

type StreamSocket = Socket<Stream | undefined>;

export class Stream {
  /** `address:port` of the peer; undefined on a Unix socket. */
  readonly peer: string | undefined;
  readonly #socket: StreamSocket;
  readonly #queue: WriteQueue;
  readonly #budget: ByteBudget;
  readonly #released: (() => void) | undefined;
  #events: StreamEvents | undefined;
  /** Hears of the close, until the stream is started. */
  #watcher: Pick<StreamEvents, "closed"> | undefined;
  #read: "open" | "ended" = "open";
  #write: "open" | "ending" | "fin-sent" = "open";
  #socketClosed = false;
  /** Undefined until the stream is closed. */
  #closed: { error: Error | undefined } | undefined;
  /** Has the peer's FIN come while `data` was still busy? */
  #endWaits = false;
  /** The promise of `data`, until it settles. */
  #taking: Promise<void> | undefined;
  #room: Condition | undefined;

  /** Takes over an open socket, and does not read it yet. */
  constructor(socket: StreamSocket, { budget = UNLIMITED, released }: StreamOptions = {}) {
    this.#budget = budget;
    this.#socket = socket;
    this.#queue = new WriteQueue(budget);
    this.#released = released;
    socket.pause();
    // Bun's types do not say that a Unix socket has no address.
    const address = socket.remoteAddress as string | undefined;
    if (address === undefined) return;
    this.peer = formatAddress(plainAddress(address), socket.remotePort);
    socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
    this.#resetOnClose(true);
  }

  /** Until our FIN is sent, the death of this process is no end of the stream: the peer gets a reset. */
  #resetOnClose(resets: boolean): void {
    if (this.peer !== undefined) setResetOnClose((this.#socket as unknown as { fd: number }).fd, resets);
  }

  /** Begins to read. What has happened before is reported now. */
  start(events: StreamEvents): void {
    this.#events = events;
    if (this.#endWaits) this.#ended();
    if (this.#closed !== undefined) return events.closed(this.#closed.error);
    if (!this.#socketClosed) this.#socket.resume();
  }

  /** Reads nothing, and reports a reset to `watcher`; until {@link start}. */
  watch(watcher: Pick<StreamEvents, "closed">): void {
    if (this.#closed === undefined) this.#watcher = watcher;
    else watcher.closed(this.#closed.error);
  }

  /** Bytes that the kernel has not taken yet. */
  get queued(): number {
    return this.#queue.length;
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  get #hasRoom(): boolean {
    return this.#queue.length <= (this.#budget.isShort ? SHORT_PAUSE_OUTPUT_BYTES : PAUSE_OUTPUT_BYTES);
  }

  /**
   * Sends `bytes`, or a copy of what the kernel does not take. A promise when so much is queued that the caller should wait; it also
   * resolves when the stream is closed. Nothing is sent after {@link endWriting}, or on a closed stream.
   */
  write(bytes: Uint8Array): void | Promise<void> {
    if (this.#write !== "open" || this.isClosed || bytes.length === 0) return undefined;
    if (this.#socketClosed) return this.#close(brokenPipe());
    const taken = this.#queue.length > 0 ? 0 : this.#socket.write(bytes);
    if (taken < 0) return this.#broken();
    if (taken < bytes.length) this.#queue.append(bytes.subarray(taken));
    if (this.#hasRoom) return undefined;
    return (this.#room ??= new Condition()).wait();
  }

  /** Sends FIN behind what is queued. The peer's output is still read. */
  endWriting(): void {
    if (this.#write !== "open" || this.isClosed) return;
    this.#write = "ending";
    this.#sendFin();
  }

  /** Closes at once with a reset: what is queued is lost. The peer of a Unix socket sees its end instead. */
  reset(): void {
    if (this.isClosed) return;
    this.#close(undefined);
  }

  // --- what the socket says ---

  received(bytes: Uint8Array): void {
    const pending = this.#events?.data(bytes);
    if (pending === undefined || this.#socketClosed) return;
    this.#taking = pending;
    this.#socket.pause();
    void pending.then(() => this.#taken(pending));
  }

  #taken(pending: Promise<void>): void {
    if (this.#taking !== pending) return;
    this.#taking = undefined;
    if (this.#endWaits) return this.#ended();
    if (!this.#socketClosed) this.#socket.resume();
  }

  peerEnded(): void {
    if (this.#taking !== undefined || this.#events === undefined) this.#endWaits = true;
    else this.#ended();
  }

  #ended(): void {
    this.#endWaits = false;
    if (this.#read === "ended") return;
    this.#read = "ended";
    this.#events?.end();
    this.#closeIfOver();
  }

  flush(): void {
    while (this.#queue.length > 0 && !this.#socketClosed) {
      const { first } = this.#queue;
      const taken = this.#socket.write(first);
      if (taken < 0) return this.#broken();
      this.#queue.consume(taken);
      if (taken < first.length) break;
    }
    if (this.#hasRoom) this.#room?.notifyAll();
    if (!this.isClosed) this.#events?.taken?.();
    this.#sendFin();
  }

  wasClosed(error: Error | undefined): void {
    if (this.#socketClosed) return;
    this.#socketClosed = true;
    this.#released?.();
    if (this.isClosed) return;
    if (error !== undefined || this.#queue.length > 0) return this.#close(error ?? brokenPipe());
    this.peerEnded();
    this.#closeIfOver();
  }

  /** A handler of the user threw: the stream cannot go on. */
  handlerFailed(error: Error): void {
    this.#close(error);
  }

  // --- the end ---

  #sendFin(): void {
    if (this.#write !== "ending" || this.#queue.length > 0) return;
    this.#write = "fin-sent";
    if (!this.#socketClosed) {
      this.#resetOnClose(false);
      this.#socket.shutdown();
    }
    this.#closeIfOver();
  }

  #closeIfOver(): void {
    if (this.#read === "ended" && this.#write === "fin-sent" && !this.isClosed) this.#close(undefined);
  }

  /** The socket takes nothing any more: the peer has reset it, which a paused socket does not always say. */
  #broken(): void {
    this.#close(brokenPipe());
  }

  /** With both directions ended nothing is left to be lost, and the kernel sends what it has; otherwise it is a reset. */
  #close(error: Error | undefined): void {
    if (this.isClosed) return;
    this.#closed = { error };
    const hasEnded = this.#read === "ended" && this.#write === "fin-sent";
    this.#queue.clear();
    if (!this.#socketClosed && hasEnded) this.#socket.end();
    else if (!this.#socketClosed) this.#socket.terminate();
    this.#room?.notifyAll();
    (this.#events ?? this.#watcher)?.closed(error);
  }
}

/** What Bun calls for the sockets of streams. @param opened called with each new stream; it calls `start`, now or later. */
export function streamHandlers(
  opened: (stream: Stream) => void,
  options?: StreamOptions,
): Bun.SocketHandler<Stream | undefined> {
  return {
    open(socket) {
      const stream = new Stream(socket, options);
      socket.data = stream;
      opened(stream);
    },
    data: (socket, bytes) => socket.data?.received(bytes),
    drain: (socket) => socket.data?.flush(),
    end: (socket) => socket.data?.peerEnded(),
    close: (socket, error) => socket.data?.wasClosed(error),
    error: (socket, error) => socket.data?.handlerFailed(error),
  };
}

export interface StreamDialOptions extends StreamOptions {
  timeoutMs: number;
  /** Gives the dial up. */
  signal?: AbortSignal;
}

/**
 * Connects to `address`; of the addresses of a name the first that answers is taken.
 *
 * @throws {DialError} when no connection came about. @throws the reason of the signal.
 */
export async function dialStream(address: StreamAddress, options: StreamDialOptions): Promise<Stream> {
  const { timeoutMs, signal, released } = options;
  const at = formatStreamAddress(address);
  const { promise, resolve, reject } = Promise.withResolvers<Stream>();
  let isOver = false;
  const handlers = streamHandlers((stream) => {
    if (isOver)
      stream.reset(); // Bun cannot cancel a dial
    else resolve(stream);
  }, options);
  const timer = setTimeout(
    () =>
      reject(new DialError("timeout", `cannot connect to ${at}: no answer within ${sayDuration(timeoutMs)}`)),
    timeoutMs,
  );
  const abort = () => reject(signal?.reason as Error);
  if (signal?.aborted === true) abort();
  signal?.addEventListener("abort", abort);
  connect(address, handlers).catch((error: unknown) => {
    released?.();
    reject(dialError(error, at));
  });
  try {
    return await promise;
  } finally {
    isOver = true;
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** Rejects also where Bun throws. */
async function connect(address: StreamAddress, socket: Bun.SocketHandler<Stream | undefined>): Promise<void> {
  const shared = { allowHalfOpen: true, socket };
  if ("unix" in address) await Bun.connect<Stream | undefined>({ unix: address.unix, ...shared });
  else
    await Bun.connect<Stream | undefined>({
      hostname: lookupName(address.host),
      port: address.port,
      ...shared,
    });
}

function dialError(error: unknown, at: string): DialError {
  const [code, why] = FAILURES.get(systemCode(error)) ?? (["unreachable", reasonOf(error)] as const);
  return new DialError(code, `cannot connect to ${at}: ${why}`, { cause: error });
}

/** What Bun's codes mean; a network that cannot be reached is ECONNREFUSED, too (measured with Bun 1.4.5). */
const FAILURES: ReadonlyMap<string | undefined, readonly [DialError["code"], string]> = new Map([
  ["ECONNREFUSED", ["refused", "connection refused"]],
  ["ENOENT", ["refused", "there is no socket"]],
  ["ENOTFOUND", ["unknown_host", "no address is found for that name"]],
  ["EAI_AGAIN", ["unreachable", "the name server does not answer"]],
  ["ETIMEOUT", ["unreachable", "the name server does not answer"]],
  ["EACCES", ["unreachable", "permission denied"]],
]);

function brokenPipe(): Error {
  return Object.assign(new Error("the peer has reset the connection"), { code: "EPIPE" });
}
