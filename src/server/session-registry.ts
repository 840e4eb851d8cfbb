// The sessions of a server, attached and detached. The server adds them after the login; a detached session ends when its time is
// over, or when others need its place.
//
//     add → (fellAsleep → find → resumed)* → remove

import { whyEnded } from "../auth/identity.ts";
import type { Store } from "../auth/store.ts";
import type { ByteBudget } from "../base/byte-budget.ts";
import type { ResumeRequest } from "./login-handler.ts";
import type { SessionStatus } from "./session-status-file.ts";
import type { ServerSession } from "../session/session.ts";

export interface SessionRegistryOptions {
  /** Where credentials may end; undefined where there are none. */
  store: Store | undefined;
  /** How many of one user may sleep. */
  maxPerUser: number;
  /** … and of all. */
  maxConnections: number;
  /** Something about them is not as it was. */
  changed(): void;
  /** Told of one that has slept for too long, or makes room for others, before it ends. */
  expiring(session: ServerSession, why: "expired" | "crowded_out"): void;
}

export class SessionRegistry implements Iterable<ServerSession> {
  readonly #options: SessionRegistryOptions;
  readonly #all = new Set<ServerSession>();
  /** Those that can be come back to. */
  readonly #byName = new Map<string, ServerSession>();
  /** Those that sleep, the one that has slept longest first. */
  readonly #detached = new Set<ServerSession>();

  constructor(options: SessionRegistryOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#all.size;
  }

  /** How many of them sleep. */
  get detachedCount(): number {
    return this.#detached.size;
  }

  [Symbol.iterator](): Iterator<ServerSession> {
    return this.#all.values();
  }

  add(session: ServerSession): void {
    const { resumption } = session.login;
    this.#all.add(session);
    if (resumption !== undefined && resumption.forMs > 0) this.#byName.set(resumption.name, session);
    this.#options.changed();
    this.#recheck(session);
  }

  /** It is over. */
  remove(session: ServerSession): void {
    const { resumption } = session.login;
    this.#all.delete(session);
    this.#detached.delete(session);
    if (resumption !== undefined) this.#byName.delete(resumption.name);
    this.#options.changed();
  }

  // --- coming back ---

  /**
   * The session that a client wants back, if `proves` returns true for its login, it has what the client lacks, and the
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

  /** The one of that name, if it is still there. */
  get(name: string): ServerSession | undefined {
    return this.#byName.get(name);
  }

  /** It goes on over another connection. */
  resumed(session: ServerSession): void {
    this.#detached.delete(session);
    this.#options.changed();
    this.#recheck(session);
  }

  // --- sleeping ---

  /** One has fallen asleep: sleepers cost memory, and a program each, so the one that has slept longest makes room. */
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

  /** What is kept for detached sessions exceeds `budget`: those that are detached for longest make room. */
  crowdOut(budget: ByteBudget): void {
    for (const session of this.#detached) {
      if (!budget.isExceeded) return;
      this.expire(session, "crowded_out");
    }
  }

  #bound(sleepers: readonly ServerSession[], most: number): void {
    for (const session of sleepers.slice(0, Math.max(0, sleepers.length - most)))
      this.expire(session, "crowded_out");
  }

  /** Ends one that has slept for too long, or makes room. */
  expire(session: ServerSession, why: "expired" | "crowded_out" = "expired"): void {
    this.#options.expiring(session, why);
    session.expire(why);
  }

  /** Nobody can come back any more. */
  expireAll(): void {
    for (const session of this.#all) if (session.detachedSince !== undefined) session.expire("shutting_down");
  }

  // --- credentials ---

  /** Ends those whose credential is gone. */
  recheck(): void {
    for (const session of this.#all) this.#recheck(session);
  }

  #recheck(session: ServerSession): void {
    const { store } = this.#options;
    const ending = store === undefined ? undefined : whyEnded(store.document, session.login);
    if (ending !== undefined) session.sayBye(ending.code, ending.message);
  }

  /** As `users sessions` shows them. */
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
