// The accounts of an engine in memory, which follow its log of changes. It never writes.
//
// What a session with the engine finds at its beginning, and what happens then:
//
//     the position of the replica is in the log    it reads on from there
//     the log begins later                         it reads all records again: too many changes were missed
//     the log has no such position                 it reads all records again, and says so: the engine has lost changes
//     another epoch, or none                       the last good content stays, and nothing can change, until the accounts are back

import { Waits } from "../base/waits.ts";
import { FEED_BLOCK_MS, FEED_SILENCE_MS, STORE_TIMEOUT_MS } from "../base/limits.ts";
import { EngineError } from "../engine/engine-error.ts";
import { EngineLink, type EngineSession } from "../engine/link.ts";
import { ReplyError } from "../engine/reply-error.ts";
import type { EngineAccess } from "../engine/store-url.ts";
import { emptyDocument, KINDS, type Replica } from "./document.ts";
import { COMMIT, keyOf, STORE_VERSION } from "./engine-commit.ts";
import {
  applyEntry,
  damaged,
  parseEntry,
  parsePosition,
  putRecord,
  START,
  toEntries,
  type Entry,
  type LogEntry,
  type Position,
} from "./engine-log.ts";
import { SESSION_SCRIPTS } from "./engine-sessions.ts";
import type { StoreWatcher } from "./store.ts";

/** Records in one reply, about, when all are read; and the most changes in one. */
const REPLY_COUNT = "1000";

export interface EngineReplicaOptions {
  access: EngineAccess;
  /** Several stores may be in one engine, by name. */
  name: string;
  /** The identity that the accounts had before; undefined when that is not known. */
  expectedEpoch?: string | undefined;
  /** Called when the identity of the accounts is known. */
  onEpoch?(epoch: string): void;
  /** Called for each change in the log. Returns true when this process has made it. */
  onEntry(entry: LogEntry): boolean;
  /** Called for each change in the log whose records were read otherwise; with undefined for those that are not in the log any more. */
  onPassed(text: string | undefined): void;
}

/** What an engine says of a store, beside its records. */
interface Meta {
  head: Position;
  server: string | undefined;
}

export class EngineReplica {
  readonly #options: EngineReplicaOptions;
  readonly #link: EngineLink;
  /** Asked after each change of what this replica knows. */
  readonly #waits = new Waits();
  #document = emptyDocument();
  #at = START;
  /** Empty until the store has its first accounts. */
  #epoch = "";
  #isLoaded = false;
  /** Since when it has seen each change at once, by `performance.now`. */
  #followsSince = Infinity;
  /** True when all records are to be read again. */
  #mustLoad = true;
  /** The engine, while the replica follows its log. */
  #session: EngineSession | undefined;
  /** When the engine was heard last, by `performance.now`. */
  #heardAt = -Infinity;
  /** The clock of the engine is ahead of `performance.now` by at least so much, in milliseconds. */
  #clockAhead = 0;
  /** Why the accounts cannot be used, other than that the engine is away. */
  #complaint: EngineError | undefined;
  #watcher: StoreWatcher | undefined;
  #lossReason: EngineError | undefined;
  /** When the engine was found to be lost; undefined while it is not. */
  #lostAt: number | undefined;

