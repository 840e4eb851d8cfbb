// From a fresh connection to a conversation: the server's half, straight down. These files join wire, net and auth.
//
//     server                                 client
//     (challenge and response of the shared key, both ways, where there is one)
//     hello                              →
//                                        ←   login
//     refused, attempts_left: 2          →
//                                        ←   login
//     welcome                            →
//
// Frames on the heels of a login wait in the decoder while the password is checked: nothing reads them until somebody
// asks. Errors travel up; the server alone turns them into an `error` message and closes.

import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { LoginClient, Authenticator } from "../auth/authenticate.ts";
import { LoginError, type Identity } from "../auth/identity.ts";
import { KeyError, type SharedKey } from "../auth/shared-key.ts";
import { BUSY_PAUSE_MS, BUSY_RETRY_SECONDS, MAX_LOGIN_FRAME_BYTES } from "../base/limits.ts";
import { sayDuration } from "../base/units.ts";
import type { Connection } from "../net/connection.ts";
import { ConnectionError } from "../net/connection-error.ts";
import { plural } from "../base/plural.ts";
import { FrameError, tlsRecord } from "../wire/frame.ts";
import {
  decodeLogin,
  encodeMessage,
  MessageError,
  NONCE_BYTES,
  PROTOCOL,
  type FromServer,
  type Login,
  type Welcome,
} from "../wire/message.ts";
import { HandshakeError } from "./errors.ts";
import { exchangeKeyAsServer, isKeyMissing } from "./shared-key.ts";

export interface ServerHandshakeOptions {
  authenticator: Authenticator;
  /** What a client must prove before anything else. */
  key?: SharedKey;
  /** No hello and no login: frames are the conversation. */
  bare: boolean;
  /** Name of the service, for `hello`. */
  service: string;
  /** Does it take and give lines? */
  takesLines: boolean;
  /** Longest payload after welcome, in bytes. */
  maxFrame: number;
  /** Refusals until the connection is closed. */
  maxAttempts: number;
  /** From accept to the end of the login, whatever the peer sends meanwhile. */
  timeoutMs: number;
  /** Seconds of silence after which the peer is asked whether it is there. */
  keepalive: number;
  /** Told of each refusal; says how long the client shall wait for it, in milliseconds. */
  onRefused(error: LoginError): number;
  /** Takes a place for the user. @throws {HandshakeError} `full` when all are taken. */
  reserveSlot(identity: Identity): void;
  /** What a client may come back with that would like its session kept for so long (undefined: it did not say). */
  newResumption(wishMs: number | undefined): Resumption;
  /**
   * The session that a client comes back to, taken from whatever connection it has.
   *
   * @throws {LoginError} `session_gone`.
   */
  resume(login: ResumeLogin, nonce: Uint8Array): ResumedLogin;
}

export type ResumeLogin = Login & { method: "resume" };

/** How a session can be come back to. */
export interface Resumption {
  /** Public. */
  name: string;
  /** Secret, 32 bytes. */
  key: Uint8Array;
  /** How long it is kept; 0: not at all. */
  forMs: number;
  /** Did the client ask for it, and so promise to acknowledge? */
  isWanted: boolean;
}

export interface ResumedLogin {
  login: LoginResult;
  /** Payloads of the client that were delivered. */
  delivered: number;
}

export interface LoginResult extends Identity {
  /** May control frames be sent? */
  control: boolean;
  /** Does it travel encrypted? */
  encrypted: boolean;
  /** With control frames. */
  resumption?: Resumption;
  /** This is no new session: the client has come back, and has received so many payloads. */
  received?: number;
}

/**
 * Logs a client in.
 *
 * @throws {HandshakeError} when it did not come to that; the caller tells the peer and closes.
 */
