// listener + welcome + service + log → a running server.
//
//     accept → (full? error, close) → welcome → Session → service        each connection for itself
//     users.json changed → conversations whose credential is gone: bye
//     stop → nobody new → what was sent before is answered → bye → gone
//
// The one place that logs a connection's fate and closes it for its errors.

import { Authenticator, type AuthMode } from "./auth/authenticate.ts";
import { whyEnded, type LoginError } from "./auth/identity.ts";
import { PasswordHasher, type HashCost } from "./auth/password.ts";
import type { Store } from "./auth/store.ts";
import { drain } from "./drain.ts";
import { messageOf, ParleyError } from "./errors.ts";
import { HandshakeError, turnAway, welcome, type Arrival } from "./handshake.ts";
import {
  DRAIN_TIMEOUT_MS,
  LOGIN_TIMEOUT_MS,
  MAX_ATTEMPTS,
  MAX_BACKLOG_BYTES,
  MAX_FRAME_BYTES,
} from "./limits.ts";
import type { Logger } from "./log.ts";
import type { Connection } from "./net/connection.ts";
import { ConnectionError } from "./net/connection-error.ts";
import { listen, type Listener } from "./net/listener.ts";
import type { Service } from "./services/service.ts";
import { Session, type SessionEvents } from "./session.ts";
import { FrameError } from "./wire/frame.ts";
import { MessageError } from "./wire/message.ts";

export interface ServerOptions {
  host: string;
  port: number;
  strictPort?: boolean;
  auth: AuthMode;
  /** Frames only: no hello, no login, no control frames. */
  bare?: boolean;
  register?: boolean;
  service: Service;
  /** The service's name in `hello`. */
  serviceName: string;
  /** Needed for every mode but `none` and bare. */
  store?: Store;
  log: Logger;
  maxFrame?: number;
  maxConnections?: number;
  maxBacklog?: number;
  maxAttempts?: number;
  minPassword?: number;
  loginTimeoutMs?: number;
  /** Conversations in which nothing was received for so long end; undefined: never. */
  idleTimeoutMs?: number;
  hashCost?: HashCost;
}

