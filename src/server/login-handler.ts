// Logs each connection in: its handshake, its user's slot, its penalty and its lines in the log.
//
//     login succeeds       → a LoginResult, and a slot until the connection is closed
//     refused by admission → rejected
//     anything else        → rejected, and penalised where it is the client's fault

import { Authenticator, type AuthenticatorOptions } from "../auth/authenticate.ts";
import type { Identity } from "../auth/identity.ts";
import { SlidingWindowLimiter } from "../auth/sliding-window-limiter.ts";
import { pause } from "../base/abort.ts";
import { sourceOf } from "../base/address.ts";
import { describeFault } from "../base/errors.ts";
import { HandshakeError } from "../handshake/errors.ts";
import { asHandshakeError, reject } from "../handshake/reject.ts";
import { serverHandshake, type LoginResult, type ServerHandshakeOptions } from "../handshake/server.ts";
import {
  REFUSAL_DELAYS_MS,
  REFUSAL_MEMORY_MS,
  REFUSING_PAUSE_MS,
  type PenaltyReason,
} from "../base/limits.ts";
import type { Refusal } from "../net/admission.ts";
import type { Connection } from "../net/connection.ts";
import { ConnectionError } from "../net/connection-error.ts";
import type { Listener } from "../net/listener.ts";
import { LoginAttempt, type LoginAttemptOptions, type SharedLogins } from "./login-attempt.ts";
import { UserSlots } from "./user-slots.ts";

export interface LoginHandlerOptions
  extends AuthenticatorOptions, LoginAttemptOptions, Omit<ServerHandshakeOptions, "authenticator"> {}

export class LoginHandler {
  readonly #options: LoginHandlerOptions;
  readonly #handshakeOptions: ServerHandshakeOptions;
  readonly #shared: SharedLogins;
  /** Handshakes that have not ended. */
  readonly #attempts = new Map<Connection, LoginAttempt>();
  #isStopping = false;

  constructor(options: LoginHandlerOptions) {
    const authenticator = new Authenticator(options);
    this.#options = options;
    this.#handshakeOptions = { ...options, authenticator };
    this.#shared = {
      options,
      authenticator,
      slots: new UserSlots(),
      failedLogins: new SlidingWindowLimiter(REFUSAL_DELAYS_MS.length, REFUSAL_MEMORY_MS),
    };
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
    const refused =
      refusal && new HandshakeError(refusal.code, refusal.message, { retryAfter: refusal.retryAfter });
    const attempt = new LoginAttempt(this.#shared, conn, connection, listener, refused);
    this.#attempts.set(connection, attempt);
    if (this.#isStopping) attempt.abort(shuttingDown());
    try {
      if (refused !== undefined && refusal?.mayProve !== true) throw refused;
      this.#options.log.info("connected", { conn, peer: connection.peer });
      const result = await serverHandshake(connection, this.#handshakeOptions, attempt);
      attempt.settle();
      if (result.method === "bare") attempt.reserveSlot(result); // there was no login to reserve it
      listener.loggedIn(connection);
      listener.admission.forgive(connection.address);
      this.#shared.failedLogins.reset(sourceOf(connection.address));
      return result;
    } catch (thrown) {
      attempt.settle();
      const error = asHandshakeError(thrown);
      this.#options.places.free(connection);
      const isTold = listener.turnAway(connection);
      const isPenalised = refused?.code === "penalised";
      const offence = isPenalised ? undefined : offenceOf(error, connection);
      if (offence !== undefined) listener.admission.penalise(connection.address, offence);
      // A connection that had a place for a proof gets its answer no sooner than one that had none.
      const isSoon = isTold && isPenalised && !attempt.aborted;
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
    this.#shared.slots.free(connection);
  }

  /** Ends all logins that are going on, and each further one, since the server stops. */
  stop(): void {
    this.#isStopping = true;
    for (const attempt of this.#attempts.values()) attempt.abort(shuttingDown());
  }

  /** See {@link Authenticator.keepInUse}. */
  keepInUse(identities: Iterable<Identity>, olderThanMs: number): Promise<void> {
    return this.#shared.authenticator.keepInUse(identities, olderThanMs);
  }

  /** See {@link Authenticator.isKnownSource}. */
  isKnownSource(address: string): boolean {
    return this.#shared.authenticator.isKnownSource(address);
  }

  /** Logs a peer with which TLS was not established. */
  tlsFailed(peer: string, reason: string): void {
    this.#options.log.warn("tls-failed", { peer, reason });
  }

  /** Logs a refused peer whose connection was reset. */
  reset(peer: string, { code, message }: Refusal): void {
    this.#options.log.warn("refused", { peer, code, reason: `${message} (the client got no answer)` });
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
