// The changes of the store's content, one small function each. Each checks before it changes: a function that throws has changed
// nothing.

import { ParleyError } from "../base/errors.ts";
import { MAX_HOSTS, TOKEN_IDLE_MS, TOKEN_MAX_MS } from "../base/limits.ts";
import { ownCommand } from "../base/own-command.ts";
import { plural } from "../base/plural.ts";
import { foldedName, type Document, type Host, type Token, type User } from "./document.ts";
import { mintUserId } from "./token.ts";

/** `unknown`: the entry does not exist. `exists`: it does already. `known`: the address has a name. `full`: the limit is reached. */
export class AccountError extends ParleyError<"unknown" | "exists" | "known" | "full"> {
  override name = "AccountError";
}

/** Adds a user, and returns it. @throws {AccountError} `exists`. */
export function addUser(draft: Document, name: string, hash: string, now: Date): User {
  if (draft.users.has(name)) throw userExists(name);
  const user = { id: mintUserId(), password: hash, created: now.toISOString(), disabled: null };
  replaceUser(draft, name, user);
  return user;
}

/** Checks that a client may add a user. @throws {AccountError} `full` when there are `max` users already. */
export function expectRoom(document: Readonly<Document>, max: number): void {
  if (document.users.size < max) return;
  throw new AccountError("full", `the server is full (${plural(max, "user")}), and creates no more accounts`);
}

/** Stores a user. The tokens and conversations of another one with this name end, also of one whom a hand edit removed. */
export function replaceUser(draft: Document, name: string, user: User): void {
  draft.users.set(name, user);
  revokeTokensOf(draft, name);
}

