// One login, from the accepted connection to its end: what the handshake asks the server about it. The login handler makes one for
// each connection, and aborts it when its client leaves and when the server stops.

import type { Authenticator } from "../auth/authenticate.ts";
import { LoginError, refusal, type Identity } from "../auth/identity.ts";
import type { SlidingWindowLimiter } from "../auth/sliding-window-limiter.ts";
import { boundLabel, RESUME_LABEL, tokenKey, verifyProof } from "../auth/token.ts";
import { Cancellation, pause } from "../base/abort.ts";
import { sourceOf } from "../base/address.ts";
import type { Binding } from "../base/bindings.ts";
import { FULL_RETRY_SECONDS, PROVING_TIMEOUT_MS, REFUSAL_DELAYS_MS } from "../base/limits.ts";
import { randomBytes } from "../base/random.ts";
import { sayDuration } from "../base/units.ts";
import { HandshakeError } from "../handshake/errors.ts";
import type {
  HandshakeAttempt,
  LoginResult,
  ResumedLogin,
  ResumeLogin,
  Resumption,
} from "../handshake/server.ts";
import type { Logger } from "../log/log.ts";
import type { Connection } from "../net/connection.ts";
import type { Listener } from "../net/listener.ts";
import type { SessionPlaces } from "./session-places.ts";
import type { UserSlots } from "./user-slots.ts";

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

export interface LoginAttemptOptions {
  /** Connections of one user at once; those that resume a session may be more. */
  maxPerUser: number;
  loginTimeoutMs: number;
  /** How long the session of a lost connection is kept, at most. */
  resumeForMs: number;
  places: SessionPlaces;
  /** Takes a session from its connection; undefined when there is none for the request. */
  resume(request: ResumeRequest): ResumedLogin | "late" | undefined;
  log: Logger;
}

/** What the logins of a server share. */
export interface SharedLogins {
  readonly options: LoginAttemptOptions;
  readonly authenticator: Authenticator;
  readonly slots: UserSlots;
  /** Of each source, since its last login that succeeded. */
  readonly failedLogins: SlidingWindowLimiter;
}

/** A resume that was delayed on its way: the session has a connection that was opened later. */
class LateResume extends LoginError {
  constructor() {
    const message = "the session has a newer connection";
    super("busy", message, { peerMessage: message });
  }
}

export class LoginAttempt extends Cancellation implements HandshakeAttempt {
  hasSpoken = false;
  readonly proofsOnly: HandshakeError | undefined;
  readonly #shared: SharedLogins;
  readonly #conn: number;
  readonly #connection: Connection;
  readonly #listener: Listener;
  readonly #deadline: Timer;

  /** @param proofsOnly set when only a token or a session is accepted. */
  constructor(
    shared: SharedLogins,
    conn: number,
    connection: Connection,
    listener: Listener,
    proofsOnly: HandshakeError | undefined,
  ) {
    super();
    this.proofsOnly = proofsOnly;
    this.#shared = shared;
    this.#conn = conn;
    this.#connection = connection;
    this.#listener = listener;
    const { loginTimeoutMs } = shared.options;
    const timeoutMs =
      proofsOnly === undefined ? loginTimeoutMs : Math.min(loginTimeoutMs, PROVING_TIMEOUT_MS);
    this.#deadline = setTimeout(
      () => this.#expire(timeoutMs),
      timeoutMs - (performance.now() - connection.since),
    );
  }

  /** The handshake has ended: the deadline no longer applies. */
  settle(): void {
    clearTimeout(this.#deadline);
  }

  #expire(timeoutMs: number): void {
    // A client with the key, or one that has sent a login, may only be slow: the penalty for its address, which many may share, is lower.
    const offence = this.hasSpoken ? "no-login" : "timeout";
    this.abort(new HandshakeError("timeout", `no login within ${sayDuration(timeoutMs)}`, { offence }));
  }

  override abort(reason: HandshakeError): void {
    if (this.aborted) return;
    super.abort(reason);
    // A pending read notices the end of the connection, and its kind.
    if (!this.#connection.closed) this.#connection.abort(reason);
  }

  async waitWithoutPlace(ms: number): Promise<boolean> {
    this.throwIfAborted();
    if (!this.#listener.suspend(this.#connection)) return false;
    await pause(ms, this.signal);
    return this.#listener.restore(this.#connection);
  }

  newResumption(wishMs: number | undefined): Resumption {
    return {
      name: randomBytes(9).toBase64({ alphabet: "base64url" }),
      key: randomBytes(32),
      forMs: Math.min(this.#shared.options.resumeForMs, wishMs ?? Infinity),
      isWanted: (wishMs ?? 0) > 0,
    };
  }

  resume(login: ResumeLogin, nonce: Uint8Array, binding: Binding): ResumedLogin {
    const connection = this.#connection;
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
    const resumed = this.#shared.options.resume({ name, received, since: connection.since, proves });
    if (resumed === undefined) throw refusal("session_gone", "the session has ended: log in again");
    if (resumed === "late") throw new LateResume();
    // Beyond the limit, too: a client that resumes its session always may.
    if (resumed.login.user !== null) this.#shared.slots.take(connection, resumed.login.user);
    return resumed;
  }

  reserveSlot({ user }: Identity): void {
    if (user !== null) this.#reserveUserSlot(user);
    if (this.#shared.options.places.reserve(this.#connection)) return;
    const message = "the server has too many conversations: try again later";
    throw new HandshakeError("full", message, { retryAfter: FULL_RETRY_SECONDS });
  }

  #reserveUserSlot(user: string): void {
    const { slots, options } = this.#shared;
    slots.free(this.#connection); // that of an earlier login on this connection, which failed then
    const { maxPerUser } = options;
    if (slots.count(user) >= maxPerUser) {
      const have = maxPerUser === 1 ? "a conversation" : `${maxPerUser} conversations`;
      throw new HandshakeError("full", `${user} already has ${have}: end one first`);
    }
    slots.take(this.#connection, user);
  }

  onRefused(error: LoginError): number {
    const { failedLogins, options } = this.#shared;
    const { peer, address } = this.#connection;
    const { code, user, message: reason } = error;
    options.log.warn("login-refused", { conn: this.#conn, peer, code, user, reason });
    const isHarmless = error.code === "session_gone" || error instanceof LateResume;
    if (isHarmless || !this.#listener.admission.penalises(address)) return 0;
    const source = sourceOf(address);
    const now = performance.now();
    failedLogins.record(source, now);
    return REFUSAL_DELAYS_MS[failedLogins.count(source, now) - 1] ?? 0;
  }

  onCompleted({ user, method, known, tokenId }: Identity): void {
    const { authenticator, options } = this.#shared;
    const { peer } = this.#connection;
    const conn = this.#conn;
    if (method === "register") options.log.info("registered", { conn, peer, user });
    if (authenticator.mode === "ip") options.log.info("greeted", { conn, peer, user, known });
    else options.log.info("logged-in", { conn, peer, user, method, token: tokenId });
  }
}
