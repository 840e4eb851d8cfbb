// From a fresh connection to a conversation, both halves, straight down. The one file that joins wire, net and auth.
//
//     server (welcome)                       client (readHello, then logIn for each try)
//     hello                              →
//                                        ←   login
//     refused, attempts_left: 2          →
//                                        ←   login
//     welcome                            →
//
// Frames on the heels of a login wait in the decoder while the password is checked: nothing reads them until somebody
// asks. Errors travel up; the server alone turns them into an `error` message and closes.

import { randomBytes } from "node:crypto";
import { type Applicant, type Authenticator } from "./auth/authenticate.ts";
import { LoginError, type Identity } from "./auth/identity.ts";
import { proveToken, TOKEN_LABEL, type TokenParts } from "./auth/token.ts";
import { ParleyError, type ErrorDetails } from "./errors.ts";
import { BUSY_RETRY_SECONDS, MAX_ANSWER_BYTES, sayDuration } from "./limits.ts";
import type { Connection } from "./net/connection.ts";
import { FrameError } from "./wire/frame.ts";
import {
  decodeFromServer,
  decodeLogin,
  encodeMessage,
  MessageError,
  NONCE_BYTES,
  PROTOCOL,
  type FailureCode,
  type FromServer,
  type Hello,
  type Login,
  type Refused,
  type Welcome,
} from "./wire/message.ts";

/** Why there was no login. `peerMessage` goes to the peer in an `error` message with this code; `gone` needs none. */
export class HandshakeError extends ParleyError<FailureCode | "gone"> {
  override name = "HandshakeError";
  /** Seconds after which the client may try again. */
  readonly retryAfter: number | undefined;

  constructor(
    code: FailureCode | "gone",
    message: string,
    details: ErrorDetails & { retryAfter?: number } = {},
  ) {
    super(code, message, { peerMessage: message, ...details });
    this.retryAfter = details.retryAfter;
  }
}

// --- the server's half ---

export interface WelcomeOptions {
  authenticator: Authenticator;
  /** Name of the service, for `hello`. */
  service: string;
  /** Longest payload after welcome, in bytes. */
  maxFrame: number;
  /** Refusals until the connection is closed. */
  maxAttempts: number;
  /** From now to the end of the login, whatever the peer sends meanwhile. */
  timeoutMs: number;
  /** Told of each refusal. */
  onRefused(error: LoginError): void;
}

export interface Arrival extends Identity {
  /** May control frames be sent? */
  control: boolean;
}

/**
 * Logs a client in.
 *
 * @throws {HandshakeError} when it did not come to that; the caller tells the peer and closes.
 */
export async function welcome(connection: Connection, options: WelcomeOptions): Promise<Arrival> {
  const { authenticator, service, maxFrame, maxAttempts, timeoutMs } = options;
  const deadline = setTimeout(() => {
    connection.abort(new HandshakeError("timeout", `no login within ${sayDuration(timeoutMs)}`));
  }, timeoutMs);
  try {
    const nonce = randomBytes(NONCE_BYTES);
    send(connection, {
      type: "hello",
      protocol: PROTOCOL,
      service,
      ...authenticator.offer(connection.address),
      nonce: nonce.toString("base64"),
      max_frame: maxFrame,
    });
    for (let attemptsLeft = maxAttempts - 1; ; attemptsLeft--) {
      const payload = await connection.read();
      if (payload === null) throw new HandshakeError("gone", "the client left before logging in");
      const login = decodeLogin(payload);
      try {
        const identity = await identify(login, connection, authenticator, nonce);
        const control = login.control === true;
        connection.decoder.limit = maxFrame;
        connection.decoder.control = control;
        send(connection, {
          type: "welcome",
          user: identity.user,
          known: identity.known,
          token: identity.newToken?.text,
          expires: identity.newToken?.expires,
          last_login: identity.lastLogin,
          control: control ? true : undefined,
        });
        return { ...identity, control };
      } catch (error) {
        if (!(error instanceof LoginError)) throw error;
        refuse(connection, error, attemptsLeft, options);
      }
    }
  } catch (error) {
    throw asHandshakeError(error);
  } finally {
    clearTimeout(deadline);
  }
}

async function identify(
  login: Login,
  connection: Connection,
  authenticator: Authenticator,
  nonce: Uint8Array,
): Promise<Identity> {
  const who: Applicant = { address: connection.address, isThere: () => !connection.closed };
  const wantsToken = login.token !== false;
  switch (login.method) {
    case "none":
      return authenticator.none();
    case "ip":
      return authenticator.byAddress(who);
    case "name":
      return authenticator.byName(who, login.user);
    case "password":
      return authenticator.byPassword(who, login.user, login.password, wantsToken);
    case "register":
      return authenticator.register(who, login.user, login.password, wantsToken);
    case "token": {
      const proof = Buffer.from(login.proof, "base64");
      const identity = authenticator.byToken(login.id, proof, nonce, NO_BINDING);
      // The conversation of a token that is gone ends like any other: with `bye`, code `revoked`.
      if (login.logout === true) await authenticator.logout(login.id);
      return identity;
    }
  }
}

/** On plain TCP a proof is bound to its nonce alone. */
const NO_BINDING = new Uint8Array(0);

