// What a login comes to: an identity, or a LoginError; and how long an identity holds.

import { ParleyError } from "../base/errors.ts";
import { accountStamp, credentialStamp } from "./accounts.ts";
import type { Document } from "./document.ts";

export const AUTH_MODES = ["password", "ip", "none"] as const;
/** `password`: accounts and tokens. `ip`: a client is known by its address. `none`: no login at all. */
export type AuthMode = (typeof AUTH_MODES)[number];

/**
 * `busy`, `rate_limited`, `full`, `unavailable` and `disabled` end the connection. The others cost one of its attempts, except for
 * `session_gone`.
 */
export type LoginErrorCode =
  | "bad_credentials"
  | "bad_name"
  | "bad_password"
  | "name_taken"
  | "token_refused"
  | "not_allowed"
  | "session_gone"
  | "busy"
  | "rate_limited"
  | "full"
  | "unavailable"
  | "disabled";

/** A login that did not succeed. `peerMessage` is the same for every way of being wrong about a password. */
export class LoginError extends ParleyError<LoginErrorCode> {
  override name = "LoginError";
  /** Seconds after which trying again makes sense. */
  retryAfter: number | undefined;
  /** The user that there is and whose login it was, for the log. */
  user: string | undefined;
}

export interface Identity {
  /** Null where clients do not log in. */
  user: string | null;
  /** The login's method. */
  method: string;
  /** Was there an account, a token or a known address before? */
  known: boolean;
  lastLogin?: string;
  /** The user's `credentialStamp` that was checked; the conversation ends when it changes. */
  stamp?: string;
  /** The address that the name belongs to (`--auth ip`). */
  address?: string;
  /** The token used or issued. */
  tokenId?: string;
  /** A new token, to be sent to the client. */
  newToken?: { text: string; expires: string; server: string | undefined };
}

/** The client that logs in. */
export interface LoginClient {
  address: string;
  /** Does its connection travel over TLS? */
  encrypted: boolean;
  /** Aborted once the login has failed for another reason, such as its deadline or a lost connection: see authenticate.ts. */
  signal: AbortSignal;
}

/** A client whose credential was right. */
export interface Candidate {
  readonly identity: Identity;
  /**
   * Writes down that it has logged in, and issues a token if it `wantsToken` and has logged in with a password.
   *
   * @throws {LoginError} when the credential holds no more, or the change cannot be written.
   */
  complete(wantsToken: boolean): Promise<Identity>;
}

/**
 * Why a conversation that began with `identity` may not go on, as the code and words of its `bye`; undefined when it may.
 */
export function whyEnded(
  document: Readonly<Document>,
  { user: name, stamp, address, tokenId }: Identity,
): { code: "revoked" | "disabled"; message: string } | undefined {
  if (address !== undefined) {
    const host = document.hosts.get(address);
    if (host === undefined) return { code: "revoked", message: "this address was forgotten" };
    if (host.name !== name) return { code: "revoked", message: "this address has another name now" };
  }
  if (name === null || stamp === undefined) return undefined; // no account is behind it
  const user = document.users.get(name);
  if (user === undefined || !stamp.startsWith(`${accountStamp(user)} `)) {
    return { code: "revoked", message: "this account was removed" }; // one of the same name may have been made since
  }
  if (user.disabled !== null) return { code: "disabled", message: disabledMessage(user.disabled.reason) };
  if (credentialStamp(user) !== stamp) return { code: "revoked", message: "the password was changed" };
  // TokenPruner removes no token that is in a conversation: this one was revoked.
  if (tokenId === undefined || document.tokens.has(tokenId)) return undefined;
  return { code: "revoked", message: "this login was revoked" };
}

/** A refusal that says the same to the operator and to the peer. */
export function refusal(code: LoginErrorCode, message: string, cause?: unknown): LoginError {
  return new LoginError(code, message, { peerMessage: message, cause });
}

/** The refusal of one new user too many from `address`; the next one may come after `waitMs`. */
export function rateLimited(address: string, waitMs: number): LoginError {
  const error = new LoginError("rate_limited", `too many new users from ${address}`, {
    peerMessage: "too many new users from your address",
  });
  error.retryAfter = Math.ceil(waitMs / 1000);
  return error;
}

/** The refusal of a login to a disabled account. It says so, and is for clients whose credential was right. */
export function disabled(name: string, reason: string | undefined): LoginError {
  const error = new LoginError("disabled", `user ${name} is disabled`, {
    peerMessage: disabledMessage(reason),
  });
  error.user = name;
  return error;
}

function disabledMessage(reason: string | undefined): string {
  return `this account is disabled${reason === undefined ? "" : `: ${reason}`}`;
}
