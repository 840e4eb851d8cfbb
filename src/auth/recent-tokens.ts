// When this process has seen each token written, in the log of an engine: by its own clock, since other machines may have another time.
// A token that was written a moment ago may belong to a session that is not listed yet (see token-pruner.ts).

import type { Document } from "./document.ts";
import { isCrowded } from "./token-pruner.ts";

export class RecentTokens {
  readonly #settleMs: number;
  /** In milliseconds of `performance.now`, the earliest first. */
  readonly #seenAt = new Map<string, number>();

  constructor(settleMs: number) {
    this.#settleMs = settleMs;
  }

  add(id: string, now: number): void {
    this.#seenAt.delete(id);
    this.#seenAt.set(id, now);
  }

  hasSettled(id: string, now: number): boolean {
    return now - (this.#seenAt.get(id) ?? -Infinity) >= this.#settleMs;
  }

  /** A token of each user who has too many, among the recent ones. Those that have settled are not recent any more. */
  takeCrowded(document: Readonly<Document>, now: number): string[] {
    const byUser = new Map<string, string>();
    for (const [id, at] of this.#seenAt) {
      if (now - at >= this.#settleMs) this.#seenAt.delete(id);
      const token = document.tokens.get(id);
      if (token !== undefined && isCrowded(document, token.user)) byUser.set(token.user, id);
    }
    return [...byUser.values()];
  }
}
