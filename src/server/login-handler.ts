// Logs each connection in: its handshake, its user's slot, its penalty and its lines in the log.
//
//     login succeeds       → a LoginResult, and a slot until the connection is closed
//     refused by admission → rejected
//     anything else        → rejected, and penalised where it is the client's fault

import { randomBytes } from "node:crypto";
import { Authenticator, type AuthenticatorOptions } from "../auth/authenticate.ts";
import { LoginError, refusal, type Identity } from "../auth/identity.ts";
import type { SharedKey } from "../auth/shared-key.ts";
import { SlidingWindowLimiter } from "../auth/sliding-window-limiter.ts";
import { boundLabel, RESUME_LABEL, tokenKey, verifyProof } from "../auth/token.ts";
import { pause } from "../base/abort.ts";
import { sourceOf } from "../base/address.ts";
import type { Binding } from "../base/bindings.ts";
import { describeFault } from "../base/errors.ts";
import { HandshakeError } from "../handshake/errors.ts";
import { reject } from "../handshake/reject.ts";
import {
  serverHandshake,
  type LoginResult,
  type ResumeLogin,
  type Resumption,
  type ResumedLogin,
} from "../handshake/server.ts";
import {
  FULL_RETRY_SECONDS,
  PROVING_TIMEOUT_MS,
  REFUSAL_DELAYS_MS,
  REFUSAL_MEMORY_MS,
  REFUSING_PAUSE_MS,
  type PenaltyReason,
} from "../base/limits.ts";
import type { Logger } from "../log/log.ts";
import type { Admission, Refusal } from "../net/admission.ts";
import type { Connection } from "../net/connection.ts";
import { ConnectionError } from "../net/connection-error.ts";
import type { Listener } from "../net/listener.ts";
import type { Service } from "../services/service.ts";
import type { SessionPlaces } from "./session-places.ts";
import { UserSlots } from "./user-slots.ts";

export interface LoginHandlerOptions extends AuthenticatorOptions {
  key: SharedKey | undefined;
  bare: boolean;
  serviceName: string;
  messages: Service["messages"];
  terminal: boolean;
  maxFrame: number;
  maxAttempts: number;
  /** Connections of one user at once; those that resume a session may be more. */
  maxPerUser: number;
  loginTimeoutMs: number;
  /** In seconds, for `welcome`. */
  keepalive: number;
  /** How long the session of a lost connection is kept, at most. */
  resumeForMs: number;
  places: SessionPlaces;
  /** Takes a session from its connection; undefined when there is none for the request. */
  resume(request: ResumeRequest): ResumedLogin | "late" | undefined;
  log: Logger;
}

/** A resume that was delayed on its way: the session has a connection that was opened later. */
class LateResume extends LoginError {
  constructor() {
    const message = "the session has a newer connection";
    super("busy", message, { peerMessage: message });
  }
}

/** What a client asks for that wants a session back. */
export interface ResumeRequest {
  /** Of the session. */
  name: string;
  /** How many of its payloads the client has received. */
  received: number;
  /** When the client's new connection was accepted, by `performance.now`. */
  since: number;
  /** Does the client have the key of that session? */
  proves: (login: LoginResult) => boolean;
}

export class LoginHandler {
  readonly #options: LoginHandlerOptions;
  readonly #authenticator: Authenticator;
  readonly #slots = new UserSlots();
  /** Handshakes that have not ended. */
  readonly #attempts = new Map<Connection, AbortController>();
  #isStopping = false;
  /** Of each source, since its last login that succeeded. */
  readonly #failedLogins = new SlidingWindowLimiter(REFUSAL_DELAYS_MS.length, REFUSAL_MEMORY_MS);

  constructor(options: LoginHandlerOptions) {
    this.#options = options;
    this.#authenticator = new Authenticator(options);
  }

