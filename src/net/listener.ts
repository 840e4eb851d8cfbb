// Accepts connections: asks admission, establishes TLS if the server has it, and stops listening. It does not read messages.
//
//     accept → admission → (TLS, within its deadline) → a Connection, admitted or to be refused

import type { Socket } from "bun";
import type { BindingName } from "../base/bindings.ts";
import type { ByteBudget } from "../base/byte-budget.ts";
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
import { Roster } from "../base/roster.ts";
import { sayDuration } from "../base/units.ts";
import { formatAddress, plainAddress } from "../base/address.ts";
import { Admission, type AdmissionOptions, type PendingPeer, type Refusal } from "./admission.ts";
import { Connection } from "./connection.ts";
import { ConnectionError } from "./connection-error.ts";
import { Cork } from "./cork.ts";
import { bind, type PortOptions } from "./bind.ts";
import type { Framing } from "../wire/frame.ts";
import { endPointOf, serverBindings, serverOptions, type TlsIdentity } from "./tls.ts";

export interface ListenOptions extends PortOptions {
  /** Undefined: plain text. */
  tls?: TlsIdentity;
  /** The bindings that are accepted over TLS; at least one. */
  bindings: readonly BindingName[];
  tlsTimeoutMs?: number;
  /** `maxConnections` is clamped to the descriptor limit less {@link RESERVED_DESCRIPTORS}. */
  admission: AdmissionOptions;
  maxBacklog?: number;
  /** The headers of frames, both ways (default: uint32). */
  framing?: Framing;
  /** Counts the output queued for all connections; unlimited by default. */
  budget?: ByteBudget;
  /** Descriptors that sessions take beside their connections. */
  sessions?: { readonly perSession: number; readonly taken: number };
  /** Called for a new connection. With a refusal, the server answers with the reason and closes it, unless {@link Refusal.mayProve}. */
  accept(connection: Connection, refusal: Refusal | undefined): void;
  /** Called when the socket of a connection is closed. */
  closed(connection: Connection): void;
  /** Called when a refused peer was reset without an answer, since too many refused peers are open. */
  reset(peer: string, refusal: Refusal): void;
  /** Called when TLS was not established. `spoke`: the peer sent data that is not TLS. */
  tlsFailed(peer: { address: string; peer: string }, reason: string, spoke: boolean): void;
}

/** A socket that was accepted, until its peer has logged in or it is closed. */
class PendingConnection implements PendingPeer {
  readonly address: string;
  readonly port: number;
  readonly since = performance.now();
  /** Undefined while TLS is being established. */
  connection: Connection | undefined;
  /** `held` until admission has decided. `rejected`: without a place, and open until its peer has got the reason. */
  state: "held" | "admitted" | "rejected" | "reset" = "held";
  /** The reason of a rejection, also with {@link Refusal.mayProve}. */
  refusal: Refusal | undefined;
  /** Closes the socket when TLS is not established in time. */
  tlsDeadline: Timer | undefined;
  /** True when it was evicted. */
  evicted = false;
  /** The earliest time for the answer of a refusal, by `performance.now`. */
  replyAfter = 0;
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
    this.#socket.terminate();
  }

  evict(): void {
    this.evicted = true;
    if (this.connection === undefined) this.#socket.terminate();
    else this.connection.abort(new ConnectionError("crowded_out", EVICTED));
  }
}

const EVICTED = "another client needed the place";

