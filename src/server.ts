// listener + welcome + service + log → a running server.
//
//     accept → reception → Session → service        each connection for itself
//     users.json changed → conversations whose credential is gone: bye
//     stop → nobody new → what was sent before is answered → bye → gone
//
// With reception.ts the one place that logs a connection's fate and closes it for its errors.

import type { Network } from "./address.ts";
import type { AuthMode } from "./auth/authenticate.ts";
import { whyEnded } from "./auth/identity.ts";
import type { SharedKey } from "./auth/key.ts";
import { PasswordHasher, type HashCost } from "./auth/password.ts";
import type { Store } from "./auth/store.ts";
import { drain } from "./drain.ts";
import { describeFault, messageOf, ParleyError } from "./errors.ts";
import { HandshakeError } from "./handshake/failure.ts";
import type { Arrival, Revived } from "./handshake/welcome.ts";
import { AckClock } from "./ledger.ts";
import {
  DRAIN_TIMEOUT_MS,
  FRAME_TIMEOUT_MS,
  KEEPALIVE_MS,
  LOG_BURST,
  LOGIN_TIMEOUT_MS,
  MAX_ATTEMPTS,
  MAX_BACKLOG_BYTES,
  MAX_CONNECTIONS,
  MAX_FRAME_BYTES,
  MAX_PENDING,
  MAX_PENDING_PER_ADDRESS,
  MAX_PER_USER,
  MAX_SLEEPING_BYTES,
  RESUME_FOR_MS,
} from "./limits.ts";
import type { LiveSession } from "./live-sessions.ts";
import type { Logger } from "./log.ts";
import type { PendingLimit, Refusal } from "./net/admission.ts";
import type { Connection } from "./net/connection.ts";
import { ConnectionError } from "./net/connection-error.ts";
import { Listener } from "./net/listener.ts";
import { Penalties } from "./net/penalties.ts";
import type { TlsIdentity } from "./net/tls.ts";
import { Reception } from "./reception.ts";
import { HandlerError } from "./services/handler.ts";
import { Rooms } from "./services/room.ts";
import type { Service } from "./services/service.ts";
import { Session, type SessionEvents } from "./session.ts";
import { Vigil } from "./vigil.ts";
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
  /** Told when a session begins, ends, is lost or resumed. */
  sessionsChanged?: () => void;
  /** Told what whoever develops a handler should see at once. */
  tell?: (...lines: string[]) => void;
  /** What the server shows who speaks TLS; undefined: plain text. */
  tls?: TlsIdentity;
  /** What clients must prove before they log in. */
  key?: SharedKey;
  maxFrame?: number;
  maxConnections?: number;
  maxPending?: PendingLimit;
  maxPendingPerAddress?: number;
  /** Conversations of one user at once. */
  maxPerUser?: number;
  maxBacklog?: number;
  maxAttempts?: number;
  minPassword?: number;
  tlsTimeoutMs?: number;
  loginTimeoutMs?: number;
  frameTimeoutMs?: number;
  keepaliveMs?: number;
  /** How long the session of a lost connection is kept; 0: not at all. */
  resumeForMs?: number;
  /** Do failures cost their source time? On, unless false. */
  penalties?: boolean;
  penaltyExempt?: readonly Network[];
  /** When not empty: nobody else may connect. */
  allow?: readonly Network[];
  deny?: readonly Network[];
  /** Conversations in which nothing was received for so long end; undefined: never. */
  idleTimeoutMs?: number;
  hashCost?: HashCost;
  /** Equal refusals that are logged one by one in a minute; the others are summed up. */
  logBurst?: number;
}

