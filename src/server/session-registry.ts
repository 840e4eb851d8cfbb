// The sessions of a server, attached and detached. The server adds them after the login; a detached session ends when its time is
// over, or when others need its place.
//
//     add → (detached → claim → resumed)* → remove

import { whyEnded } from "../auth/identity.ts";
import type { Store } from "../auth/store.ts";
import type { ByteBudget } from "../base/byte-budget.ts";
import { Roster } from "../base/roster.ts";
import type { ResumeRequest } from "./login-attempt.ts";
import type { SessionStatus } from "../auth/session-status.ts";
import type { ServerSession } from "../session/session.ts";

export interface SessionRegistryOptions {
  /** The user file, whose changes may end credentials; undefined on a server without one. */
  store: Store | undefined;
  /** The largest number of detached sessions of one user. */
  maxPerUser: number;
  /** The largest number of detached sessions of all users. */
  maxConnections: number;
  /** Called after each change of the list. */
  changed(): void;
  /** Called before a detached session ends: its time is over, or it makes room for others. */
  expiring(session: ServerSession, why: "expired" | "crowded_out"): void;
}

export class SessionRegistry implements Iterable<ServerSession> {
  readonly #options: SessionRegistryOptions;
  readonly #all = new Roster<ServerSession>();
  /** The sessions that can be resumed, by name. */
  readonly #byName = new Map<string, ServerSession>();
  /** The detached sessions, the longest detached first. */
  readonly #detached = new Set<ServerSession>();

  constructor(options: SessionRegistryOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#all.size;
  }

  /** The number of detached sessions. */
  get detachedCount(): number {
    return this.#detached.size;
  }

  [Symbol.iterator](): Iterator<ServerSession> {
    return this.#all[Symbol.iterator]();
  }

  add(session: ServerSession): void {
    const { resumption } = session.login;
    this.#all.add(session);
    if (resumption !== undefined && resumption.forMs > 0) this.#byName.set(resumption.name, session);
    this.#options.changed();
    this.#recheck(session);
  }

  /** Removes a session that has ended. */
  remove(session: ServerSession): void {
    const { resumption } = session.login;
    this.#all.delete(session);
    this.#detached.delete(session);
    if (resumption !== undefined) this.#byName.delete(resumption.name);
    this.#options.changed();
  }

  // --- resume ---

  /**
   * The session that a client wants to resume, if `proves` returns true for its login, it has what the client lacks, and the
   * credential behind it still holds. `late`: the session has, or had last, a connection that was opened later.
   */
  claim({ name, received, since, proves }: ResumeRequest): ServerSession | "late" | undefined {
    const session = this.#byName.get(name);
    if (session === undefined || !proves(session.login)) return undefined;
    this.#options.store?.reload();
    this.#recheck(session);
    if (!session.canResume(received)) return undefined;
    return since < session.newestSince ? "late" : session;
  }

  /** The session of that name, if it exists. */
  get(name: string): ServerSession | undefined {
    return this.#byName.get(name);
  }

  /** The session continues over another connection. */
  resumed(session: ServerSession): void {
    this.#detached.delete(session);
    this.#options.changed();
    this.#recheck(session);
  }

  // --- without a connection ---

  /** A session has lost its connection. Such sessions cost memory, and perhaps a program, so the longest detached one makes room. */
  detached(session: ServerSession): void {
    const { maxPerUser, maxConnections } = this.#options;
    this.#detached.add(session);
    this.#options.changed();
    const { user } = session;
    if (user !== null)
      this.#bound(
        [...this.#detached].filter((one) => one.user === user),
        maxPerUser,
      );
    if (this.#detached.size > maxConnections) this.#bound([...this.#detached], maxConnections);
  }

  /** The memory of detached sessions exceeds `budget`: the longest detached ones make room. */
  crowdOut(budget: ByteBudget): void {
    for (const session of this.#detached) {
      if (!budget.isExceeded) return;
      this.expire(session, "crowded_out");
    }
  }

  #bound(detached: readonly ServerSession[], most: number): void {
    for (const session of detached.slice(0, Math.max(0, detached.length - most)))
      this.expire(session, "crowded_out");
  }

  /** Ends a detached session. */
  expire(session: ServerSession, why: "expired" | "crowded_out" = "expired"): void {
    this.#options.expiring(session, why);
    session.expire(why);
  }

  /** Ends all detached sessions: the server stops. */
  expireAll(): void {
    for (const session of this.#all) if (session.detachedSince !== undefined) session.expire("shutting_down");
  }

  // --- credentials ---

  /** Ends the sessions whose credential has ended. */
  recheck(): void {
    for (const session of this.#all) this.#recheck(session);
  }

  #recheck(session: ServerSession): void {
    const { store } = this.#options;
    const ending = store === undefined ? undefined : whyEnded(store.document, session.login);
    if (ending !== undefined) session.sayBye(ending.code, ending.message);
  }

  /** The list that `users sessions` shows. */
  *statuses(): Iterable<SessionStatus> {
    const instant = (at: number) => Math.round(performance.timeOrigin + at);
    for (const { login: arrival, user, peer, since, detachedSince } of this.#all) {
      yield {
        token: arrival.tokenId ?? null,
        user,
        peer,
        since: instant(since),
        detached_since: detachedSince === undefined ? null : instant(detachedSince),
      };
    }
  }
}
