// How many connections each user has. A connection takes a slot when its login succeeds, and keeps it until its socket is
// closed: also while it only delivers its last output, and after its session has gone on over another connection. So the
// limit holds for everything that a user's connections cost.

import type { Connection } from "../net/connection.ts";

export class UserSlots {
  readonly #counts = new Map<string, number>();

  /** Slots that `user` has taken. */
  count(user: string): number {
    return this.#counts.get(user) ?? 0;
  }

  /** Takes a slot for `user`, in place of the one that `connection` may have from an earlier login; none if it is closed. */
  take(connection: Connection, user: string): void {
    this.free(connection);
    if (connection.closed) return; // nothing would free it
    connection.slotOf = user;
    this.#counts.set(user, this.count(user) + 1);
  }

  /** Frees the slot of `connection`, if it has one. */
  free(connection: Connection): void {
    const { slotOf: user } = connection;
    if (user === undefined) return;
    connection.slotOf = undefined;
    const left = this.count(user) - 1;
    if (left > 0) this.#counts.set(user, left);
    else this.#counts.delete(user);
  }
}