/** A running server. */
export class Server {
  readonly #options: ServerOptions;
  readonly #log: Logger;
  readonly #listener: Listener;
  readonly #reception: Reception;
  readonly #sessions = new Set<Session>();
  readonly #rooms = new Rooms();
  readonly #unwatch: (() => void) | undefined;
  readonly #vigil: Vigil;
  readonly #events: SessionEvents = {
    failed: (session, error) => this.#failed(session, error),
    lost: (session, error) => this.#lost(session, error),
    closed: (session, error) => this.#closed(session, error),
  };
  /** Those that can be come back to. */
  readonly #byName = new Map<string, Session>();
  readonly #acks = new AckClock();
  #nextId = 1;
  /** Connections that were reset rather than drained. */
  #cut = 0;
  /** Has somebody asked for an end at once? */
  #hurried = false;

  /** @throws {ParleyError} `failed` when the port cannot be had. */
  constructor(options: ServerOptions) {
    this.#options = options;
    this.#log = options.log;
    const {
      auth,
      bare = false,
      maxFrame = MAX_FRAME_BYTES,
      maxBacklog = MAX_BACKLOG_BYTES,
      keepaliveMs = KEEPALIVE_MS,
      resumeForMs = RESUME_FOR_MS,
      penalties = true,
    } = options;
    this.#reception = new Reception({
      mode: auth,
      bare,
      key: options.key,
      register: options.register,
      minPassword: options.minPassword,
      store: options.store,
      hasher: new PasswordHasher(options.hashCost),
      tokensInUse: () => this.#tokensInUse(),
      warn: (error) => this.#log.warn("users-failed", { reason: messageOf(error) }),
      serviceName: options.serviceName,
      takesLines: options.service.takesLines === true,
      maxFrame,
      maxAttempts: options.maxAttempts ?? MAX_ATTEMPTS,
      maxPerUser: options.maxPerUser ?? MAX_PER_USER,
      loginTimeoutMs: options.loginTimeoutMs ?? LOGIN_TIMEOUT_MS,
      keepalive: keepaliveMs / 1000,
      resumeForMs,
      revive: (name, received, proves) => this.#revive(name, received, proves),
      log: options.log,
      logBurst: options.logBurst ?? LOG_BURST,
    });
    this.#listener = new Listener({
      host: options.host,
      port: options.port,
      strictPort: options.strictPort,
      tls: options.tls,
      tlsTimeoutMs: options.tlsTimeoutMs,
      admission: {
        maxConnections: options.maxConnections ?? MAX_CONNECTIONS,
        maxPending: options.maxPending ?? MAX_PENDING,
        maxPendingPerAddress: options.maxPendingPerAddress ?? MAX_PENDING_PER_ADDRESS,
        penalties: penalties ? new Penalties() : undefined,
        penaltyExempt: options.penaltyExempt ?? [],
        allow: options.allow ?? [],
        deny: options.deny ?? [],
      },
      // The answer to the longest message is never too much: in capital letters it may be three times as long.
      maxBacklog: Math.max(maxBacklog, 4 * maxFrame),
      accept: (connection, refusal) => void this.#converse(connection, refusal),
      reset: (peer, refusal) => this.#reception.reset(peer, refusal),
      tlsFailed: ({ address, peer }, reason, spoke) => {
        this.#reception.tlsFailed(peer, reason);
        if (spoke) this.#listener.admission.penalise(address, "no-login");
      },
    });
    this.#unwatch = options.store?.watch({
      changed: (byOthers) => this.#recheckSessions(byOthers),
      unreadable: (error) => this.#log.error("users-failed", { reason: messageOf(error) }),
    });
    this.#vigil = new Vigil(this.#sessions, {
      frameTimeoutMs: options.frameTimeoutMs ?? FRAME_TIMEOUT_MS,
      keepaliveMs,
      idleTimeoutMs: options.idleTimeoutMs,
      resumeForMs,
      expired: (session) => this.#expire(session),
    });
    if (this.port !== options.port && options.port !== 0) {
      this.#log.warn("port-taken", { wanted: options.port, port: this.port });
    }
    this.#log.info("listening", {
      host: this.host,
      port: this.port,
      pid: process.pid,
      auth: bare ? "bare" : auth,
      tls: options.tls?.pin,
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
    return this.#listener.sockets;
  }

  /** Conversations going on. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** The sessions there are, as `users sessions` shows them. */
  liveSessions(): LiveSession[] {
    const instant = (at: number) => new Date(performance.timeOrigin + at).toISOString();
    return [...this.#sessions].map(({ arrival, user, peer, since, asleepSince }) => ({
      token: arrival.tokenId ?? null,
      user,
      peer,
      since: instant(since),
      asleep_since: asleepSince === undefined ? null : instant(asleepSince),
    }));
  }

  /** Is there nobody who could log in with a password? */
  get hasNoUsers(): boolean {
    return this.#options.store?.document.users.size === 0;
  }

  // --- one connection ---

  async #converse(connection: Connection, refusal: Refusal | undefined): Promise<void> {
    const id = this.#nextId++;
    const arrival = await this.#reception.receive(id, connection, refusal, this.#listener);
    if (arrival === undefined) return;
    const name = arrival.resumption?.name;
    if (arrival.received !== undefined) return this.#resume(id, connection, name ?? "", arrival.received);
    const session = new Session(
      id,
      connection,
      arrival,
      {
        service: this.#options.service,
        rooms: this.#rooms,
        acks: this.#acks,
        maxBacklog: this.#options.maxBacklog ?? MAX_BACKLOG_BYTES,
      },
      this.#events,
    );
    this.#sessions.add(session);
    this.#options.sessionsChanged?.();
    if (name !== undefined && arrival.resumption?.forMs !== 0) this.#byName.set(name, session);
    this.#recheck(session);
    session.start();
  }

  #resume(conn: number, connection: Connection, name: string, received: number): void {
    const session = this.#byName.get(name);
    const sleptMs = Math.round(performance.now() - (session?.asleepSince ?? performance.now()));
    if (session?.resume(connection, received) !== true) {
      this.#reception.release(connection);
      return connection.terminate(); // it ended just now: the next try is told so
    }
    const { id, user } = session;
    this.#options.sessionsChanged?.();
    this.#log.info("resumed", { conn, peer: connection.peer, user, session: id, slept: sleptMs });
    this.#recheck(session);
  }

  /** The session that somebody wants back, if it is there and the credential behind it still holds. */
  #revive(name: string, received: number, proves: (arrival: Arrival) => boolean): Revived | undefined {
    const session = this.#byName.get(name);
    if (session === undefined || !proves(session.arrival) || !session.accepts(received)) return undefined;
    this.#options.store?.reload();
    this.#recheck(session);
    if (session.over) return undefined;
    this.#reception.release(session.connection);
    return { arrival: session.arrival, delivered: session.release() };
  }

  #lost(session: Session, error: Error | undefined): void {
    this.#reception.release(session.connection);
    const { id: conn, peer, user, received } = session;
    this.#options.sessionsChanged?.();
    this.#log.info("lost", { conn, peer, user, received, error: error && messageOf(error) });
    this.#limitSleepers(user);
  }

  /** Sleepers cost memory, and a program each: the one that has slept longest makes room. */
  #limitSleepers(user: string | null): void {
    const asleep = [...this.#sessions]
      .filter(({ asleepSince }) => asleepSince !== undefined)
      .sort((a, b) => (a.asleepSince ?? 0) - (b.asleepSince ?? 0));
    const own = asleep.filter((session) => user !== null && session.user === user);
    const { maxPerUser = MAX_PER_USER, maxConnections = MAX_CONNECTIONS } = this.#options;
    for (const session of own.slice(0, Math.max(0, own.length - maxPerUser))) this.#expire(session);
    let bytes = asleep.reduce((sum, { kept }) => sum + kept, 0);
    let count = asleep.length;
    for (const session of asleep) {
      if (count <= maxConnections && bytes <= MAX_SLEEPING_BYTES) return;
      count--;
      bytes -= session.kept;
      if (!session.over) this.#expire(session);
    }
  }

  #failed(session: Session, error: unknown): void {
    const { id: conn, peer, user } = session;
    if (error instanceof ConnectionError) {
      this.#log.warn("dropped", { conn, peer, user, code: error.code, reason: error.message });
      if (error.code === "stalled") return session.sayBye("timeout", error.message);
      session.drop(error.code === "too_slow" ? "too_slow" : undefined);
    } else if (error instanceof FrameError) {
      this.#log.warn("dropped", { conn, peer, user, code: error.code, reason: error.message });
      session.sayBye("bad_length", error.peerMessage ?? error.message);
    } else if (error instanceof MessageError) {
      this.#log.warn("dropped", { conn, peer, user, code: error.code, reason: error.message });
      session.sayBye("bad_message", error.peerMessage ?? error.message);
    } else {
      const isHandler = error instanceof HandlerError;
      const code = isHandler ? error.hint : undefined;
      const event = isHandler ? "handler-failed" : "service-failed";
      this.#log.error(event, { conn, peer, user, reason: describeFault(error), code });
      if (code !== undefined) this.#options.tell?.(...code.split("\n"));
      const words = error instanceof ParleyError ? error.peerMessage : undefined;
      session.sayBye("service_failed", words ?? "the service failed");
    }
  }

  #closed(session: Session, error: Error | undefined): void {
    this.#sessions.delete(session);
    this.#options.sessionsChanged?.();
    if (session.arrival.resumption !== undefined) this.#byName.delete(session.arrival.resumption.name);
    this.#reception.release(session.connection);
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

  #expire(session: Session): void {
    const { id: conn, peer, user } = session;
    this.#log.info("session-expired", { conn, peer, user });
    session.expire();
  }

  // --- stopping ---

  /** Notices a change of the user file now, not within the second. */
  reload(): void {
    this.#options.store?.reload();
  }

  /** Resets every connection: the end of a drain that nobody wants to wait for. */
  terminate(): void {
    this.#hurried = true;
    for (const session of this.#sessions) if (session.asleepSince !== undefined) session.expire();
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
    this.#vigil.stop();
    this.#acks.stop();
    this.#log.info("stopping", { connections: this.connections, sessions: this.sessions });
    this.#listener.stop();
    const talking = new Set([...this.#sessions].map(({ connection }) => connection));
    for (const connection of this.#listener.connections) {
      if (talking.has(connection)) continue;
      connection.abort(new HandshakeError("shutting_down", "the server is shutting down"));
    }
    await drain(this.#sessions, () => this.connections, drainMs);
    const hurried = this.#hurried; // somebody asked again
    this.terminate();
    await this.#options.service.stop?.(hurried);
    this.#unwatch?.();
    this.#reception.close();
    await this.#options.store?.settled();
    this.#log.info("stopped", { cut: this.#cut });
    return this.#cut - cutBefore;
  }
}
