// users.json in a running process: the last good content in memory, and changes that are committed in groups.
//
//     change(m) ─┐
//     change(m) ─┴→ one commit: lock, catch up, every m in turn, write → each resolves or rejects alone
//
// A file of few records is written whole. One of many has a journal (journal.ts): a change appends a line to it, and now and then
// the lines are folded into the file.
//
// Reads use memory only. An unreadable file is never overwritten, and never treated as an empty one: the last good content stays,
// and changes fail until the file is repaired.

import { randomBytes } from "node:crypto";
import { watch, type FSWatcher } from "node:fs";
import { basename, dirname } from "node:path";
import { messageOf, systemCode } from "../base/errors.ts";
import { FileError } from "../files/file-error.ts";
import { LockedFile, type HeldFiles } from "../files/locked-file.ts";
import type { FileVersion, Tail } from "../files/private-file.ts";
import { COMMIT_PAUSE_MS, MIN_FOLD_BYTES, WATCH_INTERVAL_MS } from "../base/limits.ts";
import { nextTurn } from "../base/yield.ts";
import { ChangeQueue, type Batch, type Outcome } from "./change-queue.ts";
import {
  DocumentDraft,
  emptyDocument,
  formatInSlices,
  isLarge,
  parseDocument,
  type Document,
  type Replica,
} from "./document.ts";
import {
  applyChanges,
  Edited,
  formatChange,
  formatHeader,
  JournalReader,
  journalOf,
  SnapshotHash,
  type Change,
} from "./journal.ts";
import type { InUse, Mutation, Store, StoreWatcher } from "./store.ts";
import { TokenPruner } from "./token-pruner.ts";

/** One record takes at least so much of a line of the journal: its key, `null` and the digest of what was there. */
const MIN_CHANGE_BYTES = 50;
/** The delay between an event and reading the file, in milliseconds: an editor may move the old file away first. */
const SETTLE_MS = 20;

/** What the header of a journal says that belongs to no file. */
const NOTHING = { rev: 0, hash: "", stamp: "", from: "" };

/** The journal as far as it is in memory. */
interface Journal {
  id: string;
  reader: JournalReader;
  /** False when it names another snapshot than the file in memory: it has nothing to add, and the next change replaces it. */
  isOwn: boolean;
}

/** How both files are read: with the lock, or without it. */
type Files = Pick<HeldFiles, "stamp" | "read" | "readBeside">;

export interface FileStoreOptions {
  /** As for a {@link Mutation}. */
  inUse?: () => InUse | undefined;
  /**
   * Called when the file was edited by hand while its journal had more to add.
   *
   * @param kept how many records are as the edit has them, although the journal has another value.
   */
  edited?: (kept: number) => void;
}