/** A running server. */
export class Server {
  readonly #options: ServerOptions;
  readonly #log: Logger;
  readonly #listener: Listener;
  readonly #authenticator: Authenticator;
  readonly #sessions = new Set<Session>();
  readonly #unwatch: (() => void) | undefined;
  readonly #idleSweep: Timer | undefined;
  readonly #events: SessionEvents = {
    failed: (session, error) => this.#failed(session, error),
    closed: (session, error) => this.#closed(session, error),
  };
  #nextId = 1;
  #stopping = false;
  /** Connections that were reset rather than drained. */
  #cut = 0;

  /** @throws {ParleyError} `failed` when the port cannot be had. */
  constructor(options: ServerOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#authenticator = new Authenticator({
      mode: options.auth,
      register: options.register,
      minPassword: options.minPassword,
      store: options.store,
      hasher: new PasswordHasher(options.hashCost),
      tokensInUse: () => this.#tokensInUse(),
      warn: (error) => this.#log.warn("users-failed", { reason: messageOf(error) }),
    });
    const maxFrame = options.maxFrame ?? MAX_FRAME_BYTES;
    this.#listener = listen({
      host: options.host,
      port: options.port,
      strictPort: options.strictPort,
      maxConnections: options.maxConnections,
      // The answer to the longest message is never too much: in capital letters it may be three times as long.
      maxBacklog: Math.max(options.maxBacklog ?? MAX_BACKLOG_BYTES, 4 * maxFrame),
      accept: (connection, full) => void this.#converse(connection, full),
    });
    this.#unwatch = options.store?.watch({
      changed: (byOthers) => this.#recheckSessions(byOthers),
      unreadable: (error) => this.#log.error("users-failed", { reason: messageOf(error) }),
    });
    if (options.idleTimeoutMs !== undefined) {
      const timeout = options.idleTimeoutMs;
      this.#idleSweep = setInterval(() => this.#endIdle(timeout), Math.max(50, Math.min(1000, timeout / 4)));
    }
    if (this.port !== options.port && options.port !== 0) {
      this.#log.warn("port-taken", { wanted: options.port, port: this.port });
    }
    this.#log.info("listening", {
      host: this.host,
      port: this.port,
      pid: process.pid,
      auth: options.bare === true ? "bare" : options.auth,
      service: options.serviceName,
    });
  }

  get host(): string {
    return this.#listener.host;
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Connections whose sockets are open. */
  get connections(): number {
    return this.#listener.connections.size;
  }

  /** Conversations going on. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Is there nobody who could log in with a password? */
  get hasNoUsers(): boolean {
    return this.#options.store?.document.users.size === 0;
  }

  // --- one connection ---

  async #converse(connection: Connection, full: boolean): Promise<void> {
    const conn = this.#nextId++;
    const { peer } = connection;
    try {
      this.#log.info("connected", { conn, peer });
      if (full) {
        const message = `the server has its ${this.#listener.maxConnections} connections: try again later`;
        throw new HandshakeError("full", message, { retryAfter: 5 });
      }
      const arrival = await this.#welcome(connection, conn);
      const session = new Session(conn, connection, arrival, this.#options.service, this.#events);
      this.#sessions.add(session);
      this.#recheck(session);
      await session.start();
    } catch (error) {
      this.#turnAway(connection, conn, error);
    }
  }

  async #welcome(connection: Connection, conn: number): Promise<Arrival> {
    const { bare, serviceName: service } = this.#options;
    const { peer } = connection;
    const maxFrame = this.#options.maxFrame ?? MAX_FRAME_BYTES;
    if (bare === true) {
      connection.decoder.limit = maxFrame;
      return { user: null, method: "bare", known: false, control: false };
    }
    const arrival = await welcome(connection, {
      authenticator: this.#authenticator,
      service,
      maxFrame,
      maxAttempts: this.#options.maxAttempts ?? MAX_ATTEMPTS,
      timeoutMs: this.#options.loginTimeoutMs ?? LOGIN_TIMEOUT_MS,
      onRefused: (error) => this.#logRefusal(conn, peer, error),
    });
    const { user, method, known, tokenId } = arrival;
    if (method === "register") this.#log.info("registered", { conn, peer, user });
    if (this.#options.auth === "ip") this.#log.info("greeted", { conn, peer, user, known });
    else this.#log.info("logged-in", { conn, peer, user, method, token: tokenId });
    return arrival;
  }

  #logRefusal(conn: number, peer: string, error: LoginError): void {
    this.#log.warn("login-refused", { conn, peer, code: error.code, reason: error.message });
  }

  /** A connection that did not come to a conversation. */
  #turnAway(connection: Connection, conn: number, error: unknown): void {
    const { peer } = connection;
    if (error instanceof HandshakeError) {
      const fields = { conn, peer, code: error.code, reason: error.message };
      if (error.code === "gone") this.#log.info("disconnected", fields);
      else this.#log.warn("refused", fields);
      turnAway(connection, error);
    } else if (error instanceof ConnectionError) {
      this.#log.info("disconnected", { conn, peer, code: error.code });
      connection.finish();
    } else {
      this.#log.error("internal-error", { conn, peer, reason: describe(error) });
      turnAway(connection, new HandshakeError("busy", "the server could not do that"));
    }
  }

  #failed(session: Session, error: unknown): void {
    const { id: conn, peer, user, connection } = session;
    if (error instanceof ConnectionError) {
      session.bye = "too_slow";
      this.#log.warn("dropped", { conn, peer, user, code: "too_slow", reason: error.message });
      connection.terminate();
    } else if (error instanceof FrameError) {
      this.#log.warn("dropped", { conn, peer, user, code: error.code, reason: error.message });
      session.sayBye("bad_length", error.peerMessage ?? error.message);
    } else if (error instanceof MessageError) {
      this.#log.warn("dropped", { conn, peer, user, code: error.code, reason: error.message });
      session.sayBye("bad_message", error.peerMessage ?? error.message);
    } else {
      this.#log.error("service-failed", { conn, peer, user, reason: describe(error) });
      const words = error instanceof ParleyError ? error.peerMessage : undefined;
      session.sayBye("service_failed", words ?? "the service failed");
    }
  }

  #closed(session: Session, error: Error | undefined): void {
    this.#sessions.delete(session);
    const { id: conn, peer, user, received, bye } = session;
    this.#log.info("disconnected", {
      conn,
      peer,
      user,
      received,
      bye: bye ?? "none",
      error: error && messageOf(error),
    });
  }

  // --- credentials that end ---

  #tokensInUse(): ReadonlySet<string> {
    const ids = new Set<string>();
    for (const { arrival } of this.#sessions) if (arrival.tokenId !== undefined) ids.add(arrival.tokenId);
    return ids;
  }

  #recheckSessions(byOthers: boolean): void {
    if (byOthers) this.#log.info("users-changed", { rev: this.#options.store?.document.rev });
    for (const session of this.#sessions) this.#recheck(session);
  }

  #recheck(session: Session): void {
    const { store } = this.#options;
    const ending = store === undefined ? undefined : whyEnded(store.document, session.arrival, Date.now());
    if (ending !== undefined) session.sayBye(ending.code, ending.message);
  }

  #endIdle(timeoutMs: number): void {
    const now = performance.now();
    for (const session of this.#sessions) {
      if (session.connection.heard || session.busy) {
        session.connection.heard = false;
        session.heardAt = now;
      } else if (now - session.heardAt >= timeoutMs && !this.#stopping) {
        session.sayBye("idle", "nothing was said for too long");
      }
    }
  }

  // --- stopping ---

  /** Notices a change of the user file now, not within the second. */
  reload(): void {
    this.#options.store?.reload();
  }

  /** Resets every connection: the end of a drain that nobody wants to wait for. */
  terminate(): void {
    const orphans = [...this.#sessions].filter(({ connection }) => connection.closed);
    this.#cut += this.connections + orphans.length;
    this.#listener.terminate();
  }

  /**
   * Accepts nobody any more and ends every conversation, each once what was sent before is answered; resolves when all
   * are gone, or after `drainMs`, when those left are reset. Says how many those were.
   */
  async stop(drainMs: number = DRAIN_TIMEOUT_MS): Promise<number> {
    const cutBefore = this.#cut;
    this.#stopping = true;
    this.#log.info("stopping", { connections: this.connections, sessions: this.sessions });
    this.#listener.stop();
    const talking = new Set([...this.#sessions].map(({ connection }) => connection));
    for (const connection of this.#listener.connections) {
      if (talking.has(connection)) continue;
      connection.abort(new HandshakeError("shutting_down", "the server is shutting down"));
    }
    await drain(this.#sessions, () => this.connections, drainMs);
    this.terminate();
    this.#unwatch?.();
    clearInterval(this.#idleSweep);
    await this.#options.store?.settled();
    this.#log.info("stopped", { cut: this.#cut });
    return this.#cut - cutBefore;
  }
}

/** An error for the log: one of the world's by its message, a bug with its stack. */
function describe(error: unknown): string {
  if (error instanceof ParleyError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
