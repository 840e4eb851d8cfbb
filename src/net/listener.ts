// Accepting: who may come in, TLS where it is spoken, and the end of listening. Knows nothing of what peers say.
//
//     accept → admission → (TLS, within its deadline) → a Connection, or one that is only told why not

import type { Socket } from "bun";
import { readFileSync } from "node:fs";
import { messageOf } from "../errors.ts";
import {
  MAX_LOGIN_FRAME_BYTES,
  MAX_REFUSING,
  MIN_REFUSING,
  REFUSING_PAUSE_MS,
  RESERVED_DESCRIPTORS,
  sayDuration,
  TCP_KEEPALIVE_MS,
  TLS_TIMEOUT_MS,
} from "../limits.ts";
import { formatAddress, plainAddress } from "../address.ts";
import { Admission, type AdmissionOptions, type Guest, type Refusal } from "./admission.ts";
import { Connection } from "./connection.ts";
import { ConnectionError } from "./connection-error.ts";
import { Cork } from "./cork.ts";
import { bind, type PortOptions } from "./port.ts";
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
  /** A peer did not come to speak TLS. `spoke`: it said something else. */
  tlsFailed(peer: { address: string; peer: string }, reason: string, spoke: boolean): void;
}

/** A socket that has been accepted: pending until it is settled or gone. */
class Visit implements Guest {
  readonly address: string;
  readonly peer: string;
  readonly since = performance.now();
  connection: Connection | undefined;
  /** Undefined until admission has decided; null: it may come in. */
  refusal: Refusal | null | undefined;
  deadline: Timer | undefined;
  isReset = false;
  /** How long it has to wait for what it is told. */
  pause = 0;
  readonly #socket: Socket<Connection>;

  constructor(socket: Socket<Connection>) {
    this.#socket = socket;
    this.address = plainAddress(socket.remoteAddress);
    this.peer = formatAddress(this.address, socket.remotePort);
  }

  isIdle(): boolean {
    return this.connection?.isAwaited ?? true;
  }

  /** Too many are being refused already: not a word. */
  reset(): void {
    this.isReset = true;
    this.#socket.terminate();
  }

  makeWay(): void {
    const { connection } = this;
    if (connection === undefined) this.#socket.terminate();
    else connection.abort(new ConnectionError("crowded_out", "others are waiting for this place"));
  }
}

export class Listener {
  /** Every connection whose socket is not gone. */
  readonly connections = new Set<Connection>();
  readonly host: string;
  readonly admission: Admission;
  readonly #options: ListenOptions;
  readonly #server: Bun.TCPSocketListener<Connection>;
  readonly #cork = new Cork();
  /** Sockets that have not come to be a connection: TLS is being established. */
  readonly #arriving = new Map<Socket<Connection>, Visit>();
  /** Connections that have not been settled. */
  readonly #visits = new Map<Connection, Visit>();
  /** How many are only being told why they may not come in, and may be. */
  #refusing = 0;
  readonly #maxRefusing: number;