  constructor(options: EngineReplicaOptions) {
    this.#options = options;
    this.#link = new EngineLink({
      access: options.access,
      scripts: [COMMIT, ...SESSION_SCRIPTS],
      serve: (session) => this.#serve(session),
      lost: (reason) => (this.#lossReason = reason),
    });
  }

  /** Reads the accounts. @throws {EngineError} when that is not possible within `timeoutMs`. */
  async open(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    await this.#link.connect(STORE_TIMEOUT_MS);
    await this.until(() => this.#isLoaded || this.#complaint !== undefined, deadline);
    if (this.#complaint !== undefined) throw this.#complaint;
    if (!this.#isLoaded) throw this.lost();
  }

  close(): Promise<void> {
    return this.#link.close();
  }

  get document(): Replica {
    return this.#document;
  }

  get at(): Position {
    return this.#at;
  }

  /** For how long it has seen each change at once, in one session with the engine. */
  get followsForMs(): number {
    return this.#session === undefined ? 0 : performance.now() - this.#followsSince;
  }

  get epoch(): string {
    return this.#epoch;
  }

  /** False when the engine was not heard for a while, or its accounts cannot be used. */
  get isReachable(): boolean {
    const isHeard = performance.now() - this.#heardAt < FEED_SILENCE_MS;
    return this.#isLoaded && isHeard && this.#complaint === undefined;
  }

  /** `deadline` by the clock of the engine, or somewhat earlier. */
  onEngineClock(deadline: number): number {
    return Math.floor(deadline + this.#clockAhead);
  }

  /** All records are read again. */
  loadAgain(): void {
    this.#mustLoad = true;
  }

  /** Waits until the replica has everything up to `rev`; false at the deadline. */
  reached(rev: number, deadline: number): Promise<boolean> {
    return this.until(() => !this.#mustLoad && this.#at.rev >= rev, deadline);
  }

  /** The revision of the last change in the engine. @throws {EngineError} also `replaced`. */
  async headOf(session: EngineSession): Promise<number> {
    const { head } = await this.#readMeta(session);
    return head.rev;
  }

  /**
   * The engine, once the replica follows its log. Another session than `ended`, which may not be known to have ended yet.
   *
   * @param isPatient waits for an engine that is lost, too.
   * @throws {EngineError} `unreachable` at the deadline, and at once when the engine is lost.
   */
  async sessionBefore(deadline: number, ended?: EngineSession, isPatient = false): Promise<EngineSession> {
    if (!this.isReachable && !isPatient) throw this.#complaint ?? this.lost();
    const isThere = await this.until(() => this.#session !== undefined && this.#session !== ended, deadline);
    if (!isThere || this.#session === undefined) throw this.#complaint ?? this.lost();
    return this.#session;
  }

  lost(): EngineError {
    return (
      this.#lossReason ??
      new EngineError("unreachable", `${this.#options.access.target.shown} does not answer`, {
        hint: "start it, or look at its log",
      })
    );
  }

  /** Resolves with true when `isMet` returns true, which is asked after each change of the replica; with false at the deadline. */
  until(isMet: () => boolean, deadline: number): Promise<boolean> {
    return this.#waits.until(isMet, deadline);
  }

  watch(watcher: StoreWatcher): () => void {
    this.#watcher = watcher;
    const looking = setInterval(() => this.#look(), FEED_SILENCE_MS / 4);
    return () => {
      this.#watcher = undefined;
      clearInterval(looking);
    };
  }

  /** Reports an error that a retry does not cure. */
  complain(error: unknown): void {
    if (!(error instanceof EngineError)) throw error;
    if (error.message !== this.#complaint?.message) this.#watcher?.unreadable(error);
  }

  /** How far the clock of the engine is ahead. @throws {EngineError} */
  async readClock(session: EngineSession): Promise<void> {
    const [seconds, micros] = (await session.send("TIME", [])) as string[];
    // The reply is later than its time, so this is too little rather than too much.
    this.#clockAhead = Number(seconds) * 1000 + Number(micros) / 1000 - performance.now();
  }

  // --- the log ---

  /** Follows the log in one session with the engine, until that ends. */
  async #serve(session: EngineSession): Promise<void> {
    try {
      await this.#begin(session);
      this.#followsSince = performance.now();
      for (;;) {
        if (this.#mustLoad) await this.#load(session);
        if (this.#session === undefined) {
          this.#session = session;
          this.#lossReason = undefined;
          this.#waits.check();
        }
        this.#heard();
        const entries = toEntries(await session.block("XREAD", this.#nextEntries()));
        if (entries.length > 0) this.#take(entries);
        else {
          await this.#compare(session);
          await this.readClock(session); // it may have been set back
        }
        this.#complaint = undefined;
      }
    } catch (error) {
      if (!isUnreachable(error)) {
        this.complain(error);
        this.#complaint = error as EngineError;
        this.#waits.check();
      }
      throw error;
    } finally {
      this.#session = undefined;
    }
  }

  #nextEntries(): string[] {
    return ["COUNT", REPLY_COUNT, "BLOCK", String(FEED_BLOCK_MS), "STREAMS", this.#key("log"), this.#at.id];
  }

  /** Finds out whether the replica can follow the log from where it is. */
  async #begin(session: EngineSession): Promise<void> {
    const { head } = await this.#readMeta(session);
    await this.readClock(session);
    if (this.#mustLoad || this.#at.id === head.id) return;
    const own = await this.#range(session, this.#at.id, this.#at.id);
    if (own.length > 0) return;
    this.#mustLoad = true;
    const [first] = await this.#range(session, "-", "+", "1");
    const isCutOff = head.rev > this.#at.rev && (first === undefined || first.at.rev > this.#at.rev);
    if (!isCutOff) this.#watcher?.noticed?.({ event: "store-rolled-back", from: this.#at.rev, to: head.rev });
  }

  /** Nothing was in the log for a while: finds out whether it is still the same one. */
  async #compare(session: EngineSession): Promise<void> {
    const { head } = await this.#readMeta(session);
    if (head.id === this.#at.id) return;
    if (head.rev <= this.#at.rev)
      throw new EngineError("unreachable", "the engine has an older log than before");
    const [next] = await this.#range(session, `(${this.#at.id}`, "+", "1");
    if (next === undefined) this.#mustLoad = true; // it was cut off
  }

  /** Reads all records, and what changes meanwhile. */
  async #load(session: EngineSession): Promise<void> {
    for (let before: Position | undefined; ;) {
      const { head, server } = await this.#readMeta(session);
      if (head.id === before?.id) throw damaged(`its log does not go on from ${head.id}, the last change`);
      before = head;
      const document = { ...emptyDocument(), rev: head.rev, server };
      for (const kind of KINDS) {
        let cursor = "0";
        do {
          const reply = await session.send("HSCAN", [this.#key(kind), cursor, "COUNT", REPLY_COUNT]);
          this.#heard();
          const [next, fields] = reply as [string, string[]];
          for (let n = 0; n < fields.length; n += 2) {
            putRecord(document, kind, fields[n] ?? "", fields[n + 1] ?? "");
          }
          cursor = next;
        } while (cursor !== "0");
      }
      const at = await this.#replay(session, document, head);
      if (at === undefined) continue; // the log was cut off meanwhile
      await this.#readMeta(session); // it is not emptied meanwhile
      if (this.#isLoaded) await this.#passOver(session, head);
      this.#document = document;
      this.#at = at;
      this.#mustLoad = false;
      this.#isLoaded = true;
      this.#followsSince = performance.now();
      this.#changed(true);
      return;
    }
  }

  /** Makes the changes after `from` in `document`, and returns the position; undefined when the log does not have them all. */
  async #replay(session: EngineSession, document: Replica, from: Position): Promise<Position | undefined> {
    let at = from;
    for (;;) {
      const entries = await this.#range(session, `(${at.id}`, "+", REPLY_COUNT);
      if (entries.length === 0) return at;
      for (const entry of entries) {
        if (entry.at.rev !== at.rev + 1) return undefined;
        at = entry.at;
        this.#apply(document, entry);
      }
    }
  }

  /** Says which changes up to `head` the records have already. */
  async #passOver(session: EngineSession, head: Position): Promise<void> {
    for (let at = this.#at; at.rev < head.rev;) {
      const entries = await this.#range(session, `(${at.id}`, head.id, REPLY_COUNT);
      if (entries[0]?.at.rev !== at.rev + 1) this.#options.onPassed(undefined);
      for (const { text } of entries) this.#options.onPassed(text);
      at = entries.at(-1)?.at ?? head;
    }
  }

  /** Makes the next changes of the log in the replica. */
  #take(entries: readonly Entry[]): void {
    let byOthers = false;
    for (const entry of entries) {
      if (entry.at.rev !== this.#at.rev + 1) {
        this.#mustLoad = true; // those between were cut off
        break;
      }
      byOthers = !this.#apply(this.#document, entry) || byOthers;
      this.#at = entry.at;
    }
    this.#heard();
    this.#changed(byOthers);
  }

  /** Makes one change in `document`; true when this process has made it. */
  #apply(document: Replica, { at, text, epoch }: Entry): boolean {
    this.#expectEpoch(epoch); // the first change has given it to the accounts
    const entry = parseEntry(at.id, text);
    applyEntry(document, entry, at);
    return this.#options.onEntry(entry);
  }

  async #range(session: EngineSession, from: string, to: string, count?: string): Promise<Entry[]> {
    const limit = count === undefined ? [] : ["COUNT", count];
    return toEntries(await session.send("XRANGE", [this.#key("log"), from, to, ...limit]));
  }

  /** @throws {EngineError} also `replaced`. */
  async #readMeta(session: EngineSession): Promise<Meta> {
    const known = this.#epoch;
    const reply = await session.send("HMGET", [this.#key("meta"), "version", "epoch", "head", "server"]);
    const [version, epoch, head, server] = reply as (string | null)[];
    if (typeof version === "string" && version !== STORE_VERSION) {
      const message = `the store has version ${version}, this parley supports version ${STORE_VERSION}`;
      throw new EngineError("refused", message, { hint: "use the version of parley that wrote it" });
    }
    this.#expectEpoch(epoch ?? "", known);
    this.#heard();
    return {
      head: typeof head === "string" ? parsePosition(head) : START,
      server: server ?? undefined,
    };
  }

  /**
   * @param known the identity that this process knew when it asked.
   * @throws {EngineError} `replaced` when the accounts are not those that this process knows.
   */
  #expectEpoch(epoch: string, known = this.#epoch): void {
    // The first change of all may have come in before an older answer.
    if (epoch === "" && known === "" && this.#epoch !== "") return;
    const expected = this.#epoch === "" ? (this.#options.expectedEpoch ?? "") : this.#epoch;
    if (expected !== "" && epoch !== expected) {
      const what = epoch === "" ? "has lost its accounts" : "has other accounts than before";
      throw new EngineError("replaced", `${this.#options.access.target.shown} ${what}`, {
        hint: "restore the data of the engine: no account is forgotten until then",
      });
    }
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#options.onEpoch?.(epoch);
    this.#waits.check();
  }

  #key(part: string): string {
    return keyOf(this.#options.name, part);
  }

  // --- what others learn ---

  #heard(): void {
    this.#heardAt = performance.now();
  }

  #changed(byOthers: boolean): void {
    this.#waits.check();
    this.#watcher?.changed(byOthers);
  }

  /** Says when the engine is lost, and when it is found again. */
  #look(): void {
    const now = performance.now();
    if (this.isReachable && this.#lostAt !== undefined) {
      this.#watcher?.noticed?.({ event: "store-found", lost_ms: Math.round(now - this.#lostAt) });
      this.#lostAt = undefined;
    } else if (!this.isReachable && this.#lostAt === undefined) {
      const { message } = this.#complaint ?? this.#lossReason ?? this.lost();
      this.#watcher?.noticed?.({ event: "store-lost", reason: message });
      this.#lostAt = now;
    }
  }
}

/** True for the error of a command whose session has ended, or ends. */
export function isCutOff(error: unknown): boolean {
  return isUnreachable(error) && (!(error instanceof ReplyError) || error.leadsElsewhere);
}

/** True for an error that a later try may cure. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof EngineError && error.code === "unreachable";
}