export function userExists(name: string): AccountError {
  return new AccountError("exists", `user ${name} already exists`, {
    hint: `change the password with: ${ownCommand(`users passwd ${name}`)}`,
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
    draft.users.set(name, { ...user, password: hash });
    return;
  }
  draft.users.set(name, { ...user, password: hash, changed: now.toISOString() });
  revokeTokensOf(draft, name);
}

/** Replaces a hash by another one of the same password, unless the password was changed meanwhile. */
export function replaceHash(draft: Document, name: string, from: string, to: string): void {
  const user = draft.users.get(name);
  if (user?.password === from) draft.users.set(name, { ...user, password: to });
}

/** @throws {AccountError} `unknown`. */
export function removeUser(draft: Document, name: string): void {
  findUser(draft, name);
  draft.users.delete(name);
  revokeTokensOf(draft, name);
}

/** @throws {AccountError} `unknown`. */
export function disableUser(draft: Document, name: string, reason: string | undefined, now: Date): void {
  const user = findUser(draft, name);
  // Without a new reason the earlier one holds.
  const { since = now.toISOString(), reason: earlier } = user.disabled ?? {};
  draft.users.set(name, { ...user, disabled: { since, reason: reason ?? earlier } });
}

/** @throws {AccountError} `unknown`. */
export function enableUser(draft: Document, name: string): void {
  draft.users.set(name, { ...findUser(draft, name), disabled: null });
}

/** Gives a user these tags instead of those that it has. It ends no session. @throws {AccountError} `unknown`. */
export function tagUser(draft: Document, name: string, tags: readonly string[]): void {
  const { tags: _, ...rest } = findUser(draft, name);
  draft.users.set(name, tags.length === 0 ? rest : { ...rest, tags });
}

/**
 * Stores a token for a user who has just logged in, if that login still holds.
 *
 * Removes no other token to make room: `TokenPruner` does that, since it knows the tokens in use.
 *
 * @param stamp the user's {@link credentialStamp} that was checked.
 * @throws {AccountError} `unknown` when the user was removed or disabled, or has another password by now.
 */
export function addToken(draft: Document, id: string, token: Token, stamp: string): void {
  const user = draft.users.get(token.user);
  if (user === undefined || user.disabled !== null || credentialStamp(user) !== stamp) {
    throw new AccountError("unknown", `user ${token.user} was changed during the login`);
  }
  draft.tokens.set(id, token);
  draft.users.set(token.user, { ...user, last_login: token.created });
}

/** Records that a user has logged in, if the login is still valid. @param stamp as with {@link addToken}. */
export function touchUser(draft: Document, name: string, stamp: string, now: Date): void {
  const user = draft.users.get(name);
  if (user === undefined || credentialStamp(user) !== stamp) return;
  draft.users.set(name, { ...user, last_login: now.toISOString() });
}

/** Records that tokens are in use, without a new login. Skips removed tokens. */
export function keepTokens(draft: Document, ids: readonly string[], now: Date): void {
  for (const id of ids) {
    const token = draft.tokens.get(id);
    if (token !== undefined) draft.tokens.set(id, { ...token, used: now.toISOString() });
  }
}

/** Records that a token was used for a login; false when it was removed. */
export function touchToken(draft: Document, id: string, now: Date): boolean {
  const token = draft.tokens.get(id);
  if (token === undefined) return false;
  draft.tokens.set(id, { ...token, used: now.toISOString() });
  const user = draft.users.get(token.user);
  if (user !== undefined) draft.users.set(token.user, { ...user, last_login: now.toISOString() });
  return true;
}

/** Ends a user's tokens, and returns their number. */
export function revokeTokensOf(draft: Document, name: string): number {
  const ids = draft.tokens.inGroup(name);
  for (const id of ids) draft.tokens.delete(id);
  return ids.length;
}

/** Ends the tokens for which `match` is true, and returns their number. */
export function revokeTokens(draft: Document, match: (token: Token, id: string) => boolean): number {
  let count = 0;
  for (const [id, token] of draft.tokens) {
    if (match(token, id) && draft.tokens.delete(id)) count++;
  }
  return count;
}

/**
 * Adds an address with its name. In a full table the addresses seen longest ago make room, except those that an operator has named
 * and those in use.
 *
 * @param inUse addresses in use; undefined when they are not known now.
 * @throws {AccountError} `known` when the address has a name already, `exists` when another address has this one, `full` when
 * no address can make room.
 */
export function addHost(
  draft: Document,
  address: string,
  name: string,
  now: Date,
  inUse: () => ReadonlySet<string> | undefined = () => undefined,
): void {
  const known = draft.hosts.get(address);
  if (known !== undefined) {
    throw new AccountError("known", `this address already has the name ${known.name}: connect again`);
  }
  expectFreeName(draft, address, name);
  const excess = draft.hosts.size + 1 - MAX_HOSTS;
  if (excess > 0) forgetOldest(draft, excess, inUse());
  draft.hosts.set(address, { name, first: now.toISOString(), last: now.toISOString() });
}

function expectFreeName(draft: Document, address: string, name: string): void {
  const others = draft.hosts.inGroup(foldedName({ name })).filter((other) => other !== address);
  if (others.length > 0) throw new AccountError("exists", `another address already has the name ${name}`);
}

function forgetOldest(draft: Document, count: number, inUse: ReadonlySet<string> | undefined): void {
  const mayGo = [...draft.hosts].filter(
    ([address, { named_by }]) => named_by === undefined && inUse?.has(address) === false,
  );
  if (mayGo.length < count) throw new AccountError("full", "the server cannot store more addresses");
  // Compares texts: parley writes all times in one notation, and parsing takes 20 times as long (measured with Bun 1.4.5).
  mayGo.sort(([, a], [, b]) => (a.last < b.last ? -1 : 1));
  for (const [address] of mayGo.slice(0, count)) draft.hosts.delete(address);
}

/** Gives an address its name, for good. @throws {AccountError} `exists` when another address has this name. */
export function nameHost(draft: Document, address: string, name: string, now: Date): void {
  expectFreeName(draft, address, name);
  const at = now.toISOString();
  draft.hosts.set(address, { first: at, last: at, ...draft.hosts.get(address), name, named_by: "operator" });
}

/** Records that addresses are in use. Skips removed addresses. */
export function keepHosts(draft: Document, addresses: readonly string[], now: Date): void {
  for (const address of addresses) touchHost(draft, address, now);
}

/** Records that a client has connected from `address`; returns the entry of the address, undefined when it has none. */
export function touchHost(draft: Document, address: string, now: Date): Host | undefined {
  const host = draft.hosts.get(address);
  if (host === undefined) return undefined;
  const touched = { ...host, last: now.toISOString() };
  draft.hosts.set(address, touched);
  return touched;
}

/** @throws {AccountError} `unknown`. */
export function forgetHost(draft: Document, address: string): void {
  if (!draft.hosts.delete(address)) throw new AccountError("unknown", `address ${address} is not known`);
}

/** True when the token can be used at `now` (in milliseconds): it is neither too old nor unused for too long. */
export function isAlive(token: Token, now: number): boolean {
  return now < aliveUntil(token);
}

/** When a token expires, in milliseconds: after a time without use, or at its greatest age. */
export function aliveUntil(token: Token): number {
  const idle = Date.parse(token.used) + TOKEN_IDLE_MS;
  return Math.min(Date.parse(token.expires), Date.parse(token.created) + TOKEN_MAX_MS, idle);
}

/** Identifies an account, also among accounts that had the same name one after the other. */
export function accountStamp(user: User): string {
  return `${user.id ?? ""} ${user.created}`;
}

/** Identifies the credential of a login, and begins with the {@link accountStamp}. The login is valid while this is unchanged. */
export function credentialStamp(user: User): string {
  return `${accountStamp(user)} ${user.changed ?? ""}`;
}

function findUser(draft: Document, name: string): User {
  const user = draft.users.get(name);
  if (user === undefined) {
    throw new AccountError("unknown", `there is no user ${name}`, {
      hint: `list the users with: ${ownCommand("users list")}`,
    });
  }
  return user;
}
