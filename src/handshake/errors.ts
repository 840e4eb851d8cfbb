// Why there was no login, on either side.

import { ParleyError, type ErrorDetails } from "../base/errors.ts";
import type { PenaltyReason } from "../base/limits.ts";
import type { FailureCode } from "../wire/message.ts";

export interface FailureDetails extends ErrorDetails {
  /** Seconds after which trying again makes sense. */
  retryAfter?: number;
  /** What it costs the peer's source, when that is not what its code usually costs. */
  offence?: PenaltyReason | "none";
}

/**
 * The server's: `peerMessage` goes to the peer in an `error` message with this code. `gone` and `key_refused` need none:
 * the peer has left, or speaks no JSON and has been told.
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

/** The client's: what a server said, or did, instead of `welcome`; the connection is over. */
export class ServerError extends ParleyError<"turned_away" | "login_refused" | "failed" | "timeout"> {
  override name = "ServerError";
  /** The code of the `error` message, or of what went wrong with it. */
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
