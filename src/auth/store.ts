// users.json in a running process: the last good content in memory, and changes that are committed in groups.
//
//     change(m) ─┐
//     change(m) ─┴→ one commit: lock, re-read, every m in turn, write, fsync, rename → each resolves or rejects alone
//
// Reads use memory only. An unreadable file is never overwritten, and never treated as an empty one: the last good content stays,
// and changes fail until the file is repaired.

import { watch, type FSWatcher } from "node:fs";
import { basename, dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { onAbort } from "../base/abort.ts";
import { messageOf, systemCode } from "../base/errors.ts";
import { FileError } from "../files/file-error.ts";
import { LockedFile } from "../files/locked-file.ts";
import type { FileVersion } from "../files/private-file.ts";
import { COMMIT_PAUSE_MS, WATCH_INTERVAL_MS } from "../base/limits.ts";
import {
  DocumentDraft,
  emptyDocument,
  formatInSlices,
  parseDocument,
  type Document,
  type Replica,
} from "./document.ts";
import { TokenPruner } from "./token-pruner.ts";

/** The delay between an event and reading the file, in milliseconds: an editor may move the old file away first. */
const SETTLE_MS = 20;

/** The credentials of the sessions of all servers. */
export interface InUse {
  /** Ids of tokens. */
  tokens: ReadonlySet<string>;
  addresses: ReadonlySet<string>;
}

/**
 * Changes a draft, or throws before it has changed it. The caller gets the result once the change is on the disk.
 *
 * @param inUse returns undefined when that is not known now. It reads files, at most once for each commit.
 */
export type Mutation<T> = (draft: Document, inUse: () => InUse | undefined) => T;

interface Waiting {
  /** Applies the mutation; false when it threw. */
  run(draft: Document, inUse: () => InUse | undefined): boolean;
  /** Settles the caller's promise: with `error` when the commit has failed, else with what the mutation returned or threw. */
  settle(error: unknown, failed: boolean): void;
}

export interface StoreWatcher {
  /** Called when the content has changed. `byOthers`: also by another process. */
  changed(byOthers: boolean): void;
  /** Called when the file cannot be read, once for each reason. */
  unreadable(error: unknown): void;
}

export class Store {
  readonly #file: LockedFile;
  readonly #pruner: TokenPruner;
  readonly #inUse: () => InUse | undefined;
  #document: Replica;
  /** The stamp of the content in memory; empty when there was no file. */
  #stamp = "";
  /** The stamp of a damaged file, which need not be read again. Other failures are tried again. */
  #damagedStamp: string | undefined;
  /** The reason of the last failure to read the file, so that it is reported once. */
  #complaint: string | undefined;
  #waiting: Waiting[] = [];
  #committing: Promise<void> | undefined;
  /** Set while a commit holds the lock and its content is not yet in memory. */
  #updating = false;
  #watcher: StoreWatcher | undefined;

  /**
   * Opens the file at `path`. A missing file is an empty store.
   *
   * @throws {FileError} when it cannot be read, is damaged, or other users could read it.
   */
  constructor(path: string, inUse: () => InUse | undefined = () => undefined) {
    this.#file = new LockedFile(path);
    this.#inUse = inUse;
    this.#pruner = new TokenPruner(() => inUse()?.tokens);
    const version = this.#file.read();
    this.#document = this.#parse(version);
    this.#stamp = version.stamp;
  }

  get path(): string {
    return this.#file.path;
  }

  /** The last good content, which changes in place. Do not change it. */
  get document(): Readonly<Replica> {
    return this.#document;
  }

  /**
   * Applies `mutation` to the current content of the file, together with other waiting changes.
   *
   * Resolves with its result once the change is durable. Rejects with its error, or with a FileError when the file could not be
   * locked, read or written: then the file is unchanged.
   *
   * The change is decided under the lock. When `signal` is aborted before that, this rejects with its reason at once and
   * changes nothing. A later abort has no effect: the decided change is made and reported.
   */
  change<T>(mutation: Mutation<T>, signal?: AbortSignal): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const undecided = onAbort(signal, reject);
    let result: { value: T } | { error: unknown } | undefined;
    this.#waiting.push({
      run(draft, inUse) {
        undecided[Symbol.dispose]();
        try {
          signal?.throwIfAborted();
          result = { value: mutation(draft, inUse) };
          return true;
        } catch (error) {
          result = { error };
          return false;
        }
      },
      settle(error, failed) {
        undecided[Symbol.dispose]();
        if (failed || result === undefined) reject(error);
        else if ("error" in result) reject(result.error);
        else resolve(result.value);
      },
    });
    this.#committing ??= this.#commitAll();
    return promise;
  }

  /** Waits until every change so far has settled. */
  async settled(): Promise<void> {
    await this.#committing;
  }

  async #commitAll(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        await this.#commit();
        await delay(COMMIT_PAUSE_MS);
      }
    } finally {
      this.#committing = undefined;
    }
  }

  /**
   * Commits the waiting changes, settles their promises, and calls the watcher. They are decided from the content under the lock:
   * before that, `reload` may read a change of another process.
   */
  async #commit(): Promise<void> {
    let batch = this.#waiting;
    let byOthers = false;
    let changed: DocumentDraft | undefined;
    try {
      const stamp = await this.#file.update((current) => {
        this.#updating = true;
        batch = this.#waiting;
        this.#waiting = [];
        if (current.stamp !== this.#stamp) {
          this.#adopt(this.#parse(current), current.stamp);
          byOthers = true;
        }
        const draft = new DocumentDraft(this.#document);
        let inUse: { value: InUse | undefined } | undefined;
        const inUseNow = () => (inUse ??= { value: this.#inUse() }).value;
        const results = batch.map((waiting) => waiting.run(draft, inUseNow));
        if (!results.includes(true)) return null; // no change succeeded
        this.#pruner.prune(draft, Date.now(), performance.now(), draft.tokens.writtenKeys());
        draft.rev++;
        changed = draft;
        return formatInSlices(draft);
      });
      if (changed !== undefined) {
        changed.apply();
        this.#adopt(this.#document, stamp);
      }
    } catch (error) {
      // Without the lock, the batch is still in the queue, and fails too.
      if (batch === this.#waiting) this.#waiting = [];
      for (const waiting of batch) waiting.settle(error, true);
      if (byOthers) this.#watcher?.changed(true);
      return;
    } finally {
      this.#updating = false;
    }
    for (const waiting of batch) waiting.settle(undefined, false);
    if (byOthers || changed !== undefined) this.#watcher?.changed(byOthers);
  }

  /**
   * Reads the file again if it has changed, and is not a file that was found to be damaged.
   *
   * @param always read it also when it looks unchanged.
   */
  reload(always = false): void {
    // A commit reads the file itself. Between its rename and its end our own change would look like another process's.
    if (this.#updating) return;
    try {
      const seen = this.#file.stamp();
      if (seen === this.#damagedStamp && !always) return;
      if (seen === this.#stamp && !always) return this.#isWell();
      const version = this.#file.read();
      const document = this.#parse(version);
      if (version.stamp === this.#stamp) return this.#isWell();
      this.#adopt(document, version.stamp);
    } catch (error) {
      if (messageOf(error) === this.#complaint) return;
      this.#complaint = messageOf(error);
      this.#watcher?.unreadable(error);
      return;
    }
    this.#watcher?.changed(true);
  }

  /**
   * Checks that a change could be written.
   *
   * @throws {FileError} with the reason when it could not.
   */
  tryToWrite(): Promise<void> {
    return this.#file.tryToWrite();
  }

  /** Notices changes by other processes, within a second, until the returned function is called. */
  watch(watcher: StoreWatcher): () => void {
    this.#watcher = watcher;
    let soon: Timer | undefined;
    const { target } = this.#file; // a link that is changed to another file is found by the interval
    const events = this.#watchFolder(dirname(target), (name) => {
      if (name === basename(target)) soon ??= setTimeout(look, SETTLE_MS);
    });
    const look = () => {
      soon = undefined;
      this.reload();
    };
    const interval = setInterval(look, WATCH_INTERVAL_MS);
    return () => {
      this.#watcher = undefined;
      events?.close();
      clearInterval(interval);
      clearTimeout(soon);
    };
  }

  /** Watches the folder; undefined when the system has no watch left, and only the interval is used. */
  #watchFolder(folder: string, changed: (name: string | null) => void): FSWatcher | undefined {
    try {
      // Watching the file itself ends with the first rename (measured with Bun 1.4.5).
      const events = watch(folder, (_, name) => changed(name));
      events.on("error", () => events.close());
      return events;
    } catch (error) {
      const code = systemCode(error);
      if (code !== "EMFILE" && code !== "ENOSPC" && code !== "ENOSYS") throw error;
      return undefined;
    }
  }

  #parse({ text, stamp }: FileVersion): Replica {
    if (text === null) {
      if (this.#stamp === "") return emptyDocument();
      // At the start a missing file is an empty store. Later a missing file does not remove the users.
      throw new FileError("unreadable", `${this.path} has disappeared`, {
        hint: "restore it, or stop the server before you start with a new one",
      });
    }
    try {
      return parseDocument(text, this.path);
    } catch (error) {
      this.#damagedStamp = stamp;
      throw error;
    }
  }

  #adopt(document: Replica, stamp: string): void {
    this.#document = document;
    this.#stamp = stamp;
    this.#isWell();
  }

  #isWell(): void {
    this.#damagedStamp = this.#complaint = undefined;
  }
}
