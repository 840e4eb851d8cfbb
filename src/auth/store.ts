// users.json as a running process sees it: the last good content in memory, changes committed in groups.
//
//     change(m) ─┐
//     change(m) ─┴→ one commit: lock, re-read, every m in turn, write, fsync, rename → each resolves or rejects alone
//
// Reads never touch the disk. A file that cannot be read is never overwritten, and never treated as an empty one: the last
// good content stays, and changes fail until the file is mended.

import { watch, type FSWatcher } from "node:fs";
import { basename, dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { onAbort } from "../base/abort.ts";
import { messageOf, systemCode } from "../base/errors.ts";
import { FileError } from "../files/file-error.ts";
import { LockedFile } from "../files/locked-file.ts";
import type { FileVersion } from "../files/private-file.ts";
import { COMMIT_PAUSE_MS, WATCH_INTERVAL_MS } from "../base/limits.ts";
import { copyDocument, emptyDocument, formatDocument, parseDocument, type Document } from "./document.ts";
import { TokenPruner } from "./token-pruner.ts";

/** Between an event and the look at the file, since an editor may move the old file away first. In milliseconds. */
const SETTLE_MS = 20;

/** What servers have in a conversation. */
export interface InUse {
  /** Ids of tokens. */
  tokens: ReadonlySet<string>;
  addresses: ReadonlySet<string>;
}

/**
 * Changes a draft, or throws before it has changed anything; what it returns reaches the caller once that is on the disk.
 *
 * @param inUse undefined when that cannot be known now. It reads files, at most once for each commit.
 */
export type Mutation<T> = (draft: Document, inUse: () => InUse | undefined) => T;

interface Waiting {
  /** Applies the mutation; false when it threw. */
  run(draft: Document, inUse: () => InUse | undefined): boolean;
  /** Settles the caller's promise: with `error` when the commit has failed, else with what the mutation returned or threw. */
  settle(error: unknown, failed: boolean): void;
}

export interface StoreWatcher {
  /** The content has changed; `byOthers`: another process has changed it, perhaps besides this one. */
  changed(byOthers: boolean): void;
  /** The file cannot be read; called once for each reason. */
  unreadable(error: unknown): void;
}

export class Store {
  readonly #file: LockedFile;
  readonly #pruner: TokenPruner;
  readonly #inUse: () => InUse | undefined;
  #document: Document;
  /** The stamp of the content in memory; empty when there was no file. */
  #stamp = "";
  /** The stamp of a damaged content, which need not be read again. Other failures are tried again. */
  #damagedStamp: string | undefined;
  /** Why the file could not be read when it was last tried, so that it is reported once. */
  #complaint: string | undefined;
  #waiting: Waiting[] = [];
  #committing: Promise<void> | undefined;
  /** Set while a commit holds the lock and its content is not yet in memory. */
  #updating = false;
  #watcher: StoreWatcher | undefined;

  /**
   * Opens the file at `path`; one that does not exist is an empty store.
   *
   * @throws {FileError} when it cannot be read, is damaged, or others could read it.
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

  /** The last good content. Do not change it. */
  get document(): Readonly<Document> {
    return this.#document;
  }

  /**
   * Applies `mutation` to the file's present content, together with whatever else is waiting.
   *
   * Resolves with what it returned once that is durable. Rejects with what it threw, or with a FileError when the file
   * could not be locked, read or written: then nothing has changed.
   *
   * The change is decided under the lock. When `signal` is aborted before that, this rejects with its reason at once, and
   * nothing will be changed. When it is aborted later, it comes too late: what was decided is done, and said.
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
   * Commits all that waits, settles it, and calls the watcher. It is decided by what is read under the lock: while the lock is
   * waited for, `reload` may read what another process has written.
   */
  async #commit(): Promise<void> {
    let batch = this.#waiting;
    let byOthers = false;
    let changed: Document | undefined;
    try {
      const stamp = await this.#file.update((current) => {
        this.#updating = true;
        batch = this.#waiting;
        this.#waiting = [];
        if (current.stamp !== this.#stamp) {
          this.#adopt(this.#parse(current), current.stamp);
          byOthers = true;
        }
        const draft = copyDocument(this.#document);
        let inUse: { value: InUse | undefined } | undefined;
        const inUseNow = () => (inUse ??= { value: this.#inUse() }).value;
        const results = batch.map((waiting) => waiting.run(draft, inUseNow));
        if (!results.includes(true)) return null; // nothing worked, nothing to write
        this.#pruner.prune(draft, Date.now(), performance.now());
        draft.rev++;
        changed = draft;
        return formatDocument(draft);
      });
      if (changed !== undefined) this.#adopt(changed, stamp);
    } catch (error) {
      // Before the lock was had the batch is still in the queue: it goes down with it.
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
   * Reads the file again if it is another than the one known, and not one that was found to be damaged.
   *
   * @param always also when it looks unchanged.
   */
  reload(always = false): void {
    // A commit reads it again itself; between its rename and its end our own change would look like another's.
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
   * Could a change be written?
   *
   * @throws {FileError} that says why not.
   */
  tryToWrite(): Promise<void> {
    return this.#file.tryToWrite();
  }

  /** Notices changes by other processes, within a second, until the returned function is called. */
  watch(watcher: StoreWatcher): () => void {
    this.#watcher = watcher;
    let soon: Timer | undefined;
    const { target } = this.#file; // should a link be turned to another file, the interval finds out
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

  /** Events of the folder; undefined where the system has none left, and looking at intervals must do. */
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

  #parse({ text, stamp }: FileVersion): Document {
    if (text === null) {
      if (this.#stamp === "") return emptyDocument();
      // To begin with, no file is an empty store; but no user is forgotten because the file has vanished.
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

  #adopt(document: Document, stamp: string): void {
    this.#document = document;
    this.#stamp = stamp;
    this.#isWell();
  }

  #isWell(): void {
    this.#damagedStamp = this.#complaint = undefined;
  }
}
