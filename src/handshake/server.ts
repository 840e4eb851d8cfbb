// The server's half of the handshake, from a new connection to `welcome`, in this order:
//
//     server                                 client
//     (challenge and response of the shared key, both ways, if there is one)
//     hello                              →
//                                        ←   login
//     refused, attempts_left: 2          →
//                                        ←   login
//     welcome                            →
//
// Frames that follow a login at once wait in the decoder while the password is checked. Errors travel up to the login handler,
// which sends them with `reject`.
//
// A handshake may end early: at its deadline, when the server stops, or when the client leaves. Its attempt then ends each wait: for
// a frame, a hash, the store's lock or a delay.

import type { Authenticator } from "../auth/authenticate.ts";
import { LoginError, refusal, type Candidate, type Identity, type LoginClient } from "../auth/identity.ts";
import type { SharedKey } from "../auth/shared-key.ts";
import type { Cancellation } from "../base/abort.ts";
import type { Binding } from "../base/bindings.ts";
import { MAX_LOGIN_FRAME_BYTES, MAX_UNACKNOWLEDGED_BYTES } from "../base/limits.ts";
import { randomBytes } from "../base/random.ts";
import { windowFor } from "../delivery/window.ts";
import type { Connection } from "../net/connection.ts";
import { decodeLogin, encodeMessage } from "../wire/codec.ts";
import { NONCE_BYTES, PROTOCOL, type ClientTerminal, type Login, type Welcome } from "../wire/message.ts";
import { HandshakeError } from "./errors.ts";
import { rejectLogin, type Refusing } from "./reject.ts";
import { exchangeKeyAsServer, isKeyMissing } from "./shared-key.ts";

/** The parts that all logins of a server share. */
export interface ServerHandshakeOptions {
  authenticator: Authenticator;
  /** The shared key that a client must prove first. */
  key?: SharedKey;
  /** True for frames without hello and login. */
  bare: boolean;
  /** Name of the service, for `hello`. */
  service: string;
  /** The form of the service's messages; undefined: the service decides. */
  messages: "lines" | "bytes" | undefined;
  /** True when the service is a program on a terminal. */
  terminal: boolean;
  /** Longest payload after welcome, in bytes. */
  maxFrame: number;
  /** Seconds of silence after which the server sends a ping. */
  keepalive: number;
  /** Refused logins until the connection is closed. */
  maxAttempts: number;
}

/** One login, with the decisions of the server. Aborting it ends the pending read, and each other wait, with a HandshakeError. */
export interface HandshakeAttempt extends Cancellation, Refusing {
  /** True when the client has proved the key, or has sent a login: it may only be slow. */
  hasSpoken: boolean;
  /** Set when only a token or a session is accepted: the error for any other login. */
  readonly proofsOnly: HandshakeError | undefined;
  /** Takes a place for the user. @throws {HandshakeError} `full` when the user has no place left. */
  reserveSlot(identity: Identity): void;
  /** Called once the login is complete, before `welcome` is sent. */
  onCompleted(identity: Identity): void;
  /** Creates a session that can be resumed. @param wishMs the time for which the client wants it to be kept, if it said one. */
  newResumption(wishMs: number | undefined): Resumption;
  /**
   * The session that a client resumes, without its earlier connection.
   *
   * @throws {LoginError} `session_gone`.
   */
  resume(login: ResumeLogin, nonce: Uint8Array, binding: Binding): ResumedLogin;
}

export type ResumeLogin = Login & { method: "resume" };

/** The data for resuming a session. */
export interface Resumption {
  /** The session's name, public. */
  name: string;
  /** The secret that the client proves: 32 bytes. */
  key: Uint8Array<ArrayBuffer>;
  /** The time for which the session is kept without a connection; 0: not at all. */
  forMs: number;
  /** True when the client asked for it, and so promised to acknowledge. */
  isWanted: boolean;
}

export interface ResumedLogin {
  login: LoginResult;
  /** Payloads of the client that were delivered to the service. */
  delivered: number;
}

export interface LoginResult extends Identity {
  /** True when both sides use control frames. */
  control: boolean;
  /** True when the login was sent over TLS. */
  encrypted: boolean;
  /** Present with control frames. */
  resumption?: Resumption;
  /** The number of bytes that the server may send without an acknowledgement. */
  window: number;
  /** The client's terminal, where the service is a program on one; undefined for a client that is none. */
  terminal?: ClientTerminal;
  /** Present when a session is resumed: the number of its payloads that the client has received. */
  received?: number;
}

/**
 * Logs a client in.
 *
 * @throws {HandshakeError} when it fails, or an error that {@link asHandshakeError} turns into one; the caller sends the reason and
 *   closes.
 */
