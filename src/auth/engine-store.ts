// Accounts in an engine, a Redis or Valkey server, that several parleys share.
//
//     change(m) ─┐
//     change(m) ─┴→ one batch: run on a draft of the replica → COMMIT (engine-commit.ts) → the log
//     the log → the replica (engine-replica.ts) → each change of the batch resolves when the replica has it
//
// A change without an answer may have been made. It is tried again, as another try: if the first one was made, the log has it, and the
// second one is in conflict with it. After the deadline that a try carries the engine refuses it, so none is made later.
//
// A mutation that asks for the credentials in use makes the batch wait: the lists of sessions are read, and the batch runs again.

import { createHash, randomBytes } from "node:crypto";
import {
  MAX_RECORDS_IN_CHANGE,
  PRUNE_INTERVAL_MS,
  STORE_OPEN_MS,
  STORE_TIMEOUT_MS,
  TOKEN_SETTLE_MS,
} from "../base/limits.ts";
import { EngineError } from "../engine/engine-error.ts";
import type { EngineSession } from "../engine/link.ts";
import { ReplyError } from "../engine/reply-error.ts";
import { ChangeQueue, type Batch, type Outcome } from "./change-queue.ts";
import { DocumentDraft, type Replica } from "./document.ts";
import { argumentsOf, COMMIT, keyOf, keysOf } from "./engine-commit.ts";
import { damaged, formatEntry, parsePosition, randomHalf, type Position } from "./engine-log.ts";
import { EngineReplica, isCutOff, isUnreachable, type EngineReplicaOptions } from "./engine-replica.ts";
import { EngineSessions } from "./engine-sessions.ts";
import { RecentTokens } from "./recent-tokens.ts";
import { usedBy } from "./session-status.ts";
import type { InUse, Mutation, Store, StoreWatcher } from "./store.ts";
import { TokenPruner } from "./token-pruner.ts";

export interface EngineStoreOptions extends Omit<EngineReplicaOptions, "onEntry" | "onPassed"> {
  /** By default {@link PRUNE_INTERVAL_MS}. */
  pruneIntervalMs?: number;
  /** By default {@link TOKEN_SETTLE_MS}. */
  settleMs?: number;
}

/** What the engine said to a change. `lost`: nothing, so it may have been made. `moved`: another engine makes changes now. */
type Answer =
  | { word: "late" | "lost" | "moved" }
  | { word: "done" | "conflict"; head: Position }
  | { word: "refused"; error: unknown }
  | { word: "replaced"; epoch: string };

export class EngineStore implements Store {
  readonly place: string;
  readonly recordsInChange = MAX_RECORDS_IN_CHANGE;
  readonly #options: EngineStoreOptions;
  readonly #replica: EngineReplica;
  readonly #changes = new ChangeQueue({ pauseMs: 0, commit: () => this.#commit() });
  readonly #settleMs: number;
  readonly #recent: RecentTokens;
  readonly #pruner: TokenPruner;
  /** The lists of the sessions of all servers. */
  readonly sessions: EngineSessions;
  /** The credentials in use, for the present batch; undefined until it has asked for them. */
  #inUse: { known: InUse | undefined } | undefined;
  /** True when the batch has asked. */
  #isInUseWanted = false;
  /** Why the lists could not be read the last time. */
  #complaint: string | undefined;
  /** The tries of the present batch, by name. */
  readonly #tries = new Map<string, Outcome>();
  /** The one of them that the log has. */
  #made: Outcome | undefined;
  /** True when the log may have had one of them that this process has not seen. */
  #isUnsure = false;

