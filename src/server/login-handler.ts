// From accept to a conversation, or to the door: one connection's handshake with its deadline, its place, its penalty and
// its lines in the log.
//
//     refused at accept → told why, gone
//     welcome           → an Arrival, with a seat
//     anything else     → told why, penalised where it deserves it, gone

import { randomBytes } from "node:crypto";
import { Authenticator, type AuthenticatorOptions } from "../auth/authenticate.ts";
import { refusal, type Identity, type LoginError } from "../auth/identity.ts";
import type { SharedKey } from "../auth/shared-key.ts";
import { SlidingWindowLimiter } from "../auth/sliding-window-limiter.ts";
import { RESUME_LABEL, tokenKey, verifyProof } from "../auth/token.ts";
import { sourceOf } from "../base/address.ts";
import { describeFault } from "../base/errors.ts";
import { HandshakeError } from "../handshake/errors.ts";
import {
  reject,
  serverHandshake,
  type LoginResult,
  type ResumeLogin,
  type Resumption,
  type ResumedLogin,
} from "../handshake/server.ts";
import { REFUSAL_DELAYS_MS, REFUSAL_MEMORY_MS, type PenaltyReason } from "../base/limits.ts";
import { RateLimitedLog } from "../log/rate-limited-log.ts";
import type { LogFields, Logger } from "../log/log.ts";
import type { Admission, Refusal } from "../net/admission.ts";
import type { Connection } from "../net/connection.ts";
import { ConnectionError } from "../net/connection-error.ts";
import type { Listener } from "../net/listener.ts";

export interface LoginHandlerOptions extends AuthenticatorOptions {
  key: SharedKey | undefined;
  bare: boolean;
  serviceName: string;
  takesLines: boolean;
  maxFrame: number;
  maxAttempts: number;
  /** Conversations of one user at once. */
  maxPerUser: number;
  loginTimeoutMs: number;
  /** In seconds, for `welcome`. */
  keepalive: number;
  /** How long the session of a lost connection is kept, at most. */
  resumeForMs: number;
  /** The session of that name, let go by its connection, if it is there and `proves` is content with it. */
  resume(name: string, received: number, proves: (arrival: LoginResult) => boolean): ResumedLogin | undefined;
  log: Logger;
  /** Equal refusals that are logged one by one in a minute. */
  logBurst: number;
}

export class LoginHandler {
  readonly #options: LoginHandlerOptions;
  readonly #authenticator: Authenticator;
  readonly #flood: RateLimitedLog;
  /** Who sits where, and how many seats each has. */
  readonly #slots = new Map<Connection, string>();
  readonly #slotsOf = new Map<string, number>();
  /** In a row, of each source. */
  readonly #failedLogins = new SlidingWindowLimiter(REFUSAL_DELAYS_MS.length, REFUSAL_MEMORY_MS);

  constructor(options: LoginHandlerOptions) {
    this.#options = options;
    this.#authenticator = new Authenticator(options);
    this.#flood = new RateLimitedLog(options.log, options.logBurst);
  }

  /** Undefined when it did not come to a conversation; all that there was to say and to log is said then. */
  async login(
    conn: number,
    connection: Connection,
    refusal: Refusal | undefined,
    listener: Listener,
  ): Promise<LoginResult | undefined> {
    const { peer } = connection;
    try {
      if (refusal !== undefined) {
        throw new HandshakeError(refusal.code, refusal.message, { retryAfter: refusal.retryAfter });
      }
      const cameToSomething = this.#flood.logIfQuiet("connected", { conn, peer });
      const arrival = await this.#welcome(conn, connection, listener.admission);
      cameToSomething();
      this.#logArrival(conn, peer, arrival);
      listener.loggedIn(connection);
      listener.admission.forgive(connection.address);
      this.#failedLogins.reset(sourceOf(connection.address));
      return arrival;
    } catch (error) {
      const offence = refusal === undefined ? offenceOf(error, connection) : undefined;
      if (offence !== undefined) listener.admission.penalise(connection.address, offence);
      this.releaseSlot(connection);
      this.#reject(conn, connection, error);
      return undefined;
    }
  }

  /** See {@link Authenticator.keepTokens}. */
  keepTokens(ids: Iterable<string>, olderThanMs: number): Promise<void> {
    return this.#authenticator.keepTokens(ids, olderThanMs);
  }

  /** Has somebody logged in from there before? */
  isKnownSource(address: string): boolean {
    return this.#authenticator.isKnownSource(address);
  }

