// The client's half of the handshake: the server's first message, the shared key if it requires one, then a login for each try.
//
//     hello, or a challenge and then hello   →
//                                            ←   login
//     refused or welcome                     →

import { KeyError, type SharedKey } from "../auth/shared-key.ts";
import { proveToken, TOKEN_LABEL, type TokenParts } from "../auth/token.ts";
import type { Connection } from "../net/connection.ts";
import { ConnectionError } from "../net/connection-error.ts";
import { FrameError, tlsRecord } from "../wire/frame.ts";
import { decodeFromServer, encodeMessage, MessageError } from "../wire/codec.ts";
import {
  PROTOCOL,
  type FromServer,
  type Hello,
  type Login,
  type Refused,
  type Welcome,
} from "../wire/message.ts";
import { ServerError } from "./errors.ts";
import { exchangeKeyAsClient, isChallenge, sayKeyMissing } from "./shared-key.ts";

/**
 * Does the key exchange with a server that must begin with a challenge.
 *
 * @throws {ServerError} when it does not, or has a different key.
 */
export async function proveKey(connection: Connection, key: SharedKey): Promise<void> {
  try {
    const first = await read(connection);
    throwIfTurnedAway(first);
    if (!isChallenge(first)) {
      sayKeyMissing(connection);
      throw new ServerError("failed", "key_missing", "the server does not use a shared key", {
        hint: "start the server with --key-file, or leave --key-file out here",
      });
    }
    await exchangeKeyAsClient(connection, key.on(connection.bindings), first, async () => {
      const payload = await read(connection, "check that both sides have the same --key-file");
      throwIfTurnedAway(payload);
      return payload;
    });
  } catch (error) {
    if (error instanceof KeyError) {
      throw new ServerError("failed", "key_refused", error.message, {
        hint: "use the same --key-file on both sides; over TLS, also check that no proxy ends the TLS connection",
        cause: error,
      });
    }
    throw asServerError(error);
  }
}

/** A server may reject a client at any time. @throws {ServerError} when `payload` says so. */
function throwIfTurnedAway(payload: Uint8Array): void {
  if (Buffer.from(payload.subarray(0, ERROR_START.length)).toString() !== ERROR_START) return;
  throw unexpected(decodeFromServer(payload));
}

const ERROR_START = '{"type":"error"';

/** Reads the first message of a server. @throws {ServerError} when it is not `hello`. */
export async function readHello(connection: Connection): Promise<Hello> {
  const message = await receive(connection);
  if (message.type !== "hello") throw unexpected(message);
  if (message.protocol === PROTOCOL) return message;
  throw new ServerError(
    "failed",
    "protocol",
    `the server speaks ${message.protocol}, this client speaks ${PROTOCOL}`,
  );
}

/**
 * Sends one login and reads its answer.
 *
 * @param maxFrame the longest payload that is accepted after `welcome`.
 * @throws {ServerError} when the server ends the connection.
 */
export async function logIn(
  connection: Connection,
  login: Login,
  maxFrame: number,
): Promise<Welcome | Refused> {
  send(connection, login);
  const answer = await receive(connection);
  if (answer.type === "refused" && answer.attempts_left === 0) {
    // The next message has the reason for the end of the connection. The caller needs the refusal of the login.
    throw new ServerError("login_refused", answer.code, answer.message);
  }
  if (answer.type === "refused") return answer;
  if (answer.type !== "welcome") throw unexpected(answer);
  connection.decoder.limit = maxFrame;
  connection.decoder.control = answer.control === true;
  return answer;
}

/**
 * The login with a token for the server that sent `hello`.
 *
 * @param binding the channel binding of the connection: the proof is invalid on any other.
 */
export function tokenLogin(
  hello: Hello,
  { id, secret }: TokenParts,
  binding: Uint8Array,
): Login & { method: "token" } {
  const nonce = Buffer.from(hello.nonce, "base64");
  const proof = proveToken(secret, TOKEN_LABEL, nonce, binding);
  return { type: "login", method: "token", id, proof: proof.toString("base64") };
}

async function receive(connection: Connection): Promise<FromServer> {
  try {
    const payload = await read(connection);
    if (isChallenge(payload)) {
      throw new ServerError("failed", "login_required", "the server requires a shared key", {
        hint: "copy its key file, and use --key-file FILE",
      });
    }
    return decodeFromServer(payload);
  } catch (error) {
    throw asServerError(error);
  }
}

/** The next payload. @param suspicion the hint of the error. @throws {ServerError} when the connection has ended. */
async function read(connection: Connection, suspicion?: string): Promise<Uint8Array> {
  let how = "closed";
  try {
    const payload = await connection.read();
    if (payload !== null) return payload;
  } catch (error) {
    if (!(error instanceof ConnectionError)) throw error;
    how = "reset";
  }
  const saidNothing = connection.chunks === 0;
  // An overloaded server resets connections without an error: a quick reset counts as `busy`.
  const isBusy = saidNothing && how === "reset" && performance.now() - connection.since < QUICK_RESET_MS;
  const words = saidNothing ? " without an answer" : "";
  throw new ServerError("failed", how, `the server ${how} the connection${words}`, {
    hint: saidNothing && !connection.encrypted ? "use --tls if the server uses TLS" : suspicion,
    retryAfter: isBusy ? 1 : undefined,
  });
}

/** An overloaded server resets sooner than this; one that waits for TLS, later. In milliseconds. */
const QUICK_RESET_MS = 2000;

function asServerError(error: unknown): unknown {
  if (!(error instanceof FrameError || error instanceof MessageError)) return error;
  if (error instanceof FrameError && tlsRecord(error) !== undefined) {
    return new ServerError("failed", "tls", "the server speaks TLS", { hint: "use --tls", cause: error });
  }
  if (error.code === "frame_cut") {
    return new ServerError("failed", "closed", "the server closed the connection in the middle of a message");
  }
  return new ServerError("failed", error.code, `this is not a parley server: ${error.message}`, {
    hint: "use --bare if the server does (serve --bare)",
    cause: error,
  });
}

function unexpected(message: FromServer): ServerError {
  if (message.type !== "error") {
    return new ServerError("failed", "bad_message", `the server sent an unexpected message: ${message.type}`);
  }
  const details = { retryAfter: message.retry_after };
  switch (message.code) {
    case "full":
    case "too_many_from_address":
    case "denied":
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