  /** @throws {EngineError} when the accounts cannot be read. */
  static async open(options: EngineStoreOptions): Promise<EngineStore> {
    const store = new EngineStore(options);
    try {
      await store.#replica.open(STORE_OPEN_MS);
      return store;
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  private constructor(options: EngineStoreOptions) {
    this.#options = options;
    this.place = options.access.target.shown;
    this.#settleMs = options.settleMs ?? TOKEN_SETTLE_MS;
    this.#recent = new RecentTokens(this.#settleMs);
    this.#pruner = new TokenPruner(
      () => this.#askInUse()?.tokens,
      (id) => this.#recent.hasSettled(id, performance.now()),
    );
    this.sessions = new EngineSessions({
      name: options.name,
      sessionBefore: (deadline) => this.#replica.sessionBefore(deadline),
    });
    this.#replica = new EngineReplica({
      ...options,
      onEntry: ({ by, tokens = {} }) => {
        const now = performance.now();
        for (const [id, token] of Object.entries(tokens)) if (token !== null) this.#recent.add(id, now);
        const outcome = this.#tries.get(by);
        if (outcome !== undefined) this.#made = outcome;
        return outcome !== undefined;
      },
      onPassed: (text) => {
        if (text === undefined) this.#isUnsure = true;
        for (const [by, outcome] of this.#tries) {
          if (text?.startsWith(`{"by":"${by}"`) === true) this.#made = outcome;
        }
      },
    });
  }

  get document(): Readonly<Replica> {
    return this.#replica.document;
  }

  get isReachable(): boolean {
    return this.#replica.isReachable;
  }

  get dummyKey(): Uint8Array {
    return createHash("sha256").update(`dummy hashes of ${this.#replica.epoch}`).digest();
  }

  change<T>(mutation: Mutation<T>, signal?: AbortSignal): Promise<T> {
    return this.#changes.add(mutation, signal);
  }

  async fresh(): Promise<void> {
    const deadline = performance.now() + STORE_TIMEOUT_MS;
    let session: EngineSession | undefined;
    for (;;) {
      session = await this.#replica.sessionBefore(deadline, session);
      try {
        const rev = await this.#replica.headOf(session);
        if (await this.#replica.reached(rev, deadline)) return;
      } catch (error) {
        if (!isCutOff(error)) throw error; // otherwise another session may begin in time
      }
    }
  }

  /** The replica follows the log in any case. With `always`, all records are read again. */
  reload(always = false): void {
    if (always) this.#replica.loadAgain();
  }

  watch(watcher: StoreWatcher): () => void {
    const unwatch = this.#replica.watch(watcher);
    const pruning = setInterval(() => void this.#prune(), this.#options.pruneIntervalMs ?? PRUNE_INTERVAL_MS);
    return () => {
      unwatch();
      clearInterval(pruning);
    };
  }

  async tryToWrite(): Promise<void> {
    const session = await this.#replica.sessionBefore(performance.now() + STORE_TIMEOUT_MS);
    await session.send("HSET", [keyOf(this.#options.name, "meta"), "checked", new Date().toISOString()]);
    await this.sessions.tryToWrite(session);
  }

  settled(): Promise<void> {
    return this.#changes.settled();
  }

  async close(): Promise<void> {
    await this.settled();
    await this.sessions.close();
    await this.#replica.close();
  }

  async #commit(): Promise<void> {
    const batch = this.#changes.take();
    try {
      const outcome = await this.#make(batch, batch.since + STORE_TIMEOUT_MS);
      outcome.settle();
    } catch (error) {
      batch.fail(this.#tries.size > 0 && error instanceof EngineError ? mayBeMade(error) : error);
    } finally {
      this.#tries.clear();
      this.#made = this.#inUse = undefined;
    }
  }

  /** Makes the changes of `batch`, and returns the outcome of the run that holds. */
  async #make(batch: Batch, deadline: number): Promise<Outcome> {
    let ended: EngineSession | undefined;
    for (;;) {
      // While a try may have been made, the time until the deadline is needed: the engine may make it until then.
      const session = await this.#replica.sessionBefore(deadline, ended, this.#tries.size > 0);
      if (this.#made !== undefined) return this.#made;
      if (this.#tries.size === 0) this.#isUnsure = false;
      if (this.#isUnsure || performance.now() >= deadline) throw this.#tooLate();
      const { document, at } = this.#replica;
      const draft = new DocumentDraft(document);
      this.#isInUseWanted = false;
      const outcome = batch.run(draft, () => this.#askInUse());
      if (this.#isInUseWanted) {
        await this.#readInUse(session);
        continue;
      }
      const by = randomBytes(12).toString("base64url");
      const entry = formatEntry(by, draft, document);
      const args = argumentsOf(draft, document, {
        epoch: this.#replica.epoch,
        newEpoch: randomBytes(16).toString("base64url"),
        deadline: this.#replica.onEngineClock(deadline),
        random: randomHalf(),
        entry,
      });
      if (entry !== "") this.#tries.set(by, outcome);
      const answer = await this.#send(session, args, deadline);
      if (answer.word === "done") {
        // The log has it, even when this process cannot read that now.
        if (entry !== "") await this.#replica.reached(answer.head.rev, deadline);
        return outcome;
      }
      if (answer.word !== "lost") this.#tries.delete(by);
      if (answer.word === "refused") throw answer.error;
      if (answer.word === "lost" || answer.word === "moved") ended = session;
      if (answer.word === "conflict") await this.#catchUp(at, answer.head, deadline);
      if (answer.word === "replaced")
        await this.#replica.until(() => this.#replica.epoch === answer.epoch, deadline);
    }
  }

  #askInUse(): InUse | undefined {
    this.#isInUseWanted = this.#inUse === undefined;
    return this.#inUse?.known;
  }

  /**
   * Once for each batch, whose deadline limits their age: see token-pruner.ts. They are not known for a while after a break, since other
   * servers may have had one, too: then a restored engine has older lists than theirs, and this one has missed when tokens were written.
   */
  async #readInUse(session: EngineSession): Promise<void> {
    this.#inUse = { known: undefined };
    if (this.#replica.followsForMs < this.#settleMs) return;
    try {
      const statuses = await this.sessions.read(session);
      for (const failure of statuses.failures.slice(0, 1)) throw failure;
      this.#inUse = { known: usedBy(statuses) };
      this.#complaint = undefined;
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      if (isUnreachable(error)) return;
      if (error.message !== this.#complaint) this.#replica.complain(error);
      this.#complaint = error.message;
    }
  }

  async #send(session: EngineSession, args: readonly string[], deadline: number): Promise<Answer> {
    let reply: unknown;
    try {
      // The session goes on when the deadline passes: a slow engine is no silent one.
      reply = await within(session.call(COMMIT, keysOf(this.#options.name), args), deadline);
      if (reply === undefined) return { word: "lost" };
    } catch (error) {
      if (error instanceof ReplyError && error.leadsElsewhere) return { word: "moved" };
      return isCutOff(error) ? { word: "lost" } : { word: "refused", error };
    }
    const [word, said] = reply as [string, string];
    if (word === "late") return await this.#readClock(session);
    if (word === "done" || word === "conflict") return { word, head: parsePosition(said) };
    if (word === "replaced") return { word, epoch: said };
    throw damaged(`its script says ${JSON.stringify(word)}`);
  }

  /** The engine takes the deadline for over: its clock may have been set. */
  async #readClock(session: EngineSession): Promise<Answer> {
    try {
      await this.#replica.readClock(session);
      return { word: "late" };
    } catch (error) {
      return isCutOff(error) ? { word: "moved" } : { word: "refused", error };
    }
  }

  #tooLate(): EngineError {
    return new EngineError("unreachable", `${this.place} did not make the change in time`, {
      hint: "try again in a moment, and look whether the engine is overloaded",
    });
  }

  /** Waits for what the replica at `at` did not have. */
  async #catchUp(at: Position, head: Position, deadline: number): Promise<void> {
    // It had everything: the records were changed by other means, such as redis-cli.
    if (at.rev >= head.rev) this.#replica.loadAgain();
    await this.#replica.reached(head.rev, deadline);
  }

  /** Removes tokens that are of no use any more: see token-pruner.ts. */
  async #prune(): Promise<void> {
    if (!this.isReachable) return;
    const { document } = this;
    const examined = [
      ...this.#recent.takeCrowded(document, performance.now()),
      ...this.#pruner.next(document),
    ];
    try {
      await this.change((draft) => this.#pruner.prune(draft, examined, Date.now(), performance.now()));
    } catch (error) {
      if (!isUnreachable(error)) this.#replica.complain(error);
    }
  }
}

/** What `reply` resolves with; undefined when it has not by `deadline`. */
async function within(reply: Promise<unknown>, deadline: number): Promise<unknown> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(late.resolve, Math.max(0, deadline - performance.now()), undefined);
  try {
    return await Promise.race([reply, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function mayBeMade(cause: EngineError): EngineError {
  return new EngineError("unreachable", `${cause.message}: it is unknown whether the change was made`, {
    hint: "look whether it was, and try again if it was not",
    cause,
  });
}