  /**
   * Logs a connection in. Undefined when that failed: then the client is rejected, and that is logged. With a `refusal` it gets
   * in only where it proves that it has a token or a session, if it may do that.
   */
  async login(
    conn: number,
    connection: Connection,
    refusal: Refusal | undefined,
    listener: Listener,
  ): Promise<LoginResult | undefined> {
    const attempt = new AbortController();
    this.#attempts.set(connection, attempt);
    if (this.#isStopping) attempt.abort(shuttingDown());
    const refused =
      refusal && new HandshakeError(refusal.code, refusal.message, { retryAfter: refusal.retryAfter });
    try {
      if (refused !== undefined && refusal?.mayProve !== true) throw refused;
      const result = await this.#handshake(conn, connection, attempt, listener, refused);
      listener.loggedIn(connection);
      listener.admission.forgive(connection.address);
      this.#failedLogins.reset(sourceOf(connection.address));
      return result;
    } catch (error) {
      this.#options.places.free(connection);
      const isTold = listener.turnAway(connection);
      const isPenalised = refused?.code === "penalised";
      const offence = isPenalised ? undefined : offenceOf(error, connection);
      if (offence !== undefined) listener.admission.penalise(connection.address, offence);
      // A connection that had a place for a proof gets its answer no sooner than one that had none.
      const isSoon = isTold && isPenalised && !attempt.signal.aborted;
      const pauseMs = isSoon ? connection.since + REFUSING_PAUSE_MS - performance.now() : 0;
      const reason = refused !== undefined && isTimeout(error) ? refused : error;
      this.#reject(conn, connection, pauseMs > 0 ? await whyOver(reason, pauseMs, attempt.signal) : reason);
      if (!isTold) connection.terminate();
      return undefined;
    } finally {
      this.#attempts.delete(connection);
    }
  }

  /** The connection's socket is closed: its login, if it is still going on, is of no use, and its user's slot is free. */
  closed(connection: Connection): void {
    this.#attempts.get(connection)?.abort(new HandshakeError("gone", "the client left during its login"));
    this.#slots.free(connection);
  }

  /** Ends all logins that are going on, and each further one, since the server stops. */
  stop(): void {
    this.#isStopping = true;
    for (const attempt of this.#attempts.values()) attempt.abort(shuttingDown());
  }

  /** See {@link Authenticator.keepInUse}. */
  keepInUse(identities: Iterable<Identity>, olderThanMs: number): Promise<void> {
    return this.#authenticator.keepInUse(identities, olderThanMs);
  }

  /** See {@link Authenticator.isKnownSource}. */
  isKnownSource(address: string): boolean {
    return this.#authenticator.isKnownSource(address);
  }

  /** Logs a peer with which TLS was not established. */
  tlsFailed(peer: string, reason: string): void {
    this.#options.log.warn("tls-failed", { peer, reason });
  }

  /** Logs a refused peer whose connection was reset. */
  reset(peer: string, { code, message }: Refusal): void {
    this.#options.log.warn("refused", { peer, code, reason: `${message} (the client got no answer)` });
  }

  async #handshake(
    conn: number,
    connection: Connection,
    attempt: AbortController,
    listener: Listener,
    proofsOnly: HandshakeError | undefined,
  ): Promise<LoginResult> {
    const { key, bare, serviceName, messages, terminal, maxFrame, maxAttempts, loginTimeoutMs } =
      this.#options;
    const { keepalive, log } = this.#options;
    const { peer } = connection;
    log.info("connected", { conn, peer });
    const result = await serverHandshake(connection, {
      attempt,
      authenticator: this.#authenticator,
      key,
      bare,
      service: serviceName,
      messages,
      terminal,
      maxFrame,
      maxAttempts,
      timeoutMs: proofsOnly === undefined ? loginTimeoutMs : Math.min(loginTimeoutMs, PROVING_TIMEOUT_MS),
      keepalive,
      proofsOnly,
      onRefused: (error) => this.#refused(conn, connection, error, listener.admission),
      waitWithoutPlace: async (ms) => {
        attempt.signal.throwIfAborted();
        if (!listener.suspend(connection)) return false;
        await pause(ms, attempt.signal);
        return listener.restore(connection);
      },
      reserveSlot: (identity) => this.#reserveSlot(connection, identity),
      onCompleted: (identity) => this.#logLogin(conn, peer, identity),
      newResumption: (wishMs) => this.#newResumption(wishMs),
      resume: (login, nonce, binding) => this.#resume(connection, login, nonce, binding),
    });
    if (result.method === "bare") this.#reserveSlot(connection, result); // there was no login to reserve it
    return result;
  }

  #newResumption(wishMs: number | undefined): Resumption {
    return {
      name: randomBytes(9).toString("base64url"),
      key: randomBytes(32),
      forMs: Math.min(this.#options.resumeForMs, wishMs ?? Infinity),
      isWanted: (wishMs ?? 0) > 0,
    };
  }

  #resume(connection: Connection, login: ResumeLogin, nonce: Uint8Array, binding: Binding): ResumedLogin {
    const proves = ({ resumption, encrypted }: LoginResult) => {
      const proof = Buffer.from(login.proof, "base64");
      const isRight = verifyProof(
        tokenKey(resumption?.key ?? new Uint8Array(32)),
        proof,
        boundLabel(RESUME_LABEL, binding.name),
        nonce,
        binding.value,
      );
      return isRight && resumption !== undefined && encrypted === connection.encrypted;
    };
    const { session: name, received } = login;
    const resumed = this.#options.resume({ name, received, since: connection.since, proves });
    if (resumed === undefined) throw refusal("session_gone", "the session has ended: log in again");
    if (resumed === "late") throw new LateResume();
    // Beyond the limit, too: a client that resumes its session always may.
    if (resumed.login.user !== null) this.#slots.take(connection, resumed.login.user);
    return resumed;
  }

