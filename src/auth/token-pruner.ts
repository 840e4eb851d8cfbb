// Decides which tokens are removed from the store, beside the revoked ones:
//
//     its user is not there     when it is examined: accounts.ts removes a user with its tokens
//     it is too old, or idle    once it has been so for an hour of this process's own time: a clock that jumps ahead for
//                               a moment removes no token
//     its user has too many     the least recently used
//
// Each change examines the tokens that it has written and the next few of the others, in turn, so that it costs the same however
// many tokens there are. With an engine a server does that from time to time.
//
// A token in use is never removed, so that a login ends no session, and a revocation finds every token. Three rules ensure that,
// also with several servers on one file or engine:
//   - each server lists its conversations within STATUS_FILE_MS, and a token that is listed stays;
//   - a token that was made or used within TOKEN_SETTLE_MS stays, since it may not be listed yet;
//   - a login with a token of a user who has too many (`isCrowded`) succeeds only after that use is recorded.
//
// The lists of an engine are at most STORE_TIMEOUT_MS old when it accepts the change. What a server has not listed by then was made
// or used after that less STATUS_FILE_MS, which is within TOKEN_SETTLE_MS, or after the change was decided: then the change is in
// conflict with it, and is decided again.

import { DEAD_TOKEN_MS, MAX_TOKENS_PER_USER, TOKENS_EXAMINED, TOKEN_SETTLE_MS } from "../base/limits.ts";
import { isAlive } from "./accounts.ts";
import type { Document, Token } from "./document.ts";

/** Ids of the tokens of all sessions; undefined when they are not known now. */
export type TokensInUse = () => ReadonlySet<string> | undefined;

/** False for a token that may belong to a session which is not listed yet. @param now by the wall clock. */
export type HasSettled = (id: string, token: Token, now: number) => boolean;

export class TokenPruner {
  readonly #inUse: TokensInUse;
  readonly #hasSettled: HasSettled;
  /** When each dead token was first seen dead, by `performance.now`. */
  readonly #deadSince = new Map<string, number>();
  /** The tokens that this round has yet to examine. */
  #round: Iterator<string> | undefined;

  constructor(inUse: TokensInUse, hasSettled: HasSettled = isOld) {
    this.#inUse = inUse;
    this.#hasSettled = hasSettled;
  }

  /**
   * Removes tokens from `draft`, as a mutation does: it may run several times.
   *
   * @param now by the wall clock.
   * @param monotonic by `performance.now`.
   * @param ids the tokens to examine.
   */
  prune(draft: Document, ids: Iterable<string>, now: number, monotonic: number): void {
    const dead: string[] = [];
    const crowds = new Set<string>();
    for (const id of new Set(ids)) {
      const token = draft.tokens.get(id);
      if (token === undefined) continue;
      if (!draft.users.has(token.user)) draft.tokens.delete(id);
      else if (this.#isLongDead(id, token, now, monotonic)) dead.push(id);
      else if (crowds.has(token.user) || isCrowded(draft, token.user)) crowds.add(token.user);
    }
    if (dead.length === 0 && crowds.size === 0) return;
    const inUse = this.#inUse();
    if (inUse === undefined) return;
    for (const id of dead) if (!inUse.has(id)) draft.tokens.delete(id);
    for (const user of crowds) this.#pruneCrowd(draft, user, inUse, now);
  }

  /** The ids whose turn it is: all of them, when there are few. */
  *next(document: Readonly<Document>): Iterable<string> {
    for (let count = 0; count < TOKENS_EXAMINED; count++) {
      this.#round ??= this.#newRound(document);
      const { done, value } = this.#round.next();
      if (done === true) {
        this.#round = undefined;
        return;
      }
      yield value;
    }
  }

  #newRound({ tokens }: Readonly<Document>): Iterator<string> {
    for (const id of this.#deadSince.keys()) if (!tokens.has(id)) this.#deadSince.delete(id);
    return tokens.keys()[Symbol.iterator]();
  }

  #isLongDead(id: string, token: Token, now: number, monotonic: number): boolean {
    if (isAlive(token, now)) {
      this.#deadSince.delete(id);
      return false;
    }
    const since = this.#deadSince.get(id) ?? monotonic;
    this.#deadSince.set(id, since);
    return monotonic - since >= DEAD_TOKEN_MS;
  }

  #pruneCrowd(draft: Document, user: string, inUse: ReadonlySet<string>, now: number): void {
    const idle = draft.tokens.inGroup(user).flatMap((id) => {
      const token = draft.tokens.get(id);
      if (token === undefined || inUse.has(id) || !this.#hasSettled(id, token, now)) return [];
      return { id, used: Date.parse(token.used) };
    });
    // The most recently used first: so many stay.
    idle.sort((x, y) => y.used - x.used);
    for (const { id } of idle.slice(MAX_TOKENS_PER_USER)) draft.tokens.delete(id);
  }
}

function isOld(_: string, { created, used }: Token, now: number): boolean {
  return now - Math.max(Date.parse(created), Date.parse(used)) >= TOKEN_SETTLE_MS;
}

/** True for a user with more than {@link MAX_TOKENS_PER_USER} tokens, some of which may be removed. */
export function isCrowded({ tokens }: Readonly<Document>, user: string): boolean {
  return tokens.groupSize(user) > MAX_TOKENS_PER_USER;
}
