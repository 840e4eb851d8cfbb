// What can be done to the store's content, each as one small change: all of them check first and then change, so that
// one that throws has done nothing.

import { ParleyError } from "../errors.ts";
import { MAX_TOKENS_PER_USER, TOKEN_IDLE_MS, TOKEN_MAX_MS } from "../limits.ts";
import type { Document, Token, User } from "./document.ts";

/** `unknown`: no such entry. `exists`: there is one already. */
export class AccountError extends ParleyError<"unknown" | "exists"> {
  override name = "AccountError";
}

/** @throws {AccountError} `exists`. */
export function addUser(draft: Document, name: string, hash: string, now: Date): void {
  if (draft.users.has(name)) throw userExists(name);
  putUser(draft, name, { password: hash, created: now.toISOString(), disabled: null });
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
 * @param stamp the user's {@link credentialStamp} that was checked.
 * @param inUse ids of tokens with a live conversation: they are not the ones to make room.
 * @throws {AccountError} `unknown` when the user is gone, disabled, or has another password by now.
 */
export function addToken(
  draft: Document,
  id: string,
  token: Token,
  stamp: string,
  inUse: ReadonlySet<string>,
): void {
  const user = draft.users.get(token.user);
  if (user === undefined || user.disabled !== null || credentialStamp(user) !== stamp) {
    throw new AccountError("unknown", `user ${token.user} has changed during the login`);
  }
  const own = [...draft.tokens].filter(([, { user: owner }]) => owner === token.user);
  const idle = own
    .filter(([other]) => !inUse.has(other))
    .sort(([, x], [, y]) => x.used.localeCompare(y.used));
  for (const [other] of idle.slice(0, Math.max(0, own.length + 1 - MAX_TOKENS_PER_USER)))
    draft.tokens.delete(other);
  draft.tokens.set(id, token);
  draft.users.set(token.user, { ...user, last_login: token.created });
}

/** Writes down that a token was used. */
export function touchToken(draft: Document, id: string, now: Date): void {
  const token = draft.tokens.get(id);
  if (token === undefined) return;
  draft.tokens.set(id, { ...token, used: now.toISOString() });
  const user = draft.users.get(token.user);
  if (user !== undefined) draft.users.set(token.user, { ...user, last_login: now.toISOString() });
}

/** Ends the tokens that `match`; returns how many. */
export function revokeTokens(draft: Document, match: (token: Token, id: string) => boolean): number {
  let count = 0;
  for (const [id, token] of draft.tokens) {
    if (match(token, id) && draft.tokens.delete(id)) count++;
  }
  return count;
}

/** Drops tokens that can never be used again. */
export function pruneTokens(draft: Document, now: number): void {
  revokeTokens(draft, (token) => !isAlive(token, now) || !draft.users.has(token.user));
}

/** Remembers who `address` is. @throws {AccountError} `exists` when another address has that name. */
export function rememberHost(draft: Document, address: string, name: string, now: Date): void {
  const folded = name.toLowerCase();
  for (const [other, host] of draft.hosts) {
    if (other !== address && host.name.toLowerCase() === folded) {
      throw new AccountError("exists", `${name} is the name of another address`);
    }
  }
  const first = draft.hosts.get(address)?.first ?? now.toISOString();
  draft.hosts.set(address, { ...draft.hosts.get(address), name, first, last: now.toISOString() });
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