export async function serverHandshake(
  connection: Connection,
  options: ServerHandshakeOptions,
): Promise<LoginResult> {
  const { key, bare, maxFrame, timeoutMs } = options;
  const left = timeoutMs - (performance.now() - connection.since);
  // Somebody with the key, or with a login that was refused, may only be slow to think: many share an address.
  const progress = { isOurs: false };
  const deadline = setTimeout(() => {
    const offence = progress.isOurs ? "no-login" : "timeout";
    connection.abort(new HandshakeError("timeout", `no login within ${sayDuration(timeoutMs)}`, { offence }));
  }, left);
  try {
    if (key !== undefined) {
      await exchangeKeyAsServer(connection, key.on(connection.binding));
      progress.isOurs = true;
    }
    if (!bare) {
      connection.decoder.limit = MAX_LOGIN_FRAME_BYTES;
      return await logIn(connection, options, progress);
    }
    connection.decoder.limit = maxFrame;
    const { encrypted } = connection;
    return { user: null, method: "bare", known: false, control: false, encrypted };
  } catch (error) {
    throw asHandshakeError(error);
  } finally {
    clearTimeout(deadline);
  }
}

async function logIn(
  connection: Connection,
  options: ServerHandshakeOptions,
  progress: { isOurs: boolean },
): Promise<LoginResult> {
  const { authenticator, service, maxFrame, maxAttempts } = options;
  const nonce = randomBytes(NONCE_BYTES);
  send(connection, {
    type: "hello",
    protocol: PROTOCOL,
    service,
    ...authenticator.offer(connection.address),
    nonce: nonce.toString("base64"),
    max_frame: maxFrame,
    messages: options.takesLines ? "lines" : undefined,
  });
  let gone = 0;
  for (let attemptsLeft = maxAttempts - 1; ; attemptsLeft--) {
    const payload = await connection.read();
    if (payload === null) {
      // One that came for a session that is no more, and only for that, has done nothing.
      const offence = gone > 0 && attemptsLeft === maxAttempts - 1 ? "none" : undefined;
      throw new HandshakeError("gone", "the client left before logging in", { offence });
    }
    if (isKeyMissing(payload)) {
      throw new HandshakeError("key_refused", "the client has a shared key, and this server asks for none");
    }
    const login = decodeLogin(payload);
    progress.isOurs = true;
    try {
      const { welcome, login: arrival } =
        login.method === "resume"
          ? handleResume(login, options, nonce)
          : await handleLogin(login, connection, options, nonce);
      connection.decoder.limit = maxFrame;
      connection.decoder.control = arrival.control;
      send(connection, welcome);
      return arrival;
    } catch (error) {
      if (!(error instanceof LoginError)) throw error;
      if (error.code === "session_gone" && ++gone <= MAX_GONE) attemptsLeft++; // nobody's fault
      await rejectLogin(connection, error, attemptsLeft, options);
    }
  }
}

/** Sessions that may be asked for in vain on one connection before it costs attempts. */
const MAX_GONE = 3;

interface LoginReply {
  login: LoginResult;
  welcome: Welcome;
}

async function handleLogin(
  login: Exclude<Login, ResumeLogin>,
  connection: Connection,
  options: ServerHandshakeOptions,
  nonce: Uint8Array,
): Promise<LoginReply> {
  const identity = await identify(login, connection, options, nonce);
  // The deadline may have passed, or the client have left, while the disk was waited for.
  connection.check();
  if (connection.closed) throw new HandshakeError("gone", "the client left during its login");
  const control = login.control === true;
  const wish = login.resume_for === undefined ? undefined : login.resume_for * 1000;
  const resumption = control ? options.newResumption(wish) : undefined;
  return {
    login: { ...identity, control, encrypted: connection.encrypted, resumption },
    welcome: {
      type: "welcome",
      user: identity.user,
      known: identity.known,
      token: identity.newToken?.text,
      expires: identity.newToken?.expires,
      server: identity.newToken?.server,
      last_login: identity.lastLogin,
      control: control ? true : undefined,
      keepalive: control ? options.keepalive : undefined,
      session: resumption?.name,
      resume_key: resumption && Buffer.from(resumption.key).toString("base64"),
      resume_for: resumption && resumption.forMs / 1000,
    },
  };
}

function handleResume(login: ResumeLogin, options: ServerHandshakeOptions, nonce: Uint8Array): LoginReply {
  const { login: arrival, delivered } = options.resume(login, nonce);
  return {
    login: { ...arrival, received: login.received },
    welcome: {
      type: "welcome",
      user: arrival.user,
      known: true,
      control: true,
      keepalive: options.keepalive,
      session: login.session,
      resume_for: (arrival.resumption?.forMs ?? 0) / 1000,
      resumed: true,
      received: delivered,
    },
  };
}

