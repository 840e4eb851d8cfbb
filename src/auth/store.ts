// Accounts, tokens and known addresses, wherever they are stored: in a file (file-store.ts), or in an engine.
//
// A process reads a replica in memory, and changes the store by mutations. Several processes share a store.

import { EngineError } from "../engine/engine-error.ts";
import { FileError } from "../files/file-error.ts";
import type { Document, Replica } from "./document.ts";

/** True for an error of a store, and not of what a change does: a file or an engine cannot be used now. */
export function isStoreError(error: unknown): error is FileError | EngineError {
  return error instanceof FileError || error instanceof EngineError;
}

/** The credentials of the sessions of all servers. */
export interface InUse {
  /** Ids of tokens. */
  tokens: ReadonlySet<string>;
  addresses: ReadonlySet<string>;
}

/**
 * Changes a draft, or throws before it has changed it. The caller gets the result once the change is durable. It may run several
 * times, on newer content each time; the last run counts.
 *
 * @param inUse returns undefined when that is not known now. Where it is known later, the mutation runs again then.
 */
export type Mutation<T> = (draft: Document, inUse: () => InUse | undefined) => T;

/** What happens to a store beside changes, for the log. */
export type StoreEvent =
  | { event: "store-lost"; reason: string }
  | { event: "store-found"; lost_ms: number }
  /** The engine has an older revision than this process had. */
  | { event: "store-rolled-back"; from: number; to: number };

export interface StoreWatcher {
  /** Called when the content has changed. `byOthers`: also by another process. */
  changed(byOthers: boolean): void;
  /** Called when the store cannot be read, once for each reason. */
  unreadable(error: unknown): void;
  noticed?(event: StoreEvent): void;
}

export interface Store {
  /** Where it is, for messages: a path, or a URL. */
  readonly place: string;
  /** The last good content, which changes in place. Do not change it. */
  readonly document: Readonly<Replica>;
  /** False while its changes by others may be unknown: then no login may succeed. Always true for a file. */
  readonly isReachable: boolean;
  /** How many records a change may read and write; Infinity: any number. */
  readonly recordsInChange: number;
  /** Secret and random, see {@link DummyHashes}. */
  readonly dummyKey: Uint8Array;

  /**
   * Applies `mutation` to the current content, together with other waiting changes.
   *
   * Resolves with its result once the change is durable. Rejects with its error, or with a {@link isStoreError store error}: then
   * nothing is changed, unless the message says otherwise.
   *
   * When `signal` is aborted before the change is decided, this rejects with its reason at once and changes nothing. A later
   * abort has no effect: the decided change is made and reported.
   */
  change<T>(mutation: Mutation<T>, signal?: AbortSignal): Promise<T>;

  /**
   * Resolves when every change that any process has reported before this call is in `document`.
   *
   * Rejects with a store error when that cannot be found out now. A damaged file rejects nothing: its last good content holds.
   */
  fresh(): Promise<void>;

  /**
   * Takes the changes of others as far as that needs no waiting.
   *
   * @param always reads a file also when it looks unchanged.
   */
  reload(always?: boolean): void;

  /** Notices changes by other processes, within a second, until the returned function is called. */
  watch(watcher: StoreWatcher): () => void;

  /** Checks that a change could be written. Rejects with a store error when it could not. */
  tryToWrite(): Promise<void>;

  /** Waits until every change so far has settled. */
  settled(): Promise<void>;

  /** Leaves the store in order, when the process ends. Rejects with a store error. */
  close(): Promise<void>;
}
