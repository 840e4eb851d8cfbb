// What can be done to the store's content, each as one small change: all of them check first and then change, so that
// one that throws has done nothing.

import { ParleyError } from "../base/errors.ts";
import { TOKEN_IDLE_MS, TOKEN_MAX_MS } from "../base/limits.ts";
import type { Document, Host, Token, User } from "./document.ts";

/** `unknown`: no such entry. `exists`: there is one already. `known`: the address has a name. */
export class AccountError extends ParleyError<"unknown" | "exists" | "known"> {
  override name = "AccountError";
}

/** Adds a user, and returns it. @throws {AccountError} `exists`. */
export function addUser(draft: Document, name: string, hash: string, now: Date): User {
  if (draft.users.has(name)) throw userExists(name);
  const user = { password: hash, created: now.toISOString(), disabled: null };
  putUser(draft, name, user);
  return user;
}

/** Stores a user with a hash that may be new. */
export function putUser(draft: Document, name: string, user: User): void {
  draft.users.set(name, user);
  draft.hashes = {};
}

export function userExists(name: string): AccountError {
  return new AccountError("exists", `user ${name} already exists`, {
    hint: `to give it a new password: parley users passwd ${name}`,
  });
}

/** Gives a user another hash; unless `keepSessions`, its tokens and conversations end. @throws {AccountError} `unknown`. */
export function setPassword(
  draft: Document,
  name: string,
  hash: string,
  keepSessions: boolean,
  now: Date,
): void {
  const user = findUser(draft, name);
  if (keepSessions) {
    putUser(draft, name, { ...user, password: hash });
    return;
  }
  putUser(draft, name, { ...user, password: hash, changed: now.toISOString() });
  revokeTokens(draft, (token) => token.user === name);
}

/** Replaces a hash by another one of the same password, unless that changed meanwhile. */
export function replaceHash(draft: Document, name: string, from: string, to: string): void {
  const user = draft.users.get(name);
  if (user?.password === from) putUser(draft, name, { ...user, password: to });
}

/** @throws {AccountError} `unknown`. */
export function removeUser(draft: Document, name: string): void {
  findUser(draft, name);
  draft.users.delete(name);
  draft.hashes = {};
  revokeTokens(draft, (token) => token.user === name);
}

/** @throws {AccountError} `unknown`. */
export function disableUser(draft: Document, name: string, reason: string | undefined, now: Date): void {
  const user = findUser(draft, name);
  draft.users.set(name, { ...user, disabled: { since: now.toISOString(), reason } });
}

/** @throws {AccountError} `unknown`. */
export function enableUser(draft: Document, name: string): void {
  draft.users.set(name, { ...findUser(draft, name), disabled: null });
}

/**
 * Stores a token for a user who has just logged in, if that login still holds.
 *
 * No other token makes room for it: which of them are in a conversation is found out later, by `TokenPruner`.
 *
 * @param stamp the user's {@link credentialStamp} that was checked.
 * @throws {AccountError} `unknown` when the user is gone, disabled, or has another password by now.
 */
export function addToken(draft: Document, id: string, token: Token, stamp: string): void {
  const user = draft.users.get(token.user);
  if (user === undefined || user.disabled !== null || credentialStamp(user) !== stamp) {
    throw new AccountError("unknown", `user ${token.user} has changed during the login`);
  }
  draft.tokens.set(id, token);
  draft.users.set(token.user, { ...user, last_login: token.created });
}

/** Writes down that a user has logged in, unless the login does not hold any more. @param stamp as with {@link addToken}. */
export function touchUser(draft: Document, name: string, stamp: string, now: Date): void {
  const user = draft.users.get(name);
  if (user === undefined || credentialStamp(user) !== stamp) return;
  draft.users.set(name, { ...user, last_login: now.toISOString() });
}

/** Writes down that tokens are in use, without a new login; those that are gone are left out. */
export function keepTokens(draft: Document, ids: readonly string[], now: Date): void {
  for (const id of ids) {
    const token = draft.tokens.get(id);
    if (token !== undefined) draft.tokens.set(id, { ...token, used: now.toISOString() });
  }
}

/** Writes down that a token was used for a login; false when it is gone. */
export function touchToken(draft: Document, id: string, now: Date): boolean {
  const token = draft.tokens.get(id);
  if (token === undefined) return false;
  draft.tokens.set(id, { ...token, used: now.toISOString() });
  const user = draft.users.get(token.user);
  if (user !== undefined) draft.users.set(token.user, { ...user, last_login: now.toISOString() });
  return true;
}

/** Ends the tokens that `match`; returns how many. */
export function revokeTokens(draft: Document, match: (token: Token, id: string) => boolean): number {
  let count = 0;
  for (const [id, token] of draft.tokens) {
    if (match(token, id) && draft.tokens.delete(id)) count++;
  }
  return count;
}

/**
 * Remembers a new address by a name.
 *
 * @throws {AccountError} `known` when the address has a name already, `exists` when another address has this one.
 */
export function addHost(draft: Document, address: string, name: string, now: Date): void {
  const known = draft.hosts.get(address);
  if (known !== undefined) {
    throw new AccountError("known", `this address has the name ${known.name} already: connect again`);
  }
  const folded = name.toLowerCase();
  for (const { name: taken } of draft.hosts.values()) {
    if (taken.toLowerCase() === folded) {
      throw new AccountError("exists", `${name} is the name of another address`);
    }
  }
  draft.hosts.set(address, { name, first: now.toISOString(), last: now.toISOString() });
}

/** Writes down that a client has come from `address`; the address as it is known then, undefined when it is not. */
export function touchHost(draft: Document, address: string, now: Date): Host | undefined {
  const host = draft.hosts.get(address);
  if (host === undefined) return undefined;
  const touched = { ...host, last: now.toISOString() };
  draft.hosts.set(address, touched);
  return touched;
}

/** @throws {AccountError} `unknown`. */
export function forgetHost(draft: Document, address: string): void {
  if (!draft.hosts.delete(address)) throw new AccountError("unknown", `no address ${address} is known`);
}

/** May this token still log in, at `now` (milliseconds)? */
export function isAlive(token: Token, now: number): boolean {
  return now < aliveUntil(token);
}

/** When a token dies of itself, in milliseconds: idle or at its age. */
export function aliveUntil(token: Token): number {
  const idle = Date.parse(token.used) + TOKEN_IDLE_MS;
  return Math.min(Date.parse(token.expires), Date.parse(token.created) + TOKEN_MAX_MS, idle);
}

/** What a login stands on: it holds as long as this is the same. */
export function credentialStamp(user: User): string {
  return `${user.created} ${user.changed ?? ""}`;
}

function findUser(draft: Document, name: string): User {
  const user = draft.users.get(name);
  if (user === undefined) {
    throw new AccountError("unknown", `there is no user ${name}`, {
      hint: "see who there is: parley users list",
    });
  }
  return user;
}
