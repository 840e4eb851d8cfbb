// The end of a server: every conversation gets what was sent before answered, then `bye`.
//
// What a peer sent before the signal is in flight or in the kernel: it has arrived once the connection was silent for a
// while. One that keeps talking gets a second.

import { DRAIN_BUSY_MS, DRAIN_QUIET_MS } from "./limits.ts";
import type { Session } from "./session.ts";

/**
 * Ends `sessions` one by one; resolves when no connection is left, or after `drainMs`, with how many are.
 *
 * @param connections counts those whose socket is open.
 */
export function drain(
  sessions: ReadonlySet<Session>,
  connections: () => number,
  drainMs: number,
): Promise<number> {
  const began = performance.now();
  for (const session of sessions) {
    session.connection.heard = false;
    session.heardAt = began;
  }
  const { promise, resolve } = Promise.withResolvers<number>();
  const sweep = () => {
    const now = performance.now();
    for (const session of sessions) {
      const { connection } = session;
      if (connection.heard) session.heardAt = now;
      connection.heard = false;
      if (connection.busy) continue;
      if (now - session.heardAt >= DRAIN_QUIET_MS || now - began >= DRAIN_BUSY_MS) {
        session.sayBye("shutting_down", "the server is shutting down");
      }
    }
    if (connections() > 0 && now - began < drainMs) return;
    clearInterval(interval);
    resolve(connections());
  };
  const interval = setInterval(sweep, DRAIN_QUIET_MS / 4);
  sweep();
  return promise;
}
