// How many connections each user has. A connection takes a slot when its login succeeds, and keeps it until its socket is
// closed: also while it only delivers its last output, and after its session has gone on over another connection. So the
// limit holds for everything that a user's connections cost.

import type { Connection } from "../net/connection.ts";

export class UserSlots {
  readonly #users = new WeakMap<Connection, string>(); // an entry of a Map takes twice the memory
  readonly #counts = new Map<string, number>();

  /** Slots that `user` has taken. */
  count(user: string): number {
    return this.#counts.get(user) ?? 0;
  }

  /** Takes a slot for `user`, in place of the one that `connection` may have from an earlier login; none if it is closed. */
  take(connection: Connection, user: string): void {
    this.free(connection);
    if (connection.closed) return; // nothing would free it
    this.#users.set(connection, user);
    this.#counts.set(user, this.count(user) + 1);
  }

  /** Frees the slot of `connection`, if it has one. */
  free(connection: Connection): void {
    const user = this.#users.get(connection);
    if (user === undefined) return;
    this.#users.delete(connection);
    const left = this.count(user) - 1;
    if (left > 0) this.#counts.set(user, left);
    else this.#counts.delete(user);
  }
}
