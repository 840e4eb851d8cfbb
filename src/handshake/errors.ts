// The errors of a failed login, on either side.

import { ParleyError, type ErrorDetails } from "../base/errors.ts";
import type { PenaltyReason } from "../base/limits.ts";
import type { FailureCode } from "../wire/message.ts";

export interface FailureDetails extends ErrorDetails {
  /** Seconds after which the client may try again. */
  retryAfter?: number;
  /** The penalty for the peer's source, if it differs from the usual one of the code. */
  offence?: PenaltyReason | "none";
}

/**
 * An error of the server's half. `peerMessage` goes to the peer in an `error` message with this code, except for `gone` and
 * `key_refused`: there the peer has left, or has got its answer in the key exchange.
 */
export class HandshakeError extends ParleyError<FailureCode | "gone" | "key_refused"> {
  override name = "HandshakeError";
  readonly retryAfter: number | undefined;
  readonly offence: PenaltyReason | "none" | undefined;

  constructor(code: FailureCode | "gone" | "key_refused", message: string, details: FailureDetails = {}) {
    super(code, message, { peerMessage: message, ...details });
    this.retryAfter = details.retryAfter;
    this.offence = details.offence;
  }
}

/** An error of the client's half: the server refused or broke the handshake, and the connection has ended. */
export class ServerError extends ParleyError<"turned_away" | "login_refused" | "failed" | "timeout"> {
  override name = "ServerError";
  /** The code of the server's `error` message, or of the fault in its data. */
  readonly serverCode: string;
  readonly retryAfter: number | undefined;

  constructor(
    code: "turned_away" | "login_refused" | "failed" | "timeout",
    serverCode: string,
    message: string,
    details: FailureDetails = {},
  ) {
    super(code, message, details);
    this.serverCode = serverCode;
    this.retryAfter = details.retryAfter;
  }
}
