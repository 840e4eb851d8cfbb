// Why a login failed, on either side.

import { ParleyError, type ErrorDetails } from "../base/errors.ts";
import type { PenaltyReason } from "../base/limits.ts";
import type { FailureCode } from "../wire/message.ts";

export interface FailureDetails extends ErrorDetails {
  /** Seconds after which trying again makes sense. */
  retryAfter?: number;
  /** The penalty for the peer's source, where it is not the usual one of the code. */
  offence?: PenaltyReason | "none";
}

/**
 * The server's: `peerMessage` goes to the peer in an `error` message with this code. For `gone` and `key_refused` none is
 * sent: the peer has left, or has got its answer in the key exchange.
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

/** The client's: what a server said, or did, instead of `welcome`; the connection has ended. */
export class ServerError extends ParleyError<"turned_away" | "login_refused" | "failed" | "timeout"> {
  override name = "ServerError";
  /** The code of the server's `error` message, or of what was wrong with what it sent. */
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
