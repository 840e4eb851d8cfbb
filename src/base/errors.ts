// The errors that parley reports.
//
// Each boundary has one class, with a literal union of codes; callers decide by `code`, never by `message`. `message` is for the
// operator: lower case, no full stop, value then limit. Only `peerMessage` may go on the wire. A mistake of the caller is a
// TypeError or RangeError instead.

export interface ErrorDetails {
  /** What the person should do, as one imperative sentence: printed after `parley: hint:`. */
  hint?: string;
  /** The only text of this error that a peer may see; without it the peer gets a general sentence. */
  peerMessage?: string;
  cause?: unknown;
}

/** The kind of an error; `cli.ts` turns each into an exit code. */
export type ParleyErrorCode =
  | "usage" // a flag or an argument: exit 2
  | "failed" // a file, a service or an answer: exit 1
  | "network" // the connection was lost: exit 1
  | "listen" // the address or port cannot be listened on: exit 1
  | "login_refused" // exit 3
  | "timeout" // exit 4
  | "turned_away" // the server is full, stopping, or ended this credential: exit 5
  | "pin_unknown" // the server's key is not known yet: exit 1
  | "pin_changed" // the server's key is not the known one: exit 1
  | "unconfirmed" // sent, and it is unknown whether it arrived: exit 6
  | "interrupted" // SIGINT: exit 130
  | "terminated" // SIGTERM: exit 143
  | "hung_up"; // SIGHUP, the terminal was closed: exit 129

/** An error that a person can act on. It is shown as one line and a hint, without a stack. */
export class ParleyError<Code extends string = ParleyErrorCode> extends Error {
  override name = "ParleyError";
  readonly code: Code;
  readonly hint: string | undefined;
  readonly peerMessage: string | undefined;

  constructor(code: Code, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint;
    this.peerMessage = details.peerMessage;
  }
}

/** A wrong flag or argument: exit 2, before any work was done. */
export function usageError(message: string, hint?: string): ParleyError {
  return new ParleyError("usage", message, { hint });
}

/** The message of a thrown value, for a person. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a system error (`ENOENT`, `EADDRINUSE`, …), or undefined. */
export function systemCode(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** Why the system refused: its error code, or else the message. */
export function reasonOf(error: unknown): string {
  return systemCode(error) ?? messageOf(error);
}

/** The text of an error for the log: a ParleyError by its message, any other error with its stack, since it is a bug. */
export function describeFault(error: unknown): string {
  if (error instanceof ParleyError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