export class Listener {
  /** Every connection with an open socket. */
  readonly connections = new Roster<Connection>();
  readonly host: string;
  readonly admission: Admission;
  readonly #options: ListenOptions;
  readonly #server: Bun.TCPSocketListener<Connection>;
  readonly #cork: Cork;
  /** The end point of the certificate; undefined in plain text. */
  readonly #endPoint: Uint8Array | undefined;
  /** Sockets with which TLS is being established. */
  readonly #tlsPending = new Map<Socket<Connection>, PendingConnection>();
  /** Connections that have not logged in. */
  readonly #pending = new Map<Connection, PendingConnection>();
  /** Connections that are rejected and still open. */
  #rejecting = 0;
  readonly #maxRejecting: number;
  /** The most that connections and sessions may take together. */
  readonly #maxDescriptors: number;
  /** Bytes of connections that are closed. */
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
    const { tls, admission, host, sessions } = options;
    const room = descriptorLimit();
    const maxConnections = Math.max(1, Math.min(admission.maxConnections, room));
    // Each connection may have a session, and as many sessions may be detached.
    const needed = maxConnections * (1 + 2 * (sessions?.perSession ?? 0));
    this.#maxRejecting = Math.max(MIN_REFUSING, Math.min(MAX_REFUSING, room - needed));
    this.#maxDescriptors = room - (this.#maxRejecting - MIN_REFUSING); // the reserve has room for so many
    this.#options = options;
    this.#cork = new Cork(options.budget);
    this.#endPoint = tls && endPointOf(tls);
    this.host = host;
    this.admission = new Admission({ ...admission, maxConnections, hasRoom: () => this.hasRoom(1) });
    const events = {
      data: (socket: Socket<Connection>, chunk: Uint8Array) => socket.data?.received(chunk),
      drain: (socket: Socket<Connection>) => socket.data?.flush(),
      end: (socket: Socket<Connection>) => socket.data?.peerEnded(),
      // Without this handler a throw in another one ends the process (measured with Bun 1.4.5); with it, it ends one connection.
      error: (socket: Socket<Connection>, error: Error) => socket.data?.onHandlerError(error),
    };
    if (tls === undefined) {
      const open = (socket: Socket<Connection>) =>
        this.#onOpen(socket, (pending) => this.#connect(socket, pending));
      const close = (socket: Socket<Connection>, error?: Error) => socket.data?.wasClosed(error);
      this.#server = bind(options, { ...events, open, close }, undefined);
    } else {
      this.#server = bind(
        options,
        {
          ...events,
          open: (socket) => this.#onOpen(socket, (pending) => this.#awaitTls(socket, pending)),
          handshake: (socket, success, error) => this.#tlsDone(socket, success, error),
          close: (socket, error) => this.#closed(socket, error),
        },
        serverOptions(tls),
      );
    }
  }

  /** The port that it listens on. */
  get port(): number {
    // For a descriptor that was passed in, Bun 1.4.5 knows no port.
    return this.#options.fd === undefined ? this.#server.port : this.#options.port;
  }

  /** Sockets that are open, also those that are still establishing TLS. */
  get sockets(): number {
    return this.connections.size + this.#tlsPending.size;
  }

  /** True when `count` descriptors are left for connections and sessions. */
  hasRoom(count: number): boolean {
    const taken = this.sockets - this.#rejecting + (this.#options.sessions?.taken ?? 0);
    return taken + count <= this.#maxDescriptors;
  }

  /** Bytes received from and sent to all peers since the start. */
  get traffic(): { received: number; sent: number } {
    let { received, sent } = this.#carried;
    for (const connection of this.connections) {
      received += connection.bytes;
      sent += connection.written;
    }
    return { received, sent };
  }

  /** Called when `connection` has logged in or is closed, and is no longer pending. */
  loggedIn(connection: Connection): void {
    const pending = this.#pending.get(connection);
    if (pending === undefined) return;
    this.#pending.delete(connection);
    this.#forget(pending);
  }

  /** See {@link Admission.suspend}; `connection` has not logged in. */
  suspend(connection: Connection): boolean {
    const pending = this.#pending.get(connection);
    return pending !== undefined && this.admission.suspend(pending);
  }

  /** See {@link Admission.restore}. */
  restore(connection: Connection): boolean {
    const pending = this.#pending.get(connection);
    return pending !== undefined && this.admission.restore(pending);
  }

  /**
   * Frees the place of a connection whose login has failed. False when the caller must reset it, since too many rejected
   * connections are open.
   */
  turnAway(connection: Connection): boolean {
    const pending = this.#pending.get(connection);
    if (pending?.state === "admitted") {
      this.admission.leave(pending);
      this.#countRejected(pending, pending.refusal);
    }
    return pending?.state !== "reset";
  }

  /** Stops accepting. Open connections stay. */
  stop(): void {
    this.#server.stop(false);
    for (const [socket] of this.#tlsPending) socket.terminate();
  }

  /** Stops, and resets every connection. */
  terminate(): void {
    this.stop();
    for (const connection of this.connections) connection.terminate();
  }

  #onOpen(socket: Socket<Connection>, proceed: (pending: PendingConnection) => void): void {
    const pending = new PendingConnection(socket);
    this.admission.admit(pending, this.sockets - this.#rejecting, (refusal) => {
      pending.refusal = refusal;
      if (refusal !== undefined && refusal.mayProve !== true) return this.#reject(pending, refusal);
      pending.state = "admitted";
      this.#dispatch(pending);
    });
    if (pending.state === "reset") return;
    proceed(pending);
  }

  #reject(pending: PendingConnection, refusal: Refusal): void {
    if (!this.#countRejected(pending, refusal)) {
      pending.reset();
      return this.#options.reset(pending.peer, refusal);
    }
    if (refusal.code === "penalised") pending.replyAfter = performance.now() + REFUSING_PAUSE_MS;
    this.#dispatch(pending);
  }

  /**
   * A rejected connection stays open until its peer has the answer: at most `#maxRejecting` at once, half of them for peers
   * that have got the same answer before. False when the caller must reset it.
   */
  #countRejected(pending: PendingConnection, refusal: Refusal | undefined): boolean {
    const isRepeated = refusal?.code === "penalised" || refusal?.code === "denied";
    const hasRoom = this.#rejecting < (isRepeated ? this.#maxRejecting / 2 : this.#maxRejecting);
    pending.state = hasRoom ? "rejected" : "reset";
    if (hasRoom) this.#rejecting++;
    return hasRoom;
  }

  /** Passes a connection on, once TLS is established and admission has decided. */
  #dispatch(pending: PendingConnection): void {
    const { connection, state } = pending;
    if (connection === undefined || connection.closed || state === "held" || state === "reset") return;
    const left = pending.replyAfter - performance.now();
    if (left > 0) return void setTimeout(() => this.#dispatch(pending), left);
    this.#options.accept(connection, pending.refusal);
  }

  #connect(socket: Socket<Connection>, pending: PendingConnection): void {
    const connection = new Connection(socket, {
      cork: this.#cork,
      maxFrame: MAX_LOGIN_FRAME_BYTES,
      framing: this.#options.framing,
      maxBacklog: this.#options.maxBacklog,
      holdInput: true,
      since: pending.since,
      address: pending.address, // a system call each
      port: pending.port,
      bindings: this.#endPoint && serverBindings(socket, this.#endPoint, this.#options.bindings),
      onClose: this.#onClose,
    });
    pending.connection = connection;
    socket.data = connection;
    this.connections.add(connection);
    this.#pending.set(connection, pending);
    this.#dispatch(pending);
  }

  // --- TLS ---

  #awaitTls(socket: Socket<Connection>, pending: PendingConnection): void {
    this.#tlsPending.set(socket, pending);
    const timeout = this.#options.tlsTimeoutMs ?? TLS_TIMEOUT_MS;
    pending.tlsDeadline = setTimeout(() => {
      const reason = `no TLS within ${sayDuration(timeout)}: a client without TLS waits for the server to speak first`;
      this.#tlsFailed(socket, reason, false);
      socket.end();
    }, timeout);
  }

  #tlsDone(socket: Socket<Connection>, success: boolean, error: Error | null): void {
    const pending = this.#tlsPending.get(socket);
    try {
      if (success && pending !== undefined) {
        this.#connect(socket, pending); // throws where the channel has no exporter
        clearTimeout(pending.tlsDeadline);
        this.#tlsPending.delete(socket);
        return;
      }
    } catch (thrown) {
      error = thrown instanceof Error ? thrown : null;
    }
    // EPROTO is an error of TLS. With any other error the peer has left, or we have closed the socket.
    const spoke = systemCode(error) === "EPROTO";
    this.#tlsFailed(socket, spoke ? `the peer does not speak TLS 1.3: ${messageOf(error)}` : LEFT, spoke);
    socket.terminate();
  }

  #closed(socket: Socket<Connection>, error: Error | undefined): void {
    if (socket.data !== undefined) return socket.data.wasClosed(error);
    this.#tlsFailed(socket, LEFT, false);
  }

  #tlsFailed(socket: Socket<Connection>, reason: string, spoke: boolean): void {
    const pending = this.#tlsPending.get(socket);
    if (pending === undefined) return;
    clearTimeout(pending.tlsDeadline);
    this.#tlsPending.delete(socket);
    this.#forget(pending);
    this.#options.tlsFailed(pending, pending.evicted ? EVICTED : reason, spoke && !pending.evicted);
  }

  #forget(pending: PendingConnection): void {
    const { state } = pending;
    if (state === "held" || state === "admitted") this.admission.leave(pending);
    else if (state === "rejected") this.#rejecting--;
  }
}

const LEFT = "the peer left before TLS was established";

/** How many connections the descriptor limit allows. At the limit itself accept takes a whole core (measured with Bun 1.4.5). */
function descriptorLimit(): number {
  return (maxDescriptors() ?? Infinity) - RESERVED_DESCRIPTORS;
}
