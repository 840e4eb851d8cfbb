// Which sessions the running servers have, for other processes: `users sessions` lists them, and no process takes a token out of the
// store that is in a conversation. Servers that share a data folder list them in files (server/session-status-file.ts), servers that
// share an engine list them there (engine-sessions.ts).

import * as v from "valibot";
import { addressOf } from "../base/address.ts";
import type { ParleyError } from "../base/errors.ts";
import type { InUse } from "./store.ts";

export const SessionStatus = v.object({
  /** Id of the token that it came in with, or that it was given. */
  token: v.nullable(v.string()),
  user: v.nullable(v.string()),
  peer: v.string(),
  /** In milliseconds since 1970, as the next. */
  since: v.number(),
  /** Since when its connection is lost; null while it has one. */
  detached_since: v.nullable(v.number()),
});
export type SessionStatus = v.InferOutput<typeof SessionStatus>;

export interface SessionStatuses {
  sessions: SessionStatus[];
  /** Why those of some servers are not known. */
  failures: ParleyError<string>[];
}

/** The list of one server's sessions. Others see it until it is disposed, or its server is killed. */
export interface PublishedSessions extends AsyncDisposable {
  /** Something has changed: others see it within STATUS_FILE_MS. */
  scheduleWrite(): void;
}

/** The lists of all servers that share accounts. */
export interface SessionLists {
  /**
   * Adds the list of this server.
   *
   * @param failed called once for each reason why the list cannot be written; that is tried again all the time.
   */
  publish(
    list: () => Iterable<SessionStatus>,
    failed: (error: ParleyError<string>) => void,
  ): PublishedSessions;

  /** The sessions of every running server. */
  statuses(): Promise<SessionStatuses>;
}

/** What the sessions use; undefined when not all of them are known: everything may be in use. */
export function usedBy({ sessions, failures }: SessionStatuses): InUse | undefined {
  if (failures.length > 0) return undefined;
  return {
    tokens: new Set(sessions.flatMap(({ token }) => token ?? [])),
    addresses: new Set(sessions.map(({ peer }) => addressOf(peer))),
  };
}
