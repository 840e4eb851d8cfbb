// listener + welcome + service + log → a running server.
//
//     accept → reception → Session → service        each connection for itself
//     users.json changed → conversations whose credential is gone: bye
//     stop → no new connection → what was sent before is answered → bye → closed
//
// With reception.ts the one place that logs a connection's fate and closes it for its errors.

import { flawLines, Flaws } from "../auth/flaws.ts";
import { tagsOf } from "../auth/identity.ts";
import { PasswordHasher } from "../auth/password.ts";
import { ByteBudget } from "../base/byte-budget.ts";
import { DETACHED_STREAM_SHARE, MAX_DETACHED_BYTES } from "../base/limits.ts";
import { saySize } from "../base/units.ts";
import { drain } from "./drain.ts";
import { describeFault, messageOf, ParleyError } from "../base/errors.ts";
import type { LoginResult, ResumedLogin } from "../handshake/server.ts";
import { DelayedAckTimer } from "../delivery/ack-tracker.ts";
import { windowFor } from "../delivery/window.ts";
import type { SessionStatus } from "../auth/session-status.ts";
import type { LogEvent, LogFields, Logger } from "../log/log.ts";
import type { Refusal } from "../net/admission.ts";
import type { Connection } from "../net/connection.ts";
import { ConnectionError } from "../net/connection-error.ts";
import { Listener } from "../net/listener.ts";
import { Penalties } from "../net/penalties.ts";
import { FaultDisplay } from "./fault-display.ts";
import type { ResumeRequest } from "./login-attempt.ts";
import { LoginHandler } from "./login-handler.ts";
import { hashCostOf, withDefaults, type ServerOptions, type ServerSettings } from "./options.ts";
import { HandlerError } from "../services/handler/handler.ts";
import { Host } from "../services/host.ts";
import { ServiceEnding, SessionClosedError } from "../services/service.ts";
import type { ConversationContext } from "../session/conversation.ts";
import { ServerSession, type ServerSessionEvents } from "../session/session.ts";
import { SlowReaders } from "../session/slow-readers.ts";
import { SessionPlaces } from "./session-places.ts";
import { SessionRegistry } from "./session-registry.ts";
import { SessionTimeouts } from "../session/timeouts.ts";
import { FrameError } from "../wire/frame.ts";
import { MessageError } from "../wire/codec.ts";

export interface ServerStats {
  /** Accepted connections since the start, refused ones included. */
  accepted: number;
  /** Open now. */
  connections: number;
  /** … of them, those that have not logged in. */
  pending: number;
  /** Sessions with a connection. */
  attached: number;
  /** Sessions without a connection. */
  detached: number;
  /** Messages of clients, ever. */
  received: number;
  /** Bytes sent to clients in conversations, and not acknowledged. */
  kept: number;
  /** Memory held for clients, in bytes: queued, kept, and not whole. */
  held: number;
  /** Bytes, ever. */
  traffic: { received: number; sent: number };
  /** Of the accounts; undefined for a server without. */
  store: { isReachable: boolean; revision: number } | undefined;
}

