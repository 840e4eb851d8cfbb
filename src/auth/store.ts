// users.json as a running process sees it: the last good content in memory, changes committed in groups.
//
//     change(m) ─┐
//     change(m) ─┴→ one commit: lock, re-read, every m in turn, write, fsync, rename → each resolves or rejects alone
//
// Reads never touch the disk. A file that cannot be read is never overwritten and never taken for an empty one: the
// last good content stays, and changes fail until somebody mends it.

import { watch } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { JsonFile, type FileVersion } from "../json-file.ts";
import { COMMIT_PAUSE_MS, WATCH_INTERVAL_MS } from "../limits.ts";
import { pruneTokens } from "./accounts.ts";
import { copyDocument, emptyDocument, formatDocument, parseDocument, type Document } from "./document.ts";

/** Changes a draft, or throws before it changed anything; what it returns reaches the caller once it is on the disk. */
export type Mutation<T> = (draft: Document) => T;

interface Waiting {
  run(draft: Document): void;
  settle(error: unknown, failed: boolean): void;
}

export interface StoreWatcher {
  /** The content is another now, whoever changed it. */
  changed(): void;
  /** The file cannot be read; told once for each state of the file. */
  unreadable(error: unknown): void;
}

export class Store {
  readonly #file: JsonFile;
  #document: Document;
  #stamp: string;
  #badStamp: string | undefined;
  #waiting: Waiting[] = [];
  #committing: Promise<void> | undefined;
  #watcher: StoreWatcher | undefined;

  /**
   * Opens the file at `path`; one that does not exist is an empty store.
   *
   * @throws {FileError} when it cannot be read, is damaged, or others could read it.
   */
  constructor(path: string) {
    this.#file = new JsonFile(path);
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
   */
  change<T>(mutation: Mutation<T>): Promise<T> {
    const changed = new Promise<T>((resolve, reject) => {
      let result: { value: T } | { error: unknown } | undefined;
      this.#waiting.push({
        run(draft) {
          try {
            result = { value: mutation(draft) };
          } catch (error) {
            result = { error };
          }
        },
        settle(error, failed) {
          if (failed || result === undefined) reject(error);
          else if ("error" in result) reject(result.error);
          else resolve(result.value);
        },
      });
    });
    this.#committing ??= this.#commitAll();
    return changed;
  }

  /** Waits until every change so far has settled. */
  async settled(): Promise<void> {
    await this.#committing;
  }

  async #commitAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      let batch = this.#waiting;
      try {
        let draft = this.#document;
        const stamp = await this.#file.update((current) => {
          batch = this.#waiting;
          this.#waiting = [];
          draft = copyDocument(current.stamp === this.#stamp ? this.#document : this.#parse(current));
          for (const waiting of batch) waiting.run(draft);
          pruneTokens(draft, Date.now());
          draft.rev++;
          return formatDocument(draft);
        });
        this.#adopt(draft, stamp);
        for (const waiting of batch) waiting.settle(undefined, false);
      } catch (error) {
        // Before the lock was had the batch is still in the queue: it goes down with it.
        if (batch === this.#waiting) this.#waiting = [];
        for (const waiting of batch) waiting.settle(error, true);
      }
      await delay(COMMIT_PAUSE_MS);
    }
    this.#committing = undefined;
  }

  /** Reads the file again if it is another than the one known. */
  reload(): void {
    try {
      const seen = this.#file.stamp();
      if (seen === this.#stamp || seen === this.#badStamp) return;
      this.#badStamp = seen;
      const version = this.#file.read();
      this.#adopt(this.#parse(version), version.stamp);
    } catch (error) {
      this.#watcher?.unreadable(error);
    }
  }

  /** Notices changes by other processes, within a second, until the returned function is called. */
  watch(watcher: StoreWatcher): () => void {
    this.#watcher = watcher;
    let soon: Timer | undefined;
    const events = watch(this.#file.folder, (_, name) => {
      if (name === this.#file.name) soon ??= setTimeout(look, 20);
    });
    const look = () => {
      soon = undefined;
      this.reload();
    };
    events.on("error", () => events.close()); // the interval goes on looking
    const interval = setInterval(look, WATCH_INTERVAL_MS);
    return () => {
      this.#watcher = undefined;
      events.close();
      clearInterval(interval);
      clearTimeout(soon);
    };
  }

  #parse(version: FileVersion): Document {
    return version.text === null ? emptyDocument() : parseDocument(version.text, this.#file.path);
  }

  #adopt(document: Document, stamp: string): void {
    this.#document = document;
    this.#stamp = stamp;
    this.#badStamp = undefined;
    this.#watcher?.changed();
  }
}
