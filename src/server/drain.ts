// The end of a server: every conversation gets what was sent before answered, then `bye`.
//
// What a peer sent before the signal is in flight or in the kernel: it has arrived once the connection was silent for a
// while. A peer that keeps talking is cut short after a second, if a read since then has found the kernel's queue empty. A
// running hook is waited for. In any case `bye` is said DRAIN_QUIET_MS before the time is over, so that it still arrives.

import { DRAIN_BUSY_MS, DRAIN_QUIET_MS } from "../base/limits.ts";
import type { ServerSession } from "../session/session.ts";

/**
 * Ends `sessions` one by one; resolves when no connection is left, or after `drainMs`.
 *
 * @param connections counts those whose socket is open.
 */
export function drain(
  sessions: Iterable<ServerSession>,
  connections: () => number,
  drainMs: number,
): Promise<void> {
  const began = performance.now();
  const heard = new Map<ServerSession, { chunks: number; at: number }>();
  for (const session of sessions) {
    session.connection.receiveQueueDrained = false;
    heard.set(session, { chunks: session.connection.chunks, at: began });
  }
  const { promise, resolve } = Promise.withResolvers<void>();
  const sweep = () => {
    const now = performance.now();
    for (const session of sessions) {
      if (session.detachedSince !== undefined) {
        session.expire("shutting_down"); // no client can come back any more
        continue;
      }
      const { connection } = session;
      let last = heard.get(session);
      if (last?.chunks !== connection.chunks)
        heard.set(session, (last = { chunks: connection.chunks, at: now }));
      if (now - began >= drainMs - DRAIN_QUIET_MS) {
        session.sayBye("shutting_down", "the server is shutting down"); // also while a hook runs: `bye` comes before the end
        continue;
      }
      if (session.hasWork) continue;
      const isQuiet = now - last.at >= DRAIN_QUIET_MS;
      const hadItsTime = connection.receiveQueueDrained && now - began >= DRAIN_BUSY_MS;
      if (isQuiet || hadItsTime) session.shutDown();
    }
    const isBusy = connections() > 0 || [...sessions].some((session) => session.hasWork);
    if (isBusy && now - began < drainMs) return;
    clearInterval(interval);
    resolve();
  };
  const interval = setInterval(sweep, DRAIN_QUIET_MS / 4);
  sweep();
  return promise;
}
