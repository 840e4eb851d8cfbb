// Accepting: who may come in, TLS where it is spoken, and the end of listening. Knows nothing of what peers say.
//
//     accept → admission → (TLS, within its deadline) → a Connection, or one that is only told why not

import type { Socket } from "bun";
import { maxDescriptors } from "../os/descriptors.ts";
import { messageOf, systemCode } from "../base/errors.ts";
import {
  MAX_LOGIN_FRAME_BYTES,
  MAX_REFUSING,
  MIN_REFUSING,
  REFUSING_PAUSE_MS,
  RESERVED_DESCRIPTORS,
  TLS_TIMEOUT_MS,
} from "../base/limits.ts";
import { sayDuration } from "../base/units.ts";
import { formatAddress, plainAddress } from "../base/address.ts";
import { Admission, type AdmissionOptions, type PendingPeer, type Refusal } from "./admission.ts";
import { Connection } from "./connection.ts";
import { ConnectionError } from "./connection-error.ts";
import { Cork } from "./cork.ts";
import { bind, type PortOptions } from "./bind.ts";
import { exporterOf, serverOptions, type TlsIdentity } from "./tls.ts";

export interface ListenOptions extends PortOptions {
  /** Undefined: plain text. */
  tls?: TlsIdentity;
  tlsTimeoutMs?: number;
  /** `maxConnections` is clamped to the descriptor limit less {@link RESERVED_DESCRIPTORS}. */
  admission: AdmissionOptions;
  maxBacklog?: number;
  /** A peer has connected; when it is refused, say why and finish it. */
  accept(connection: Connection, refusal: Refusal | undefined): void;
  /** A connection's socket is closed. */
  closed(connection: Connection): void;
  /** Too many are being told why they may not come in: this one was reset without a word. */
  reset(peer: string, refusal: Refusal): void;
  /** A peer did not come to speak TLS. `spoke`: it said something else. */
  tlsFailed(peer: { address: string; peer: string }, reason: string, spoke: boolean): void;
}

/** A socket that has been accepted: pending until it is settled or gone. */
class PendingConnection implements PendingPeer {
  readonly address: string;
  readonly port: number;
  readonly since = performance.now();
  /** Undefined while TLS is being established. */
  connection: Connection | undefined;
  /** `held` until admission has decided. */
  state: "held" | "admitted" | "reset" | Refusal = "held";
  /** Of TLS. */
  deadline: Timer | undefined;
  /** Was it asked to leave, for somebody else to have its place? */
  evicted = false;
  /** How long it waits for what it is told. */
  quietUntil = 0;
  readonly #socket: Socket<Connection>;

  constructor(socket: Socket<Connection>) {
    this.#socket = socket;
    this.address = plainAddress(socket.remoteAddress);
    this.port = socket.remotePort;
  }

  get peer(): string {
    return formatAddress(this.address, this.port);
  }

  isIdle(): boolean {
    return this.connection?.isReading ?? true;
  }

  reset(): void {
    this.state = "reset";
    this.#socket.terminate();
  }

  evict(): void {
    this.evicted = true;
    if (this.connection === undefined) this.#socket.terminate();
    else this.connection.abort(new ConnectionError("crowded_out", EVICTED));
  }
}

const EVICTED = "others are waiting for this place";