async function identify(
  login: Exclude<Login, ResumeLogin>,
  connection: Connection,
  options: ServerHandshakeOptions,
  nonce: Uint8Array,
): Promise<Identity> {
  const { authenticator } = options;
  const { address, encrypted, binding } = connection;
  const who: LoginClient = { address, encrypted, isConnected: () => !connection.closed };
  const identity = await authenticate(login, who, authenticator, { nonce, binding });
  connection.check(); // the deadline may have passed while a password was checked
  if (login.method !== "token" || login.logout !== true) options.reserveSlot(identity);
  return login.token === false
    ? authenticator.withoutToken(identity)
    : authenticator.withToken(identity, who);
}

async function authenticate(
  login: Exclude<Login, ResumeLogin>,
  who: LoginClient,
  authenticator: Authenticator,
  { nonce, binding }: { nonce: Uint8Array; binding: Uint8Array },
): Promise<Identity> {
  switch (login.method) {
    case "none":
      return authenticator.none();
    case "ip":
      return authenticator.byAddress(who);
    case "name":
      return authenticator.byName(who, login.user);
    case "password":
      return authenticator.byPassword(who, login.user, login.password);
    case "register":
      return authenticator.register(who, login.user, login.password);
    case "token": {
      const proof = Buffer.from(login.proof, "base64");
      const identity = await authenticator.byToken(who, login.id, proof, nonce, binding);
      // The conversation of a token that is gone ends like any other: with `bye`, code `revoked`.
      if (login.logout === true) await authenticator.logout(login.id);
      return identity;
    }
  }
}

/** Tells the client that it may try again, or throws what ends the connection. */
async function rejectLogin(
  connection: Connection,
  error: LoginError,
  attemptsLeft: number,
  options: ServerHandshakeOptions,
): Promise<void> {
  const pause = options.onRefused(error);
  const message = error.peerMessage ?? "login refused";
  switch (error.code) {
    case "gone":
      throw new HandshakeError("gone", error.message);
    case "disabled":
      throw new HandshakeError("disabled", message);
    case "busy":
      await delay(BUSY_PAUSE_MS);
      throw new HandshakeError("busy", message, { retryAfter: BUSY_RETRY_SECONDS });
    case "rationed":
      throw new HandshakeError("too_many_from_address", message, { retryAfter: error.retryAfter });
    case "unavailable":
      throw new HandshakeError("busy", message); // nobody knows for how long
    default:
      if (pause > 0) await delay(pause);
      send(connection, { type: "refused", code: error.code, message, attempts_left: attemptsLeft });
      if (attemptsLeft > 0) return;
      throw new HandshakeError(
        "too_many_attempts",
        `${plural(options.maxAttempts, "login", ["was", "were"])} refused`,
      );
  }
}

function asHandshakeError(error: unknown): unknown {
  if (error instanceof MessageError)
    return new HandshakeError("bad_message", error.message, { cause: error });
  if (error instanceof KeyError) return new HandshakeError("key_refused", error.message, { cause: error });
  if (error instanceof ConnectionError && error.code === "crowded_out") {
    return new HandshakeError("busy", error.message, { retryAfter: 1, cause: error });
  }
  if (!(error instanceof FrameError)) return error;
  if (error.code === "frame_cut") return new HandshakeError("gone", error.message, { cause: error });
  if (tlsRecord(error) === "hello") {
    // A mistake, like plain text on a port with TLS; not more, or a client that remembers TLS would be shut out.
    const details = { cause: error, offence: "no-login" } as const;
    return new HandshakeError("bad_length", "a TLS client on a port without TLS", details);
  }
  return new HandshakeError("bad_length", error.message, { cause: error });
}

function send(connection: Connection, message: FromServer): void {
  connection.send(encodeMessage(message));
}

/** Tells a peer why it is turned away, so that it arrives, and closes. */
export function reject(connection: Connection, error: HandshakeError): void {
  if (error.code !== "gone" && error.code !== "key_refused") {
    send(connection, {
      type: "error",
      code: error.code,
      message: error.peerMessage ?? error.message,
      retry_after: error.retryAfter,
    });
  }
  connection.finish();
}