  /** Listens. @throws {ParleyError} `failed` as {@link bind}. */
  constructor(options: ListenOptions) {
    const { tls, admission, host } = options;
    const room = descriptorLimit();
    const maxConnections = Math.max(1, Math.min(admission.maxConnections, room));
    this.#maxRefusing = Math.max(MIN_REFUSING, Math.min(MAX_REFUSING, room - maxConnections));
    this.#options = options;
    this.host = host;
    this.admission = new Admission({ ...admission, maxConnections });
    const events = {
      data: (socket: Socket<Connection>, chunk: Uint8Array) => socket.data?.received(chunk),
      drain: (socket: Socket<Connection>) => socket.data?.flush(),
      end: (socket: Socket<Connection>) => socket.data?.peerEnded(),
      // Without this handler a throw would end the whole process (measured); with it, it is one connection's matter.
      error: (socket: Socket<Connection>, error: Error) => socket.data?.broke(error),
    };
    if (tls === undefined) {
      const open = (socket: Socket<Connection>) =>
        this.#meet(socket, (visit) => this.#connect(socket, visit));
      const close = (socket: Socket<Connection>, error?: Error) => socket.data?.wasClosed(error);
      this.#server = bind(options, { ...events, open, close }, undefined);
    } else {
      this.#server = bind(
        options,
        {
          ...events,
          open: (socket) => this.#meet(socket, (visit) => this.#awaitTls(socket, visit)),
          handshake: (socket, success, error) => this.#tlsDone(socket, success, error),
          close: (socket, error) => this.#closed(socket, error),
        },
        serverOptions(tls),
      );
    }
  }

  /** The port taken. */
  get port(): number {
    return this.#server.port;
  }

  /** Sockets that are open, also those that are still establishing TLS. */
  get sockets(): number {
    return this.connections.size + this.#arriving.size;
  }

  /** `connection` has logged in, or never will: it is not pending any more. */
  settle(connection: Connection): void {
    const visit = this.#visits.get(connection);
    if (visit === undefined) return;
    this.#visits.delete(connection);
    this.#forget(visit);
  }

  /** Accepts nobody any more; the connections there are live on. */
  stop(): void {
    this.#server.stop(false);
    for (const [socket] of this.#arriving) socket.terminate();
  }

  /** Stops, and resets every connection. */
  terminate(): void {
    this.stop();
    for (const connection of this.connections) connection.terminate();
  }

  #meet(socket: Socket<Connection>, proceed: (visit: Visit) => void): void {
    const visit = new Visit(socket);
    this.admission.admit(visit, this.sockets - this.#refusing, (refusal) => {
      visit.refusal = refusal ?? null;
      if (refusal === undefined) return this.#receive(visit);
      // Words cost a descriptor for a while: beyond so many at once they are left out.
      if (this.#refusing >= this.#maxRefusing) return visit.reset();
      this.#refusing++;
      visit.pause = refusal.code === "penalised" ? REFUSING_PAUSE_MS : 0;
      this.#receive(visit);
    });
    if (visit.isReset) return;
    socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
    proceed(visit);
  }

  /** Hands a connection on, once it is there and it is decided whether it may come in. */
  #receive(visit: Visit): void {
    const { connection, refusal, pause } = visit;
    if (connection === undefined || connection.closed || refusal === undefined) return;
    if (pause === 0) return this.#options.accept(connection, refusal ?? undefined);
    visit.pause = 0;
    setTimeout(() => this.#receive(visit), pause);
  }

  #connect(socket: Socket<Connection>, visit: Visit): void {
    const connection = new Connection(socket, {
      cork: this.#cork,
      maxFrame: MAX_LOGIN_FRAME_BYTES,
      maxBacklog: this.#options.maxBacklog,
      holdInput: true,
      since: visit.since,
      exporter: this.#options.tls === undefined ? undefined : exporterOf(socket),
      onClose: (gone) => {
        this.connections.delete(gone);
        this.settle(gone);
      },
    });
    visit.connection = connection;
    socket.data = connection;
    this.connections.add(connection);
    this.#visits.set(connection, visit);
    this.#receive(visit);
  }

  // --- TLS ---

  #awaitTls(socket: Socket<Connection>, visit: Visit): void {
    this.#arriving.set(socket, visit);
    const timeout = this.#options.tlsTimeoutMs ?? TLS_TIMEOUT_MS;
    visit.deadline = setTimeout(() => {
      const reason = `no TLS within ${sayDuration(timeout)}: a peer in plain text waits for us to speak first`;
      this.#tlsFailed(socket, reason, false);
      socket.end();
    }, timeout);
  }

  #tlsDone(socket: Socket<Connection>, success: boolean, error: Error | null): void {
    if (!success) {
      this.#tlsFailed(socket, `the peer does not speak TLS 1.3: ${reasonOf(error)}`, true);
      socket.terminate();
      return;
    }
    const visit = this.#arriving.get(socket);
    if (visit === undefined) return socket.terminate(); // too late
    clearTimeout(visit.deadline);
    this.#arriving.delete(socket);
    this.#connect(socket, visit);
  }

  #closed(socket: Socket<Connection>, error: Error | undefined): void {
    if (socket.data !== undefined) return socket.data.wasClosed(error);
    this.#tlsFailed(socket, "the peer left before TLS was established", false);
  }

  #tlsFailed(socket: Socket<Connection>, reason: string, spoke: boolean): void {
    const visit = this.#arriving.get(socket);
    if (visit === undefined) return;
    clearTimeout(visit.deadline);
    this.#arriving.delete(socket);
    this.#forget(visit);
    this.#options.tlsFailed(visit, reason, spoke);
  }

  #forget(visit: Visit): void {
    if (visit.isReset) return;
    if (visit.refusal === undefined || visit.refusal === null) this.admission.leave(visit);
    else this.#refusing--;
  }
}

function reasonOf(error: unknown): string {
  return error === null ? "no reason given" : messageOf(error);
}

/** How many connections the descriptor limit allows; at the limit itself Bun spins in accept (measured). */
function descriptorLimit(): number {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
    return soft === undefined ? Infinity : Number(soft) - RESERVED_DESCRIPTORS;
  } catch {
    return Infinity; // no /proc: not Linux, where limits are far higher than any default here
  }
}