/** Tells the client that it may try again, or throws what ends the connection. */
function refuse(
  connection: Connection,
  error: LoginError,
  attemptsLeft: number,
  options: WelcomeOptions,
): void {
  options.onRefused(error);
  const message = error.peerMessage ?? "login refused";
  switch (error.code) {
    case "gone":
      throw new HandshakeError("gone", error.message);
    case "disabled":
      throw new HandshakeError("disabled", message);
    case "busy":
      throw new HandshakeError("busy", message, { retryAfter: BUSY_RETRY_SECONDS });
    case "unavailable":
      throw new HandshakeError("busy", message); // nobody knows for how long
    default:
      send(connection, { type: "refused", code: error.code, message, attempts_left: attemptsLeft });
      if (attemptsLeft > 0) return;
      throw new HandshakeError("too_many_attempts", `${options.maxAttempts} logins were refused`);
  }
}

function asHandshakeError(error: unknown): unknown {
  if (error instanceof HandshakeError) return error;
  if (error instanceof MessageError)
    return new HandshakeError("bad_message", error.message, { cause: error });
  if (error instanceof FrameError) {
    return error.code === "frame_cut"
      ? new HandshakeError("gone", error.message, { cause: error })
      : new HandshakeError("bad_length", error.message, { cause: error });
  }
  return error;
}

// --- the client's half ---

/** What a server said instead of `welcome`; the connection is over. `retryAfter` in seconds. */
export class ServerError extends ParleyError<"turned_away" | "login_refused" | "failed" | "timeout"> {
  override name = "ServerError";
  /** The code of the `error` message. */
  readonly serverCode: string;
  readonly retryAfter: number | undefined;

  constructor(
    code: "turned_away" | "login_refused" | "failed" | "timeout",
    serverCode: string,
    message: string,
    details: ErrorDetails & { retryAfter?: number } = {},
  ) {
    super(code, message, details);
    this.serverCode = serverCode;
    this.retryAfter = details.retryAfter;
  }
}

/** Reads the first thing a server says. @throws {ServerError} when it is not `hello`. */
export async function readHello(connection: Connection): Promise<Hello> {
  const message = await receive(connection);
  if (message.type !== "hello") throw unexpected(message);
  if (message.protocol === PROTOCOL) return message;
  throw new ServerError("failed", "protocol", `the server speaks ${message.protocol}, this is ${PROTOCOL}`);
}

/** One try. @throws {ServerError} when the server ended it there. */
export async function logIn(connection: Connection, hello: Hello, login: Login): Promise<Welcome | Refused> {
  send(connection, login);
  const answer = await receive(connection);
  if (answer.type === "refused" && answer.attempts_left === 0) {
    // What follows says why the connection ends; what matters is that the login was refused.
    throw new ServerError("login_refused", answer.code, answer.message);
  }
  if (answer.type === "refused") return answer;
  if (answer.type !== "welcome") throw unexpected(answer);
  // An answer may be longer than the longest question.
  connection.decoder.limit = Math.max(4 * hello.max_frame, MAX_ANSWER_BYTES);
  connection.decoder.control = answer.control === true;
  return answer;
}

/** The login that presents a token to the server that said `hello`. */
export function tokenLogin(hello: Hello, { id, secret }: TokenParts): Login & { method: "token" } {
  const proof = proveToken(secret, TOKEN_LABEL, Buffer.from(hello.nonce, "base64"), NO_BINDING);
  return { type: "login", method: "token", id, proof: proof.toString("base64") };
}

async function receive(connection: Connection): Promise<FromServer> {
  try {
    const payload = await connection.read();
    if (payload === null) {
      throw new ServerError("failed", "closed", "the server closed the connection without a word");
    }
    if (payload[0] === KEY_CHALLENGE) {
      throw new ServerError("failed", "login_required", "the server requires a shared key");
    }
    return decodeFromServer(payload);
  } catch (error) {
    if (!(error instanceof FrameError || error instanceof MessageError)) throw error;
    throw new ServerError("failed", error.code, `this is not a parley server: ${error.message}`, {
      hint: "if it speaks bare frames (serve --bare), so must you: --bare",
      cause: error,
    });
  }
}

/** `#`, the first byte of a shared-key challenge (wire protocol, section 2). */
const KEY_CHALLENGE = 0x23;

function unexpected(message: FromServer): ServerError {
  if (message.type !== "error") {
    return new ServerError(
      "failed",
      "bad_message",
      `the server said ${message.type} when something else was due`,
    );
  }
  const details = { retryAfter: message.retry_after };
  switch (message.code) {
    case "full":
    case "too_many_from_address":
    case "penalised":
    case "busy":
    case "disabled":
    case "shutting_down":
      return new ServerError("turned_away", message.code, message.message, details);
    case "too_many_attempts":
      return new ServerError("login_refused", message.code, message.message, details);
    case "timeout":
      return new ServerError("timeout", message.code, message.message, details);
    default:
      return new ServerError("failed", message.code, message.message, details);
  }
}

function send(connection: Connection, message: FromServer | Login): void {
  connection.send(encodeMessage(message));
}

/** Tells a peer why it is turned away, so that it arrives, and closes. */
export function turnAway(connection: Connection, error: HandshakeError): void {
  if (error.code !== "gone") {
    send(connection, {
      type: "error",
      code: error.code,
      message: error.peerMessage ?? error.message,
      retry_after: error.retryAfter,
    });
  }
  connection.finish();
}