  /** The user's seat is free again. */
  releaseSlot(connection: Connection): void {
    const user = this.#slots.get(connection);
    if (user === undefined) return;
    this.#slots.delete(connection);
    const left = (this.#slotsOf.get(user) ?? 1) - 1;
    if (left > 0) this.#slotsOf.set(user, left);
    else this.#slotsOf.delete(user);
  }

  /** A peer that did not come to speak TLS. */
  tlsFailed(peer: string, reason: string): void {
    this.#flood.log({
      level: "warn",
      event: "tls-failed",
      kind: {},
      source: hostOf(peer),
      fields: { peer, reason },
    });
  }

  /** One that was reset without a word, since too many are being told. */
  reset(peer: string, { code, message }: Refusal): void {
    this.#noteRefused(peer, code, { peer, reason: `${message} (it was not told)` });
  }

  /** Logs what was summed up so far. */
  close(): void {
    this.#flood.flush();
  }

  async #welcome(conn: number, connection: Connection, admission: Admission): Promise<LoginResult> {
    const { key, bare, serviceName, takesLines, maxFrame, maxAttempts, loginTimeoutMs, keepalive } =
      this.#options;
    return serverHandshake(connection, {
      authenticator: this.#authenticator,
      key,
      bare,
      service: serviceName,
      takesLines,
      maxFrame,
      maxAttempts,
      timeoutMs: loginTimeoutMs,
      keepalive,
      onRefused: (error) => this.#refused(conn, connection, error, admission),
      reserveSlot: (identity) => this.#seat(connection, identity),
      newResumption: (wishMs) => this.#grant(wishMs),
      resume: (login, nonce) => this.#revive(connection, login, nonce),
    });
  }

  #grant(wishMs: number | undefined): Resumption {
    return {
      name: randomBytes(9).toString("base64url"),
      key: randomBytes(32),
      forMs: Math.min(this.#options.resumeForMs, wishMs ?? Infinity),
      isWanted: (wishMs ?? 0) > 0,
    };
  }

  #revive(connection: Connection, login: ResumeLogin, nonce: Uint8Array): ResumedLogin {
    const proves = ({ resumption, encrypted }: LoginResult) => {
      const proof = Buffer.from(login.proof, "base64");
      const isRight = verifyProof(
        tokenKey(resumption?.key ?? new Uint8Array(32)),
        proof,
        RESUME_LABEL,
        nonce,
        connection.binding,
      );
      return isRight && resumption !== undefined && encrypted === connection.encrypted;
    };
    const revived = this.#options.resume(login.session, login.received, proves);
    if (revived === undefined) throw refusal("session_gone", "that session is gone: log in anew");
    if (revived.login.user !== null) this.#take(connection, revived.login.user);
    return revived;
  }

  #seat(connection: Connection, { user }: Identity): void {
    if (user === null) return;
    this.releaseSlot(connection); // of a login before this one, which came to nothing
    const { maxPerUser } = this.#options;
    if ((this.#slotsOf.get(user) ?? 0) >= maxPerUser) {
      const have = maxPerUser === 1 ? "a conversation" : `${maxPerUser} conversations`;
      throw new HandshakeError("full", `${user} has ${have} already: end one first`);
    }
    this.#take(connection, user);
  }

  #take(connection: Connection, user: string): void {
    this.releaseSlot(connection); // a second login, after one that came to nothing
    this.#slots.set(connection, user);
    this.#slotsOf.set(user, (this.#slotsOf.get(user) ?? 0) + 1);
  }

  /** Logs a refused login; how long its answer waits, in milliseconds. */
  #refused(conn: number, { peer, address }: Connection, error: LoginError, admission: Admission): number {
    const source = sourceOf(address);
    this.#flood.log({
      level: "warn",
      event: "login-refused",
      kind: { code: error.code, source },
      source,
      fields: { conn, peer, reason: error.message },
    });
    if (error.code === "session_gone" || !admission.penalises(address)) return 0;
    const now = performance.now();
    this.#failedLogins.record(source, now);
    return REFUSAL_DELAYS_MS[this.#failedLogins.count(source, now) - 1] ?? 0;
  }

  #logArrival(conn: number, peer: string, arrival: LoginResult): void {
    const { log, mode, bare } = this.#options;
    if (bare || arrival.received !== undefined) return; // one that comes back is logged as `resumed`
    const { user, method, known, tokenId } = arrival;
    if (method === "register") log.info("registered", { conn, peer, user });
    if (mode === "ip") log.info("greeted", { conn, peer, user, known });
    else log.info("logged-in", { conn, peer, user, method, token: tokenId });
  }

  #reject(conn: number, connection: Connection, error: unknown): void {
    const { peer } = connection;
    const source = hostOf(peer);
    if (error instanceof HandshakeError) {
      const fields = { conn, peer, reason: error.message };
      if (error.code === "gone") this.#noteGone(peer, "gone", fields);
      else if (error.code !== "key_refused") this.#noteRefused(peer, error.code, fields);
      else {
        const kind = { reason: error.message };
        this.#flood.log({ level: "warn", event: "key-refused", kind, source, fields: { conn, peer } });
      }
      // To whom frames are the conversation, a message would be an answer.
      if (this.#options.bare && this.#options.key === undefined) connection.finish();
      else reject(connection, error);
    } else if (error instanceof ConnectionError) {
      this.#noteGone(peer, error.code, { conn, peer });
      connection.finish();
    } else {
      this.#options.log.error("internal-error", { conn, peer, reason: describeFault(error) });
      reject(connection, new HandshakeError("busy", "the server could not do that"));
    }
  }

  #noteGone(peer: string, code: string, fields: LogFields): void {
    this.#flood.log({ level: "info", event: "disconnected", kind: { code }, source: hostOf(peer), fields });
  }

  #noteRefused(peer: string, code: string, fields: LogFields): void {
    this.#flood.log({ level: "warn", event: "refused", kind: { code }, source: hostOf(peer), fields });
  }
}

function hostOf(peer: string): string {
  return peer.slice(0, peer.lastIndexOf(":"));
}

/** What a handshake that failed costs its source. Whoever sent nothing has done nothing. */
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
      return undefined; // full, busy, disabled, shutting down: ours, or the operator's
  }
}
