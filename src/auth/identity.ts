// The results of a login: an identity or a LoginError. Also checks whether an identity is still valid.

import type { Cancellation } from "../base/abort.ts";
import { ParleyError } from "../base/errors.ts";
import { accountStamp, credentialStamp } from "./accounts.ts";
import type { Document, User } from "./document.ts";

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

/** A failed login. `peerMessage` is the same for an unknown user and for a wrong password. */
export class LoginError extends ParleyError<LoginErrorCode> {
  override name = "LoginError";
  /** Seconds after which the client may try again. */
  retryAfter: number | undefined;
  /** The existing user of the login, for the log. */
  user: string | undefined;
}

export interface Identity {
  /** Null on a server without logins. */
  user: string | null;
  /** The login's method. */
  method: string;
  /** True when the account, token or address existed before. */
  known: boolean;
  lastLogin?: string;
  /** The user's `credentialStamp` at the login; the session ends when it changes. */
  stamp?: string;
  /** The address with this name (`--auth ip`). */
  address?: string;
  /** The token used or issued. */
  tokenId?: string;
  /** A new token for the client. */
  newToken?: { text: string; expires: string; server: string | undefined };
}

/** The client that logs in. */
export interface LoginClient {
  address: string;
  /** True when the connection uses TLS. */
  encrypted: boolean;
  /** Aborted once the login has failed for another reason, such as its deadline or a lost connection: see authenticate.ts. */
  attempt: Cancellation;
}

/** A client with a right credential. */
export interface Candidate {
  readonly identity: Identity;
  /**
   * Records the login, and issues a token if the client `wantsToken` and has logged in with a password.
   *
   * @throws {LoginError} when the credential is no longer valid, or the change cannot be written.
   */
  complete(wantsToken: boolean): Promise<Identity>;
}

/**
 * The reason why a session of `identity` must end, as code and message of its `bye`; undefined when it may continue.
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
  if (name === null || stamp === undefined) return undefined; // without an account
  const user = accountOf(document, name, stamp);
  if (user === undefined) return { code: "revoked", message: "this account was removed" };
  if (user.disabled !== null) return { code: "disabled", message: disabledMessage(user.disabled.reason) };
  if (credentialStamp(user) !== stamp) return { code: "revoked", message: "the password was changed" };
  // TokenPruner removes no token in use: this one was revoked.
  if (tokenId === undefined || document.tokens.has(tokenId)) return undefined;
  return { code: "revoked", message: "this login was revoked" };
}

/** The present tags of the account of `identity`; none where it has no account, or the account was removed. */
export function tagsOf(
  document: Readonly<Document> | undefined,
  { user: name, stamp }: Identity,
): readonly string[] {
  if (document === undefined || name === null || stamp === undefined) return NO_TAGS;
  const tags = accountOf(document, name, stamp)?.tags;
  return tags === undefined ? NO_TAGS : Object.freeze(tags); // a handler must not change the record
}

const NO_TAGS: readonly string[] = Object.freeze([]);

/** The account in which a login began; undefined once it was removed: another account may have the same name then. */
function accountOf(document: Readonly<Document>, name: string, stamp: string): User | undefined {
  const user = document.users.get(name);
  return user !== undefined && stamp.startsWith(`${accountStamp(user)} `) ? user : undefined;
}

/** A refusal with the same message for the operator and the peer. */
export function refusal(code: LoginErrorCode, message: string, cause?: unknown): LoginError {
  return new LoginError(code, message, { peerMessage: message, cause });
}

/** The refusal of a new user from `address`, which has reached its limit for `waitMs`. */
export function rateLimited(address: string, waitMs: number): LoginError {
  const error = new LoginError("rate_limited", `too many new users from ${address}`, {
    peerMessage: "too many new users from your address",
  });
  error.retryAfter = Math.ceil(waitMs / 1000);
  return error;
}

/** The refusal of a login to a disabled account. It says so, since the credential was right. */
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