  #reserveSlot(connection: Connection, { user }: Identity): void {
    if (user !== null) this.#reserveUserSlot(connection, user);
    if (this.#options.places.reserve(connection)) return;
    const message = "the server has too many conversations: try again later";
    throw new HandshakeError("full", message, { retryAfter: FULL_RETRY_SECONDS });
  }

  #reserveUserSlot(connection: Connection, user: string): void {
    this.#slots.free(connection); // that of an earlier login on this connection, which failed then
    const { maxPerUser } = this.#options;
    if (this.#slots.count(user) >= maxPerUser) {
      const have = maxPerUser === 1 ? "a conversation" : `${maxPerUser} conversations`;
      throw new HandshakeError("full", `${user} already has ${have}: end one first`);
    }
    this.#slots.take(connection, user);
  }

  /** Logs a refused login; how long its answer waits, in milliseconds. */
  #refused(conn: number, { peer, address }: Connection, error: LoginError, admission: Admission): number {
    const { code, user, message: reason } = error;
    this.#options.log.warn("login-refused", { conn, peer, code, user, reason });
    const isHarmless = error.code === "session_gone" || error instanceof LateResume;
    if (isHarmless || !admission.penalises(address)) return 0;
    const source = sourceOf(address);
    const now = performance.now();
    this.#failedLogins.record(source, now);
    return REFUSAL_DELAYS_MS[this.#failedLogins.count(source, now) - 1] ?? 0;
  }

  #logLogin(conn: number, peer: string, { user, method, known, tokenId }: Identity): void {
    const { log, mode } = this.#options;
    if (method === "register") log.info("registered", { conn, peer, user });
    if (mode === "ip") log.info("greeted", { conn, peer, user, known });
    else log.info("logged-in", { conn, peer, user, method, token: tokenId });
  }

  #reject(conn: number, connection: Connection, error: unknown): void {
    const { bare, key, log } = this.#options;
    const { peer } = connection;
    if (error instanceof HandshakeError) {
      const { code, message: reason } = error;
      if (code === "gone") log.info("disconnected", { conn, peer, code, reason });
      else if (code === "key_refused") log.warn("key-refused", { conn, peer, reason });
      else log.warn("refused", { conn, peer, code, reason });
      // Where frames are the conversation, a message would look like an answer of the service.
      if (bare && key === undefined) connection.finish();
      else reject(connection, error);
    } else if (error instanceof ConnectionError) {
      log.info("disconnected", { conn, peer, code: error.code });
      connection.finish();
    } else {
      log.error("internal-error", { conn, peer, reason: describeFault(error) });
      reject(connection, new HandshakeError("busy", "the login failed because of a fault of the server"));
    }
  }
}

/** What a handshake that failed costs its source; nothing where the client has sent nothing. */
function offenceOf(error: unknown, { chunks }: Connection): PenaltyReason | undefined {
  if (chunks === 0) return undefined;
  if (error instanceof ConnectionError) return "no-login";
  if (!(error instanceof HandshakeError)) return undefined;
  if (error.offence === "none") return undefined;
  if (error.offence !== undefined) return error.offence;
  switch (error.code) {
    case "too_many_attempts":
    case "key_refused":
      return "refused";
    case "timeout":
      return "timeout";
    case "bad_message":
    case "bad_length":
      return "garbage";
    case "gone":
      return "no-login";
    default:
      return undefined; // full, busy, disabled, shutting down: not the client's fault
  }
}

function isTimeout(error: unknown): boolean {
  return error instanceof HandshakeError && error.code === "timeout";
}

/** `error` after `ms`, or the reason of `signal` if it is aborted earlier. */
async function whyOver(error: unknown, ms: number, signal: AbortSignal): Promise<unknown> {
  try {
    await pause(ms, signal);
    return error;
  } catch (reason) {
    return reason;
  }
}

function shuttingDown(): HandshakeError {
  return new HandshakeError("shutting_down", "the server is shutting down");
}
