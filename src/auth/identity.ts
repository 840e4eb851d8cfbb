// What a login comes to: an identity, or a LoginError; and how long an identity holds.

import { ParleyError } from "../base/errors.ts";
import { credentialStamp } from "./accounts.ts";
import type { Document } from "./document.ts";

export const AUTH_MODES = ["password", "ip", "none"] as const;
/** `password`: accounts and tokens. `ip`: who you are is where you come from. `none`: anybody. */
export type AuthMode = (typeof AUTH_MODES)[number];

/** Codes that cost an attempt (`session_gone` does not), and five that end the connection: `busy`, `rationed`, `unavailable`, `disabled`, `gone`. */
export type LoginErrorCode =
  | "bad_credentials"
  | "bad_name"
  | "bad_password"
  | "name_taken"
  | "token_refused"
  | "not_allowed"
  | "session_gone"
  | "busy"
  | "rationed"
  | "unavailable"
  | "disabled"
  | "gone";

/** A login that did not succeed. `peerMessage` is the same for every way of being wrong about a password. */
export class LoginError extends ParleyError<LoginErrorCode> {
  override name = "LoginError";
  /** Seconds after which trying again makes sense. */
  retryAfter: number | undefined;
}

export interface Identity {
  /** Null when nobody needs to log in. */
  user: string | null;
  /** How: the login's method. */
  method: string;
  /** Was there an account, a token or a known address before? */
  known: boolean;
  lastLogin?: string;
  /** What the login stands on; the conversation ends when it changes. */
  stamp?: string;
  /** The address that the name belongs to (`--auth ip`). */
  address?: string;
  /** The token used or issued. */
  tokenId?: string;
  /** A new token, to be sent to the client. */
  newToken?: { text: string; expires: string; server: string | undefined };
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
  if (user === undefined) return { code: "revoked", message: "this account was removed" };
  if (user.disabled !== null) return { code: "disabled", message: disabledMessage(user.disabled.reason) };
  if (credentialStamp(user) !== stamp) return { code: "revoked", message: "the password was changed" };
  // One that is in a conversation is taken out by a revocation alone: see TokenPruner.
  if (tokenId === undefined || document.tokens.has(tokenId)) return undefined;
  return { code: "revoked", message: "this login was revoked" };
}

/** A refusal that says the same to the operator and to the peer. */
export function refusal(code: LoginErrorCode, message: string, cause?: unknown): LoginError {
  return new LoginError(code, message, { peerMessage: message, cause });
}

/** An address has had all that is given out for a while: `wait` in milliseconds. */
export function rateLimited(address: string, waitMs: number): LoginError {
  const error = new LoginError("rationed", `too many new users have come from ${address}`, {
    peerMessage: "too many new users have come from your address",
  });
  error.retryAfter = Math.ceil(waitMs / 1000);
  return error;
}

/** The account is there, and its password was right. */
export function disabled(name: string, reason: string | undefined): LoginError {
  return new LoginError("disabled", `user ${name} is disabled`, {
    peerMessage: disabledMessage(reason),
  });
}

function disabledMessage(reason: string | undefined): string {
  return `this account is disabled${reason === undefined ? "" : `: ${reason}`}`;
}