/** A running server. */
export class Server {
  readonly #options: ServerSettings;
  readonly #log: Logger;
  readonly #listener: Listener;
  readonly #logins: LoginHandler;
  readonly #sessions: SessionRegistry;
  readonly #places: SessionPlaces;
  readonly #host = new Host((error) => this.#serviceFault(error));
  readonly #flaws: Flaws;
  readonly #unwatch: (() => void) | undefined;
  readonly #timeouts: SessionTimeouts;
  readonly #tokenTimer: Timer;
  readonly #events: ServerSessionEvents = {
    failed: (session, error) => this.#failed(session, error),
    lost: (session, error) => this.#lost(session, error),
    closed: (session, error) => this.#closed(session, error),
  };
  readonly #acks = new DelayedAckTimer();
  readonly #slowReaders = new SlowReaders();
  /** Memory of clients that were dropped since the last collection, in bytes. */
  #uncollected = 0;
  /** Memory of all clients, and the part of it that is kept for those without a connection. */
  readonly #budget: ByteBudget;
  readonly #detachedBudget: ByteBudget;
  /** What all sessions share. */
  readonly #context: ConversationContext;
  readonly #faultDisplay: FaultDisplay;
  #nextId = 1;
  /** Payloads received in conversations that are over. */
  #received = 0;
  #isStopping = false;
  /** Connections that were reset rather than drained. */
  #cut = 0;
  /** Was the drain cut short? */
  #hurried = false;

  /** @throws {ParleyError} `failed` when the port cannot be had. */
  constructor(given: ServerOptions) {
    const options = withDefaults(given);
    const { store, auth, bare, log } = options;
    this.#options = options;
    this.#flaws = new Flaws(auth);
    this.#log = log;
    this.#faultDisplay = new FaultDisplay(options.tell ?? (() => undefined));
    this.#sessions = new SessionRegistry({
      store,
      maxPerUser: options.maxPerUser,
      maxConnections: options.maxConnections,
      changed: () => options.sessionsChanged?.(),
      expiring: (session, code) =>
        this.#log.info("session-expired", { ...factsOf(session), detached_ms: detachedMs(session), code }),
    });
    this.#budget = new ByteBudget(options.maxQueued, () => this.#dropLargest());
    this.#detachedBudget = new ByteBudget(
      options.service.messages === "bytes" ? DETACHED_STREAM_SHARE * options.maxQueued : MAX_DETACHED_BYTES,
      () => this.#sessions.crowdOut(this.#detachedBudget),
      this.#budget,
    );
    this.#context = {
      service: options.service,
      host: this.#host,
      ackTimer: this.#acks,
      budget: this.#budget,
      detachedBudget: this.#detachedBudget,
      slowReaders: this.#slowReaders,
      tagsOf: (login) => tagsOf(store?.document, login),
      window: windowFor(options.service.messages),
      maxBacklog: options.maxBacklog,
      abandonedHookMs: options.abandonedHookMs,
    };
    this.#places = new SessionPlaces({
      service: options.service,
      detachedCount: () => this.#sessions.detachedCount,
      hasRoom: (count) => this.#listener.hasRoom(count),
    });
    this.#logins = new LoginHandler({
      mode: auth,
      bare,
      register: options.register,
      key: options.key,
      store,
      hasher: new PasswordHasher(hashCostOf(options.hashMemory, options.hashTime)),
      maxUsers: options.maxUsers,
      minPassword: options.minPassword,
      maxAttempts: options.maxAttempts,
      maxPerUser: options.maxPerUser,
      maxFrame: options.maxFrame,
      loginTimeoutMs: options.loginTimeoutMs,
      resumeForMs: options.resumeForMs,
      keepalive: options.keepaliveMs / 1000,
      service: options.serviceName,
      messages: options.service.messages,
      terminal: options.service.terminal === true,
      log,
      warn: (error) => this.#log.warn("users-failed", { reason: messageOf(error) }),
      places: this.#places,
      resume: (request) => this.#takeOver(request),
    });
    this.#listener = new Listener({
      host: options.host,
      port: options.port,
      strictPort: options.strictPort,
      fd: options.fd,
      tls: options.tls,
      bindings: options.bindings,
      tlsTimeoutMs: options.tlsTimeoutMs,
      framing: options.framing,
      maxBacklog: options.maxBacklog,
      budget: this.#budget,
      sessions: this.#places,
      admission: {
        maxConnections: options.maxConnections,
        maxPending: options.maxPending,
        maxPendingPerAddress: options.maxPendingPerAddress,
        allow: options.allow,
        deny: options.deny,
        penalties: options.penalties ? new Penalties() : undefined,
        penaltyExempt: options.penaltyExempt,
        isKnownSource: (address) => this.#logins.isKnownSource(address),
        takesProofs: !bare,
      },
      accept: (connection, refusal) => void this.#converse(connection, refusal),
      closed: (connection) => this.#logins.closed(connection),
      reset: (peer, refusal) => this.#logins.reset(peer, refusal),
      tlsFailed: ({ address, peer }, reason, spoke) => {
        this.#logins.tlsFailed(peer, reason);
        if (spoke) this.#listener.admission.penalise(address, "no-login");
      },
    });
    this.#startService();
    this.#unwatch = store?.watch({
      changed: (byOthers) => {
        if (byOthers) {
          this.#log.info("users-changed", { rev: store.document.rev });
          this.#sayFlaws();
        }
        this.#sessions.recheck();
      },
      unreadable: (error) => this.#log.error("users-failed", { reason: messageOf(error) }),
      noticed: ({ event, ...facts }) => this.#log.warn(event, facts),
    });
    this.#timeouts = new SessionTimeouts(this.#sessions, {
      frameTimeoutMs: options.frameTimeoutMs,
      keepaliveMs: options.keepaliveMs,
      idleTimeoutMs: options.idleTimeoutMs,
      abandonedHookMs: options.abandonedHookMs,
      expired: (session) => this.#sessions.expire(session),
      hookAbandoned: (session) => this.#abandonHook(session),
    });
    this.#tokenTimer = setInterval(() => {
      const logins = [...this.#sessions].map(({ login }) => login);
      void this.#logins.keepInUse(logins, options.tokenTouchMs);
    }, options.tokenTouchMs);
    if (this.port !== options.port && options.port !== 0) {
      this.#log.warn("port-taken", { wanted: options.port, port: this.port });
    }
    this.#log.info("listening", {
      host: this.host,
      port: this.port,
      pid: process.pid,
      auth: bare ? "bare" : auth,
      framing: options.framing?.name,
      tls: options.tls?.pin,
      service: options.serviceName,
      store: options.storeUrl,
    });
    this.#sayFlaws();
  }

  /** Starts the service, before the first connection is accepted. */
  #startService(): void {
    try {
      this.#options.service.start?.(this.#host);
    } catch (error) {
      this.#host.end();
      this.#listener.stop();
      throw error;
    }
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

  /** Is it stopping, so that it accepts no connection? */
  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** Can the accounts be read and changed? True for a server without. */
  get isStoreReachable(): boolean {
    return this.#options.store?.isReachable ?? true;
  }

  /** What it is doing, in numbers. */
  stats(): ServerStats {
    let received = this.#received;
    let kept = 0;
    for (const session of this.#sessions) {
      received += session.received;
      kept += session.kept;
    }
    const { detachedCount: detached, size } = this.#sessions;
    const { store } = this.#options;
    return {
      accepted: this.#nextId - 1,
      connections: this.connections,
      pending: this.#listener.admission.pending,
      attached: size - detached,
      detached,
      received,
      kept,
      held: this.#budget.used,
      traffic: this.#listener.traffic,
      store: store && { isReachable: this.isStoreReachable, revision: store.document.rev },
    };
  }

  /** The sessions there are, as `users sessions` shows them. */
  sessionStatuses(): Iterable<SessionStatus> {
    return this.#sessions.statuses();
  }

  /** Is there no user who could log in with a password? */
  get hasNoUsers(): boolean {
    return this.#options.store?.document.users.size === 0;
  }

  // --- one connection ---

  async #converse(connection: Connection, refusal: Refusal | undefined): Promise<void> {
    const id = this.#nextId++;
    const arrival = await this.#logins.login(id, connection, refusal, this.#listener);
    if (arrival === undefined) return;
    try {
      if (arrival.received === undefined) this.#begin(id, connection, arrival);
      else this.#resume(id, connection, arrival, arrival.received);
    } finally {
      this.#places.free(connection); // from now on the service counts what it has started
    }
  }

  #begin(id: number, connection: Connection, arrival: LoginResult): void {
    const session = new ServerSession(id, connection, arrival, this.#context, this.#events);
    this.#sessions.add(session);
    session.start();
  }

  /**
   * Takes a session that a client resumes from its connection, if the client may have it.
   *
   * The old connection gets `replaced`; output that its client has not read is sent again over the new one. One with unread
   * output is reset, and so is one that was replaced before and is still open: a session has two connections at most.
   */
  #takeOver(request: ResumeRequest): ResumedLogin | "late" | undefined {
    const session = this.#sessions.claim(request);
    if (session === undefined || session === "late") return session;
    return { login: session.login, delivered: session.release(request.since) };
  }

  #resume(conn: number, connection: Connection, { resumption }: LoginResult, received: number): void {
    const session = this.#sessions.get(resumption?.name ?? "");
    const detached_ms = detachedMs(session);
    if (session?.resume(conn, connection, received) !== true) {
      return connection.terminate(); // it has just ended: the next try gets `session_gone`
    }
    this.#log.info("resumed", { ...factsOf(session), detached_ms });
    // That connection may be lost already: then the session is detached again, and counted.
    if (session.detachedSince === undefined) this.#sessions.resumed(session);
  }

  // --- how it fares ---

  #lost(session: ServerSession, error: Error | undefined): void {
    const { received } = session;
    this.#log.info("lost", { ...factsOf(session), received, error: error && messageOf(error) });
    this.#sessions.detached(session);
  }

  #failed(session: ServerSession, error: unknown): void {
    const isPeers =
      error instanceof ConnectionError || error instanceof FrameError || error instanceof MessageError;
    if (error instanceof ServiceEnding) {
      const { code, message, cause = error } = error;
      this.#log.warn("target-failed", { ...factsOf(session), code, reason: messageOf(cause) });
      return session.sayBye(code, message);
    }
    if (!isPeers) return this.#serviceFailed(session, error);
    this.#log.warn("dropped", { ...factsOf(session), code: error.code, reason: error.message });
    const words = error.peerMessage ?? error.message;
    if (error instanceof FrameError) session.sayBye("bad_length", words);
    else if (error instanceof MessageError) session.sayBye("bad_message", words);
    else if (error.code === "stalled") session.sayBye("timeout", words);
    else session.abort(error.code === "too_slow" ? "too_slow" : undefined);
  }

  /** The clients use all the memory that they may: those that use most of it go. */
  #dropLargest(): void {
    const { used, limit } = this.#budget;
    const bySize = [...this.#sessions].sort((a, b) => b.allocated - a.allocated);
    for (const session of bySize) {
      if (!this.#budget.isExceeded) break;
      if (session.detachedSince !== undefined) {
        this.#sessions.expire(session, "crowded_out");
        continue;
      }
      const reason = `the client used ${saySize(session.allocated)}, and all clients together reached --max-queued`;
      this.#log.warn("dropped", { ...factsOf(session), code: "too_slow", reason });
      session.abort("too_slow");
    }
    // Buffers are freed at a collection, and the next one may be due when as much again is used (measured with Bun 1.4.5).
    this.#uncollected += used - this.#budget.used;
    if (this.#uncollected < limit * COLLECT_SHARE) return;
    this.#uncollected = 0;
    Bun.gc(true);
  }

  #serviceFailed(session: ServerSession, error: unknown): void {
    const event = error instanceof HandlerError ? "handler-failed" : "service-failed";
    this.#logFault(event, factsOf(session), error, `the session of ${nameOf(session)} has ended`);
    const words = error instanceof ParleyError ? error.peerMessage : undefined;
    session.sayBye("service_failed", words ?? "the service failed");
  }

  /** Logs a fault of the service, and shows that of a handler. */
  #logFault(event: LogEvent, facts: LogFields, error: unknown, outcome: string): void {
    const code = error instanceof HandlerError ? error.hint : undefined;
    this.#log.error(event, { ...facts, reason: describeFault(error), code });
    if (error instanceof HandlerError) this.#faultDisplay.show(error, outcome);
  }

  /** Reports an error that no code has caught: a fault of the service where it comes from there, otherwise one of parley. */
  fault(error: unknown): void {
    if (this.#options.service.isCauseOf?.(error) === true) this.#serviceFault(error);
    else this.#log.error("internal-error", { reason: Bun.inspect(error) });
  }

  /** Reports an error of the service that belongs to no session. */
  #serviceFault(error: unknown): void {
    if (SessionClosedError.is(error)) return; // work for a client that has left, as in a hook
    const explained = this.#options.service.explain?.(error) ?? error;
    const event = explained instanceof HandlerError ? "handler-failed" : "service-failed";
    this.#logFault(event, {}, explained, "it belongs to no session");
  }

  /** Its service does not notice that the client is gone. */
  #abandonHook(session: ServerSession): void {
    const reason = "the client has left while a hook still runs: session.signal was aborted";
    this.#log.warn("service-busy", { ...factsOf(session), reason });
    session.abandonHook();
  }

  #closed(session: ServerSession, error: Error | undefined): void {
    const { received, reason: ending } = session;
    this.#received += received;
    this.#sessions.remove(session);
    // A reset after the last frame is no error.
    const reason = error && ending === undefined ? messageOf(error) : undefined;
    const bye = ending ?? "none";
    this.#log.info("disconnected", { ...factsOf(session), received, bye, error: reason });
  }

  // --- the user file ---

  /** Says which of its entries cannot be used, each once. */
  #sayFlaws(): void {
    const { store, tell } = this.#options;
    const flaws = store === undefined ? [] : this.#flaws.news(store.document);
    for (const { user, address, message } of flaws) {
      this.#log.warn("users-flawed", { user, address, reason: message });
    }
    const [first] = flaws;
    if (first !== undefined) tell?.(...flawLines(flaws), first.hint);
  }

  // --- stopping ---

  /** Reads the user file again, whatever is known of it. */
  reload(): void {
    this.#options.store?.reload(true);
  }

  /** Resets every connection, and so ends a drain. */
  terminate(): void {
    this.#hurried = true;
    this.#sessions.expireAll();
    const orphans = [...this.#sessions].filter(({ connection }) => connection.closed);
    this.#cut += this.connections + orphans.length;
    for (const session of orphans) session.abandonHook();
    this.#listener.terminate();
  }

  /**
   * Accepts no connection any more and ends every session, each once what was sent before is answered; resolves when all
   * are gone, or after `drainMs`, when those left are reset. Says how many those were.
   */
  async stop(drainMs: number = this.#options.drainMs): Promise<number> {
    const cutBefore = this.#cut;
    this.#isStopping = true;
    this.#log.info("stopping", { connections: this.connections, sessions: this.sessions });
    this.#listener.stop();
    this.#logins.stop();
    await drain(this.#sessions, () => this.connections, drainMs);
    const hurried = this.#hurried; // by `terminate`
    this.#timeouts.stop();
    clearInterval(this.#tokenTimer);
    this.terminate();
    this.#acks.stop();
    this.#slowReaders.stop();
    this.#host.end();
    await this.#options.service.stop?.(hurried);
    this.#unwatch?.();
    await this.#options.store?.settled();
    this.#log.info("stopped", { cut: this.#cut });
    return this.#cut - cutBefore;
  }
}

/** A collection is asked for when dropped clients have used this share of all that clients may. */
const COLLECT_SHARE = 1 / 8;

/** Whose line it is. Over a connection that it has come back on, a session is known by its first one. */
function factsOf({ conn, peer, user, id }: ServerSession): LogFields {
  return { conn, peer, user, session: conn === id ? undefined : id };
}

/** A session in words. */
function nameOf({ user, peer }: ServerSession): string {
  return user === null ? peer : `${user} (${peer})`;
}

function detachedMs(session: ServerSession | undefined): number {
  const now = performance.now();
  return Math.round(now - (session?.detachedSince ?? now));
}