export class FileStore implements Store {
  readonly recordsInChange = Infinity;
  readonly isReachable: boolean = true;
  readonly dummyKey = randomBytes(32);
  readonly #file: LockedFile;
  readonly #pruner: TokenPruner;
  readonly #options: FileStoreOptions;
  #document: Replica;
  /** The stamp of the file in memory; empty when there was no file. */
  #stamp = "";
  /** The hash of its text. */
  #hash = "";
  /** The journal beside the file in memory; undefined when there is none. */
  #journal: Journal | undefined;
  /**
   * True when only a fold makes both files what is in memory: after an edit by hand, when a journal had more to add; or after the
   * disk did not confirm a line, which it may confirm next time without having written it.
   */
  #mustFold = false;
  /** After a failed fold: the length from which on the journal is folded. */
  #foldFrom = 0;
  /** The stamp of both files when `reload` found them to be in memory. Undefined after a change: a person may replace a file meanwhile. */
  #seen: string | undefined;
  #lookingSoon: Promise<void> | undefined;
  /** The stamp of damaged files, which need not be read again. Other failures are tried again. */
  #damagedStamp: string | undefined;
  /** The reason of the last failure to read the file, so that it is reported once. */
  #complaint: string | undefined;
  readonly #changes = new ChangeQueue({
    isDue: () => this.#needsFold,
    // Folds before the next changes, since they may never pause.
    commit: () => (this.#needsFold ? this.#tryToFold() : this.#commit()),
    pauseMs: COMMIT_PAUSE_MS,
  });
  /** Set while a commit or a fold holds the lock and its content is not yet in memory. */
  #updating = false;
  /** Set when the files are to be read whole after that. */
  #reloadLater = false;
  #watcher: StoreWatcher | undefined;

  /**
   * Opens the file at `path`. A missing file is an empty store.
   *
   * @throws {FileError} when it cannot be read, is damaged, or other users could read it.
   */
  constructor(path: string, options: FileStoreOptions = {}) {
    this.#file = new LockedFile(path);
    this.#options = options;
    this.#pruner = new TokenPruner(() => this.#inUse()?.tokens);
    this.#document = emptyDocument();
    this.#load(this.#files);
  }

  readonly #inUse = (): InUse | undefined => this.#options.inUse?.();

  get place(): string {
    return this.#file.path;
  }

  get document(): Readonly<Replica> {
    return this.#document;
  }

  /** Decides the change under the lock of the file. Rejects with a FileError when the file could not be locked, read or written. */
  change<T>(mutation: Mutation<T>, signal?: AbortSignal): Promise<T> {
    return this.#changes.add(mutation, signal);
  }

  settled(): Promise<void> {
    return this.#changes.settled();
  }

  /** Folds the journal, if it has lines. */
  async close(): Promise<void> {
    await this.settled();
    if (this.#document.isJournaled && this.#journalBytes > 0) await this.#fold();
  }

  /**
   * Commits the waiting changes, settles their promises, and calls the watcher. They are decided from the content under the lock:
   * before that, `reload` may read a change of another process.
   */
  async #commit(): Promise<void> {
    let batch: Batch | undefined;
    let outcome: Outcome | undefined;
    let [byOthers, isChanged] = [false, false];
    try {
      await this.#update(async (files) => {
        byOthers = this.#catchUp(files);
        const draft = new DocumentDraft(this.#document);
        batch = this.#changes.take();
        outcome = batch.run(draft, this.#inUse);
        if (!outcome.isAnyDone) return;
        const examined = [...draft.tokens.writtenKeys(), ...this.#pruner.next(draft)];
        this.#pruner.prune(draft, examined, Date.now(), performance.now());
        draft.rev++;
        await this.#write(files, draft);
        draft.apply();
        isChanged = true;
        this.#isWell();
        this.#seen = undefined;
      });
      outcome?.settle();
    } catch (error) {
      (batch ?? this.#changes.take()).fail(error);
    }
    if (byOthers || isChanged) this.#watcher?.changed(byOthers);
  }

  /** Works on both files, and on what is in memory of them. */
  async #update(work: (files: HeldFiles) => Promise<void>): Promise<void> {
    try {
      await this.#file.hold(journalOf, async (files) => {
        this.#updating = true;
        try {
          await work(files);
        } finally {
          this.#updating = false;
        }
      });
    } finally {
      if (this.#reloadLater) {
        this.#reloadLater = false;
        this.reload(true);
      }
    }
  }

  /** Writes the changes of `draft`: a line of the journal, or the whole file. */
  async #write(files: HeldFiles, draft: DocumentDraft): Promise<void> {
    if (!draft.isJournaled && isLarge(draft)) {
      // An old journal has nothing to do with this file.
      if (files.readBeside(0) !== undefined) await files.replaceBeside(formatHeader(NOTHING));
      draft.isJournaled = true;
      return this.#replace(files, draft);
    }
    if (!draft.isJournaled || this.#mustFold) return this.#replace(files, draft);
    if (draft.changeCount * MIN_CHANGE_BYTES >= this.#foldBytes) return this.#replace(files, draft);
    const line = Buffer.from(formatChange(draft, this.#document));
    if (line.length >= this.#foldBytes) return this.#replace(files, draft);
    if (this.#journal?.isOwn === true) {
      await this.#append(files, this.#journal.reader.offset, line);
      this.#journal.reader.passOver(line.length);
      return;
    }
    const header = this.#header();
    await files.replaceBeside(header + line.toString());
    this.#journal = this.#openJournal(files);
  }

  async #append(files: HeldFiles, offset: number, line: Uint8Array): Promise<void> {
    try {
      await files.appendBeside(offset, line);
    } catch (error) {
      if (error instanceof FileError && error.code === "unsynced") this.#mustFold = true;
      throw error;
    }
  }

  /** Replaces the file by one that has `document`. The old journal has nothing more to add then. */
  async #replace(files: HeldFiles, document: Document): Promise<void> {
    const hash = new SnapshotHash();
    this.#stamp = await files.replace(hash.over(formatInSlices(document)));
    this.#hash = hash.toString();
    if (this.#journal !== undefined) this.#journal.isOwn = false;
    this.#mustFold = false;
    this.#foldFrom = 0;
  }

  /** The first line of a journal for the file in memory. @param from see {@link Header}. */
  #header(from = this.#hash): string {
    return formatHeader({ rev: this.#document.rev, hash: this.#hash, stamp: this.#stamp, from });
  }

  /** The journal as it is now, all of whose lines are in memory. */
  #openJournal(files: Files): Journal | undefined {
    const tail = files.readBeside(0);
    if (tail === undefined) return undefined;
    const reader = this.#newReader();
    reader.take(tail.bytes);
    return { id: tail.id, reader, isOwn: true };
  }

  get #journalBytes(): number {
    return this.#journal?.isOwn === true ? this.#journal.reader.bytesOfChanges : 0;
  }

  /** The length of a journal that is folded. */
  get #foldBytes(): number {
    const size = Number(this.#stamp.split(":")[2] ?? 0);
    return Math.max(MIN_FOLD_BYTES, size / 4, this.#foldFrom);
  }

  #newReader(): JournalReader {
    return new JournalReader(journalOf(this.#file.target));
  }

  get #needsFold(): boolean {
    return (this.#mustFold && this.#foldFrom === 0) || this.#journalBytes > this.#foldBytes;
  }

  async #tryToFold(): Promise<void> {
    try {
      await this.#fold();
    } catch (error) {
      this.#foldFrom = 2 * this.#journalBytes + MIN_FOLD_BYTES; // not tried again with each change
      this.#watcher?.unreadable(error);
    }
  }

  /** Replaces the file by one that has every line of the journal. */
  async #fold(): Promise<void> {
    let byOthers = false;
    try {
      await this.#update(async (files) => {
        byOthers = this.#catchUp(files);
        const from = this.#hash;
        await this.#replace(files, this.#document);
        await files.replaceBeside(this.#header(from));
        this.#journal = this.#openJournal(files);
        this.#seen = undefined;
      });
    } finally {
      if (byOthers) this.#watcher?.changed(true);
    }
  }

  /** Both files without the lock. */
  get #files(): Files {
    return {
      stamp: () => this.#file.stamp(),
      read: () => this.#file.read(),
      readBeside: (offset) => this.#file.readBeside(journalOf, offset),
    };
  }

  /** Takes what other processes have written; true when there was anything. */
  #catchUp(files: Files, always = false): boolean {
    const stamp = files.stamp();
    if (stamp === this.#stamp && !always) {
      if (!this.#document.isJournaled) return false;
      const journal = this.#journal;
      const tail = files.readBeside(journal?.reader.offset ?? 0);
      if (tail === undefined && journal === undefined) return false;
      if (tail !== undefined && tail.id === journal?.id && tail.size >= journal.reader.offset) {
        if (journal.isOwn) return this.#takeLines(journal, tail);
        if (tail.size === journal.reader.offset) return false;
      }
    }
    return (always ? undefined : this.#wasFolded(files, stamp)) ?? this.#load(files, always);
  }

  #takeLines({ reader }: Journal, tail: Tail): boolean {
    let changes: Change[];
    try {
      changes = reader.take(tail.bytes);
    } catch (error) {
      this.#journal = undefined; // it is read from its start again
      throw error;
    }
    applyChanges(this.#document, changes);
    return changes.length > 0;
  }

  /**
   * Takes a new journal, and a file into which another process has folded what is in memory, without reading it; returns whether the
   * journal had more. Undefined for any other file.
   */
  #wasFolded(files: Files, stamp: string): boolean | undefined {
    if (!this.#document.isJournaled || stamp === "") return undefined;
    const tail = files.readBeside(0);
    if (tail === undefined) return undefined;
    const reader = this.#newReader();
    const changes = reader.take(tail.bytes);
    const { header } = reader;
    if (header?.stamp !== stamp || header.rev !== this.#document.rev) return undefined;
    if (header.hash !== this.#hash && header.from !== this.#hash) return undefined;
    this.#stamp = stamp;
    this.#hash = header.hash;
    this.#journal = { id: tail.id, reader, isOwn: true };
    this.#mustFold = false;
    this.#foldFrom = 0;
    applyChanges(this.#document, changes);
    return changes.length > 0;
  }

  /** Reads both files whole. */
  #load(files: Files, always = false): boolean {
    let version: FileVersion;
    let tail: Tail | undefined;
    do {
      version = files.read();
      tail = files.readBeside(0);
    } while (tail !== undefined && files.stamp() !== version.stamp); // a fold in between: the journal belongs to the new file
    const { text, stamp } = version;
    if (text === null && tail !== undefined) throw lost(this.place, journalOf(this.place));
    const document = this.#parse(version);
    const journal = document.isJournaled ? tail : undefined;
    const reader = this.#newReader();
    const changes = journal === undefined ? [] : reader.take(journal.bytes);
    const hash = new Bun.CryptoHasher("sha256").update(text ?? "").digest("base64");
    const isOwn = reader.header?.hash === hash;
    const before = document.rev;
    if (!isOwn && reader.header !== undefined && reader.header.rev > before) {
      throw outdated(this.place, before, journalOf(this.place), reader.header.rev);
    }
    const edited = isOwn ? undefined : new Edited();
    applyChanges(document, changes, edited);
    if (always && stamp === this.#stamp && reader.offset === (this.#journal?.reader.offset ?? 0))
      return false;
    this.#document = document;
    this.#stamp = stamp;
    this.#hash = hash;
    this.#mustFold = !isOwn && document.rev > before;
    this.#foldFrom = 0;
    this.#journal = journal && { id: journal.id, reader, isOwn };
    if (this.#mustFold && edited !== undefined) this.#options.edited?.(edited.kept);
    return true;
  }

  /** One look at the files is enough for all that ask within a turn of the event loop: it is later than each of them. */
  fresh(): Promise<void> {
    return (this.#lookingSoon ??= nextTurn().then(() => {
      this.#lookingSoon = undefined;
      this.reload();
    }));
  }

  /** Reads the files again if they have changed, and are not files that were found to be damaged. */
  reload(always = false): void {
    // A commit reads the files itself. Between its rename and its end our own change would look like another process's.
    if (this.#updating) {
      this.#reloadLater ||= always;
      return;
    }
    let seen: string | undefined;
    try {
      seen = this.#file.stamps(journalOf);
      if (seen === this.#damagedStamp && !always) return;
      if (seen === this.#seen && !always) return this.#isWell();
      const isChanged = this.#catchUp(this.#files, always);
      this.#seen = seen;
      this.#isWell();
      if (!isChanged) return;
    } catch (error) {
      if (error instanceof FileError && error.code === "corrupt") this.#damagedStamp = seen;
      if (messageOf(error) === this.#complaint) return;
      this.#complaint = messageOf(error);
      this.#watcher?.unreadable(error);
      return;
    }
    this.#watcher?.changed(true);
    this.#changes.wake();
  }

  tryToWrite(): Promise<void> {
    // In slices, since the text of many records takes memory and holds up the server.
    return this.#file.tryToWrite(formatInSlices(this.#document), journalOf);
  }

  watch(watcher: StoreWatcher): () => void {
    this.#watcher = watcher;
    let soon: Timer | undefined;
    const { target } = this.#file; // a link that is changed to another file is found by the interval
    const events = this.#watchFolder(dirname(target), (name) => {
      if (name === basename(target) || name === basename(journalOf(target)))
        soon ??= setTimeout(look, SETTLE_MS);
    });
    const look = () => {
      soon = undefined;
      this.reload();
    };
    const interval = setInterval(look, WATCH_INTERVAL_MS);
    this.#changes.wake();
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

  #parse({ text }: FileVersion): Replica {
    if (text === null) {
      if (this.#stamp === "") return emptyDocument();
      // At the start a missing file is an empty store. Later a missing file does not remove the users.
      throw new FileError("unreadable", `${this.place} has disappeared`, {
        hint: "restore it, or stop the server before you start with a new one",
      });
    }
    return parseDocument(text, this.place);
  }

  #isWell(): void {
    this.#damagedStamp = this.#complaint = undefined;
  }
}

function outdated(path: string, rev: number, journal: string, needed: number): FileError {
  return new FileError(
    "corrupt",
    `${path} has revision ${rev}, but its journal ${journal} belongs to revision ${needed} of it`,
    {
      hint: "restore the newer file; or remove the journal, to go on without the changes in between",
    },
  );
}

function lost(path: string, journal: string): FileError {
  return new FileError("unreadable", `${path} is missing, but its journal ${journal} is there`, {
    hint: "restore it, or remove the journal to start with a new one",
  });
}
