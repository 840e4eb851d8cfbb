// Refuses logins and rejects connections: the message of a client for each error, and its delay.

import type { LoginError } from "../auth/identity.ts";
import { KeyError } from "../auth/shared-key.ts";
import { BUSY_PAUSE_MS, BUSY_RETRY_SECONDS } from "../base/limits.ts";
import { plural } from "../base/plural.ts";
import type { Connection } from "../net/connection.ts";
import { ConnectionError } from "../net/connection-error.ts";
import { FrameError, tlsRecord } from "../wire/frame.ts";
import { encodeMessage, MessageError } from "../wire/codec.ts";
import { HandshakeError } from "./errors.ts";

/** What the server does when it refuses a login. */
export interface Refusing {
  /** Called for each refused login; returns how long its answer is delayed, in milliseconds. */
  onRefused(error: LoginError): number;
  /**
   * Waits for `ms` without a place among the connections that log in. False when too many wait already, or no place is left
   * for another login. @throws the reason of the attempt.
   */
  waitWithoutPlace(ms: number): Promise<boolean>;
}

/** Sends the client the refusal of its login, so that it may try again; or throws the error that ends the connection. */
export async function rejectLogin(
  connection: Connection,
  error: LoginError,
  attemptsLeft: number,
  maxAttempts: number,
  refusing: Refusing,
): Promise<void> {
  const delayMs = refusing.onRefused(error);
  const message = error.peerMessage ?? "login refused";
  switch (error.code) {
    case "disabled":
      throw new HandshakeError("disabled", message);
    case "busy":
      await refusing.waitWithoutPlace(BUSY_PAUSE_MS);
      throw new HandshakeError("busy", message, { retryAfter: BUSY_RETRY_SECONDS });
    case "rate_limited":
      throw new HandshakeError("too_many_from_address", message, { retryAfter: error.retryAfter });
    case "full":
      throw new HandshakeError("full", message);
    case "unavailable":
      // Without a time for a cause that a person has to remove.
      throw new HandshakeError("busy", message, { retryAfter: error.retryAfter });
    default: {
      const mayGoOn = delayMs === 0 || (await refusing.waitWithoutPlace(delayMs));
      const left = mayGoOn ? attemptsLeft : 0;
      connection.send(encodeMessage({ type: "refused", code: error.code, message, attempts_left: left }));
      if (left > 0) return;
      throw new HandshakeError(
        "too_many_attempts",
        mayGoOn
          ? `${plural(maxAttempts, "login", ["was", "were"])} refused`
          : "a login was refused, and another client needed the place",
      );
    }
  }
}

/** An error of a lower layer as a HandshakeError; any other error unchanged. */
export function asHandshakeError(error: unknown): unknown {
  if (error instanceof MessageError)
    return new HandshakeError("bad_message", error.message, { cause: error });
  if (error instanceof KeyError) return new HandshakeError("key_refused", error.message, { cause: error });
  if (error instanceof ConnectionError && error.code === "crowded_out") {
    return new HandshakeError("busy", error.message, { retryAfter: 1, cause: error });
  }
  if (!(error instanceof FrameError)) return error;
  if (error.code === "frame_cut") return new HandshakeError("gone", error.message, { cause: error });
  if (tlsRecord(error) === "hello") {
    // A mistake, like plain text on a port with TLS: a higher penalty would shut out a client that remembers TLS.
    const details = { cause: error, offence: "no-login" } as const;
    return new HandshakeError("bad_length", "a TLS client on a port without TLS", details);
  }
  return new HandshakeError("bad_length", error.message, { cause: error });
}

/** Sends a client the reason of its rejection, and closes the connection once it has arrived. */
export function reject(connection: Connection, error: HandshakeError): void {
  if (error.code !== "gone" && error.code !== "key_refused") {
    const message = error.peerMessage ?? error.message;
    const { code, retryAfter } = error;
    connection.send(encodeMessage({ type: "error", code, message, retry_after: retryAfter }));
  }
  connection.finish();
}