export async function serverHandshake(
  connection: Connection,
  options: ServerHandshakeOptions,
  attempt: HandshakeAttempt,
): Promise<LoginResult> {
  const { authenticator, key, bare, service, maxFrame, maxAttempts } = options;
  const { proofsOnly } = attempt;
  const { encrypted } = connection;
  if (key !== undefined) {
    await exchangeKeyAsServer(connection, key.on(connection.bindings));
    attempt.hasSpoken = true;
  }
  connection.decoder.limit = bare ? maxFrame : MAX_LOGIN_FRAME_BYTES;
  if (bare) return { ...BARE, encrypted };
  const nonce = randomBytes(NONCE_BYTES);
  const hello = {
    type: "hello" as const,
    protocol: PROTOCOL,
    service,
    ...authenticator.offer(connection.address),
    nonce: nonce.toBase64(),
    bindings: encrypted ? [...connection.bindings.keys()] : undefined,
    max_frame: maxFrame,
    messages: options.messages,
    terminal: options.terminal ? true : undefined,
  };
  connection.send(encodeMessage(hello));
  let gone = 0;
  for (let attemptsLeft = maxAttempts - 1; ; attemptsLeft--) {
    const payload = await connection.read();
    // A login whose client has left is not begun.
    if (payload === null || connection.closed) {
      // A client that asked only for a session that has ended made no mistake.
      const offence = gone > 0 && attemptsLeft === maxAttempts - 1 ? "none" : undefined;
      throw new HandshakeError("gone", "the client left before logging in", { offence });
    }
    if (isKeyMissing(payload)) {
      throw new HandshakeError("key_refused", "the client uses a shared key, and this server does not");
    }
    const login = decodeLogin(payload);
    attempt.hasSpoken = true;
    if (proofsOnly !== undefined && login.method !== "token" && login.method !== "resume") throw proofsOnly;
    try {
      const reply =
        login.method === "resume"
          ? handleResume(login, connection, options, attempt, nonce)
          : await handleLogin(login, connection, options, attempt, nonce);
      connection.decoder.limit = maxFrame;
      connection.decoder.control = reply.login.control;
      connection.send(encodeMessage(reply.welcome));
      return reply.login;
    } catch (error) {
      if (!(error instanceof LoginError)) throw error;
      if (proofsOnly !== undefined && (error.code === "token_refused" || error.code === "not_allowed")) {
        attempt.onRefused(error);
        throw proofsOnly;
      }
      if (error.code === "session_gone" && ++gone <= MAX_GONE) attemptsLeft++; // costs no attempt
      await rejectLogin(connection, error, attemptsLeft, maxAttempts, attempt);
    }
  }
}

const BARE = {
  user: null,
  method: "bare",
  known: false,
  control: false,
  window: MAX_UNACKNOWLEDGED_BYTES,
} as const;

/** Requests for ended sessions on one connection that cost no attempts. */
const MAX_GONE = 3;

interface LoginReply {
  login: LoginResult;
  welcome: Welcome;
}

async function handleLogin(
  login: Exclude<Login, ResumeLogin>,
  connection: Connection,
  options: ServerHandshakeOptions,
  attempt: HandshakeAttempt,
  nonce: Uint8Array,
): Promise<LoginReply> {
  const { authenticator } = options;
  const { address, encrypted } = connection;
  const candidate = await check(login, { address, encrypted, attempt }, authenticator, connection, nonce);
  let { identity } = candidate;
  if (login.method === "token" && login.logout === true) {
    // This session ends as the others of the token do: with `bye`, code `revoked`. It needs no place.
    await authenticator.logout(login.id, attempt.signal);
  } else {
    attempt.reserveSlot(identity);
    identity = await candidate.complete(login.token !== false);
  }
  attempt.onCompleted(identity);
  // The login is complete, but its client has left meanwhile: no session begins.
  if (connection.closed) throw new HandshakeError("gone", "the client left during its login");
  const control = login.control === true;
  const wish = login.resume_for === undefined ? undefined : login.resume_for * 1000;
  const resumption = control ? attempt.newResumption(wish) : undefined;
  const own = windowFor(options.messages);
  const window = Math.min(own, login.window ?? MAX_UNACKNOWLEDGED_BYTES);
  const terminal = options.terminal && control ? login.terminal : undefined;
  return {
    login: { ...identity, control, encrypted, resumption, window, terminal },
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
      resume_key: resumption?.key.toBase64(),
      resume_for: resumption && resumption.forMs / 1000,
      window: own === MAX_UNACKNOWLEDGED_BYTES ? undefined : own,
    },
  };
}

function handleResume(
  login: ResumeLogin,
  connection: Connection,
  options: ServerHandshakeOptions,
  attempt: HandshakeAttempt,
  nonce: Uint8Array,
): LoginReply {
  const { login: first, delivered } = attempt.resume(login, nonce, bindingOf(login, connection));
  return {
    login: { ...first, received: login.received },
    welcome: {
      type: "welcome",
      user: first.user,
      known: true,
      control: true,
      keepalive: options.keepalive,
      session: login.session,
      resume_for: (first.resumption?.forMs ?? 0) / 1000,
      resumed: true,
      received: delivered,
    },
  };
}

/** Checks a login's credential. */
function check(
  login: Exclude<Login, ResumeLogin>,
  client: LoginClient,
  authenticator: Authenticator,
  connection: Connection,
  nonce: Uint8Array,
): Candidate | Promise<Candidate> {
  switch (login.method) {
    case "none":
      return authenticator.none();
    case "ip":
      return authenticator.byAddress(client);
    case "name":
      return authenticator.byName(client, login.user);
    case "password":
      return authenticator.byPassword(client, login.user, login.password);
    case "register":
      return authenticator.byRegistration(client, login.user, login.password);
    case "token": {
      const proof = Buffer.from(login.proof, "base64");
      return authenticator.byToken(client, login.id, proof, nonce, bindingOf(login, connection));
    }
  }
}

/** The binding of a login's proof. @throws {LoginError} `not_allowed` when it is none of those that `hello` has named. */
function bindingOf(
  { binding: wanted }: { binding?: string | undefined },
  { bindings, encrypted }: Connection,
): Binding {
  if (!encrypted) {
    if (wanted === undefined) return { name: "tls-exporter", value: new Uint8Array(0) };
    throw refusal("not_allowed", "without TLS a proof has no binding");
  }
  for (const [name, value] of bindings) if (name === (wanted ?? "tls-exporter")) return { name, value };
  throw refusal("not_allowed", `this server accepts the binding ${[...bindings.keys()].join(" or ")}`);
}
