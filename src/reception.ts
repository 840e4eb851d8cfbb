// From accept to a conversation, or to the door: one connection's handshake with its deadline, its place, its penalty and
// its lines in the log.
//
//     refused at accept → told why, gone
//     welcome           → an Arrival, with a seat
//     anything else     → told why, penalised where it deserves it, gone

import { Authenticator, type AuthenticatorOptions } from "./auth/authenticate.ts";
import type { Identity, LoginError } from "./auth/identity.ts";
import type { SharedKey } from "./auth/key.ts";
import { Ration } from "./auth/ration.ts";
import { sourceOf } from "./address.ts";
import { describeFault } from "./errors.ts";
import { HandshakeError } from "./handshake/failure.ts";
import { turnAway, welcome, type Arrival } from "./handshake/welcome.ts";
import { REFUSAL_DELAYS_MS, REFUSAL_MEMORY_MS, type Offence } from "./limits.ts";
import { FloodLog } from "./log-flood.ts";
import type { Logger } from "./log.ts";
import type { Refusal } from "./net/admission.ts";
import type { Connection } from "./net/connection.ts";
import { ConnectionError } from "./net/connection-error.ts";
import type { Listener } from "./net/listener.ts";

export interface ReceptionOptions extends AuthenticatorOptions {
  key: SharedKey | undefined;
  bare: boolean;
  serviceName: string;
  maxFrame: number;
  maxAttempts: number;
  /** Conversations of one user at once. */
  maxPerUser: number;
  loginTimeoutMs: number;
  /** In seconds, for `welcome`. */
  keepalive: number;
  /** Do failures cost their source time? */
  penalties: boolean;
  log: Logger;
  /** Equal refusals that are logged one by one in a minute. */
  logBurst: number;
}

/** How connections are called in the log that came to nothing without having done anything. */
const GONE = { code: "gone" };

export class Reception {
  readonly #options: ReceptionOptions;
  readonly #authenticator: Authenticator;
  readonly #flood: FloodLog;
  readonly #seats = new Map<Connection, string>();
  /** Refused logins in a row of each source. */
  readonly #refusals = new Ration(REFUSAL_DELAYS_MS.length, REFUSAL_MEMORY_MS);

  constructor(options: ReceptionOptions) {
    this.#options = options;
    this.#authenticator = new Authenticator(options);
    this.#flood = new FloodLog(options.log, options.logBurst);
  }

  /** Undefined when it did not come to a conversation; all that there was to say and to log is said then. */
  async receive(
    conn: number,
    connection: Connection,
    refusal: Refusal | undefined,
    listener: Listener,
  ): Promise<Arrival | undefined> {
    const { log } = this.#options;
    const { peer } = connection;
    try {
      if (refusal !== undefined) {
        throw new HandshakeError(refusal.code, refusal.message, { retryAfter: refusal.retryAfter });
      }
      // In a flood of connections that come to nothing, those that stay are logged when they do.
      const { isFlooded } = this.#flood;
      if (!isFlooded) log.info("connected", { conn, peer });
      const arrival = await this.#welcome(conn, connection);
      if (isFlooded) log.info("connected", { conn, peer });
      this.#logArrival(conn, peer, arrival);
      listener.settle(connection);
      listener.admission.forgive(connection.address);
      this.#refusals.forget(sourceOf(connection.address));
      return arrival;
    } catch (error) {
      const offence = refusal === undefined ? offenceOf(error, connection) : undefined;
      if (offence !== undefined) listener.admission.penalise(connection.address, offence);
      this.release(connection);
      this.#turnAway(conn, connection, error);
      return undefined;
    }
  }

  /** The user's seat is free again. */
  release(connection: Connection): void {
    this.#seats.delete(connection);
  }

  /** A peer that did not come to speak TLS. */
  tlsFailed(peer: string, reason: string): void {
    this.#flood.note("warn", "tls-failed", {}, { peer, reason });
  }

  /** Logs what was summed up so far. */
  close(): void {
    this.#flood.flush();
  }

  async #welcome(conn: number, connection: Connection): Promise<Arrival> {
    const { key, bare, serviceName, maxFrame, maxAttempts, loginTimeoutMs, keepalive } = this.#options;
    return welcome(connection, {
      authenticator: this.#authenticator,
      key,
      bare,
      service: serviceName,
      maxFrame,
      maxAttempts,
      timeoutMs: loginTimeoutMs,
      keepalive,
      onRefused: (error) => this.#refused(conn, connection, error),
      seat: (identity) => this.#seat(connection, identity),
    });
  }

  #seat(connection: Connection, { user }: Identity): void {
    if (user === null) return;
    let count = 0;
    for (const other of this.#seats.values()) if (other === user) count++;
    const { maxPerUser } = this.#options;
    if (count >= maxPerUser) {
      throw new HandshakeError("full", `${user} has ${maxPerUser} conversations already: end one of them`);
    }
    this.#seats.set(connection, user);
  }

  #refused(conn: number, { peer, address }: Connection, error: LoginError): number {
    const source = sourceOf(address);
    this.#flood.note(
      "warn",
      "login-refused",
      { code: error.code, source },
      {
        conn,
        peer,
        reason: error.message,
      },
    );
    if (!this.#options.penalties) return 0;
    const now = performance.now();
    this.#refusals.count(source, now);
    return REFUSAL_DELAYS_MS[this.#refusals.recent(source, now) - 1] ?? 0;
  }

  #logArrival(conn: number, peer: string, { user, method, known, tokenId }: Arrival): void {
    const { log, mode, bare } = this.#options;
    if (bare) return;
    if (method === "register") log.info("registered", { conn, peer, user });
    if (mode === "ip") log.info("greeted", { conn, peer, user, known });
    else log.info("logged-in", { conn, peer, user, method, token: tokenId });
  }

  #turnAway(conn: number, connection: Connection, error: unknown): void {
    const { peer } = connection;
    if (error instanceof HandshakeError) {
      const fields = { conn, peer, reason: error.message };
      if (error.code === "gone") this.#flood.note("info", "disconnected", GONE, fields);
      else if (error.code === "key_refused") this.#flood.note("warn", "key-refused", {}, fields);
      else this.#flood.note("warn", "refused", { code: error.code }, fields);
      turnAway(connection, error);
    } else if (error instanceof ConnectionError) {
      this.#flood.note("info", "disconnected", { code: error.code }, { conn, peer });
      connection.finish();
    } else {
      this.#options.log.error("internal-error", { conn, peer, reason: describeFault(error) });
      turnAway(connection, new HandshakeError("busy", "the server could not do that"));
    }
  }
}

/** What a handshake that failed costs its source. Whoever sent nothing has done nothing. */
function offenceOf(error: unknown, { heard }: Connection): Offence | undefined {
  if (!heard) return undefined;
  if (error instanceof ConnectionError) return "no-login";
  if (!(error instanceof HandshakeError)) return undefined;
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
      return undefined; // full, busy, disabled, shutting down: ours, or the operator's
  }
}