export class Listener {
  /** Every connection whose socket is not gone. */
  readonly connections = new Set<Connection>();
  readonly host: string;
  readonly admission: Admission;
  readonly #options: ListenOptions;
  readonly #server: Bun.TCPSocketListener<Connection>;
  readonly #cork = new Cork();
  /** Sockets that have not come to be a connection: TLS is being established. */
  readonly #tlsPending = new Map<Socket<Connection>, PendingConnection>();
  /** Connections that have not been settled. */
  readonly #pending = new Map<Connection, PendingConnection>();
  /** How many are only being told why they may not come in, and may be. */
  #rejecting = 0;
  readonly #maxRejecting: number;
  /** Of connections that are gone. */
  readonly #carried = { received: 0, sent: 0 };
  readonly #onClose = (connection: Connection) => {
    this.#carried.received += connection.bytes;
    this.#carried.sent += connection.written;
    this.connections.delete(connection);
    this.loggedIn(connection);
    this.#options.closed(connection);
  };

  /** Listens. @throws {ParleyError} `failed` as {@link bind}. */
  constructor(options: ListenOptions) {
    const { tls, admission, host } = options;
    const room = descriptorLimit();
    const maxConnections = Math.max(1, Math.min(admission.maxConnections, room));
    this.#maxRejecting = Math.max(MIN_REFUSING, Math.min(MAX_REFUSING, room - maxConnections));
    this.#options = options;
    this.host = host;
    this.admission = new Admission({ ...admission, maxConnections });
    const events = {
      data: (socket: Socket<Connection>, chunk: Uint8Array) => socket.data?.received(chunk),
      drain: (socket: Socket<Connection>) => socket.data?.flush(),
      end: (socket: Socket<Connection>) => socket.data?.peerEnded(),
      // Without this handler a throw would end the whole process (measured); with it, it is one connection's matter.
      error: (socket: Socket<Connection>, error: Error) => socket.data?.onHandlerError(error),
    };
    if (tls === undefined) {
      const open = (socket: Socket<Connection>) =>
        this.#onOpen(socket, (visit) => this.#connect(socket, visit));
      const close = (socket: Socket<Connection>, error?: Error) => socket.data?.wasClosed(error);
      this.#server = bind(options, { ...events, open, close }, undefined);
    } else {
      this.#server = bind(
        options,
        {
          ...events,
          open: (socket) => this.#onOpen(socket, (visit) => this.#awaitTls(socket, visit)),
          handshake: (socket, success, error) => this.#tlsDone(socket, success, error),
          close: (socket, error) => this.#closed(socket, error),
        },
        serverOptions(tls),
      );
    }
  }

  /** The port taken. */
  get port(): number {
    return this.#options.fd === undefined ? this.#server.port : this.#options.port; // one handed over has none (measured)
  }

  /** Sockets that are open, also those that are still establishing TLS. */
  get sockets(): number {
    return this.connections.size + this.#tlsPending.size;
  }

  /** Bytes received from, and taken by the kernel for, all peers ever. */
  get traffic(): { received: number; sent: number } {
    let { received, sent } = this.#carried;
    for (const connection of this.connections) {
      received += connection.bytes;
      sent += connection.written;
    }
    return { received, sent };
  }

  /** `connection` has logged in, or never will: it is not pending any more. */
  loggedIn(connection: Connection): void {
    const visit = this.#pending.get(connection);
    if (visit === undefined) return;
    this.#pending.delete(connection);
    this.#forget(visit);
  }

  /** Accepts nobody any more; the connections there are live on. */
  stop(): void {
    this.#server.stop(false);
    for (const [socket] of this.#tlsPending) socket.terminate();
  }

  /** Stops, and resets every connection. */
  terminate(): void {
    this.stop();
    for (const connection of this.connections) connection.terminate();
  }

  #onOpen(socket: Socket<Connection>, proceed: (visit: PendingConnection) => void): void {
    const visit = new PendingConnection(socket);
    this.admission.admit(visit, this.sockets - this.#rejecting, (refusal) => {
      if (refusal !== undefined) return this.#reject(visit, refusal);
      visit.state = "admitted";
      this.#dispatch(visit);
    });
    if (visit.state === "reset") return;
    proceed(visit);
  }

  /** Words cost a descriptor for a while: there are so many at once, half of them for those who have heard them before. */
  #reject(visit: PendingConnection, refusal: Refusal): void {
    const isOldNews = refusal.code === "penalised" || refusal.code === "denied";
    if (this.#rejecting >= (isOldNews ? this.#maxRejecting / 2 : this.#maxRejecting)) {
      visit.reset();
      return this.#options.reset(visit.peer, refusal);
    }
    this.#rejecting++;
    visit.state = refusal;
    if (refusal.code === "penalised") visit.quietUntil = performance.now() + REFUSING_PAUSE_MS;
    this.#dispatch(visit);
  }

  /** Hands a connection on, once it is there and it is decided whether it may come in. */
  #dispatch(visit: PendingConnection): void {
    const { connection, state } = visit;
    if (connection === undefined || connection.closed || state === "held" || state === "reset") return;
    const left = visit.quietUntil - performance.now();
    if (left > 0) return void setTimeout(() => this.#dispatch(visit), left);
    this.#options.accept(connection, state === "admitted" ? undefined : state);
  }

  #connect(socket: Socket<Connection>, visit: PendingConnection): void {
    const connection = new Connection(socket, {
      cork: this.#cork,
      maxFrame: MAX_LOGIN_FRAME_BYTES,
      maxBacklog: this.#options.maxBacklog,
      holdInput: true,
      since: visit.since,
      address: visit.address, // a system call each
      port: visit.port,
      exporter: this.#options.tls === undefined ? undefined : exporterOf(socket),
      onClose: this.#onClose,
    });
    visit.connection = connection;
    socket.data = connection;
    this.connections.add(connection);
    this.#pending.set(connection, visit);
    this.#dispatch(visit);
  }

  // --- TLS ---

  #awaitTls(socket: Socket<Connection>, visit: PendingConnection): void {
    this.#tlsPending.set(socket, visit);
    const timeout = this.#options.tlsTimeoutMs ?? TLS_TIMEOUT_MS;
    visit.deadline = setTimeout(() => {
      const reason = `no TLS within ${sayDuration(timeout)}: a peer in plain text waits for us to speak first`;
      this.#tlsFailed(socket, reason, false);
      socket.end();
    }, timeout);
  }

  #tlsDone(socket: Socket<Connection>, success: boolean, error: Error | null): void {
    const visit = this.#tlsPending.get(socket);
    try {
      if (success && visit !== undefined) {
        this.#connect(socket, visit); // throws where the channel has no exporter
        clearTimeout(visit.deadline);
        this.#tlsPending.delete(socket);
        return;
      }
    } catch (thrown) {
      error = thrown instanceof Error ? thrown : null;
    }
    // EPROTO is what TLS itself objects to; anything else, that the peer left or that we ended it.
    const spoke = systemCode(error) === "EPROTO";
    this.#tlsFailed(socket, spoke ? `the peer does not speak TLS 1.3: ${messageOf(error)}` : LEFT, spoke);
    socket.terminate();
  }

  #closed(socket: Socket<Connection>, error: Error | undefined): void {
    if (socket.data !== undefined) return socket.data.wasClosed(error);
    this.#tlsFailed(socket, LEFT, false);
  }

  #tlsFailed(socket: Socket<Connection>, reason: string, spoke: boolean): void {
    const visit = this.#tlsPending.get(socket);
    if (visit === undefined) return;
    clearTimeout(visit.deadline);
    this.#tlsPending.delete(socket);
    this.#forget(visit);
    this.#options.tlsFailed(visit, visit.evicted ? EVICTED : reason, spoke && !visit.evicted);
  }

  #forget(visit: PendingConnection): void {
    const { state } = visit;
    if (state === "held" || state === "admitted") this.admission.leave(visit);
    else if (state !== "reset") this.#rejecting--;
  }
}

const LEFT = "the peer left before TLS was established";

/** How many connections the descriptor limit allows; at the limit itself Bun spins in accept (measured). */
function descriptorLimit(): number {
  return (maxDescriptors() ?? Infinity) - RESERVED_DESCRIPTORS;
}
