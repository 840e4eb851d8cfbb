// Decides which tokens are removed from the store, beside the revoked ones:
//
//     its user was removed      at once
//     it is too old, or idle    once it has been so for an hour of this process's own time: a clock that jumps ahead for
//                               a moment removes no token
//     its user has too many     the least recently used
//
// A token in use is never removed, so that a login ends no session, and a revocation finds every token. Three rules ensure that,
// also with several servers on one file:
//   - each server lists its conversations within LIVE_FILE_MS, and a token that is listed stays;
//   - a token that was made or used within TOKEN_SETTLE_MS stays, since it may not be listed yet;
//   - a login with a token of a user who has too many (`crowdedUsers`) succeeds only after that use is recorded.

import { DEAD_TOKEN_MS, MAX_TOKENS_PER_USER, TOKEN_SETTLE_MS } from "../base/limits.ts";
import { isAlive, revokeTokens } from "./accounts.ts";
import type { Document, Token } from "./document.ts";

/** Ids of the tokens of all sessions; undefined when they are not known now. */
export type TokensInUse = () => ReadonlySet<string> | undefined;

export class TokenPruner {
  readonly #inUse: TokensInUse;
  /** When each dead token was first seen dead, by `performance.now`. */
  #deadSince = new Map<string, number>();

  constructor(inUse: TokensInUse) {
    this.#inUse = inUse;
  }

  /** Removes tokens from `draft`. @param now by the wall clock. @param monotonic by `performance.now`. */
  prune(draft: Document, now: number, monotonic: number): void {
    revokeTokens(draft, (token) => !draft.users.has(token.user));
    const dead = this.#longDead(draft, now, monotonic);
    const crowds = crowdedUsers(draft);
    if (dead.size === 0 && crowds.size === 0) return;
    const inUse = this.#inUse();
    if (inUse === undefined) return;
    revokeTokens(draft, (_, id) => dead.has(id) && !inUse.has(id));
    pruneCrowded(draft, crowds, inUse, now);
  }

  #longDead(draft: Document, now: number, monotonic: number): ReadonlySet<string> {
    const deadSince = new Map<string, number>();
    for (const [id, token] of draft.tokens) {
      if (!isAlive(token, now)) deadSince.set(id, this.#deadSince.get(id) ?? monotonic);
    }
    this.#deadSince = deadSince;
    return new Set([...deadSince].flatMap(([id, since]) => (monotonic - since >= DEAD_TOKEN_MS ? id : [])));
  }
}

function pruneCrowded(
  draft: Document,
  crowds: ReadonlySet<string>,
  inUse: ReadonlySet<string>,
  now: number,
): void {
  const isIdle = ([id, { user, created, used }]: [string, Token]) =>
    crowds.has(user) &&
    !inUse.has(id) &&
    now - Math.max(Date.parse(created), Date.parse(used)) >= TOKEN_SETTLE_MS;
  const idle = [...draft.tokens].filter(isIdle);
  // The most recently used first: of each user so many stay.
  idle.sort(([, x], [, y]) => Date.parse(y.used) - Date.parse(x.used));
  const kept = new Map<string, number>();
  for (const [id, { user }] of idle) {
    const before = kept.get(user) ?? 0;
    if (before < MAX_TOKENS_PER_USER) kept.set(user, before + 1);
    else draft.tokens.delete(id);
  }
}

/** The users with more than {@link MAX_TOKENS_PER_USER} tokens, some of which may be removed. */
export function crowdedUsers(document: Readonly<Document>): ReadonlySet<string> {
  const counts = new Map<string, number>();
  const crowded = new Set<string>();
  for (const { user } of document.tokens.values()) {
    const count = (counts.get(user) ?? 0) + 1;
    counts.set(user, count);
    if (count > MAX_TOKENS_PER_USER) crowded.add(user);
  }
  return crowded;
}
