// One file that many processes change: replaced whole, never torn, no change lost.
//
//     find → lock → find again → remove orphans → read → change → replace → unlock
//
// A change is decided from what is read under the lock, and is said to be made when it is durable. Symbolic links are
// followed anew for each read and each change: a link that was turned to another file leads every process there.

import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { ParleyError, systemCode } from "../errors.ts";
import { mountAt } from "../os/mounts.ts";
import { removeOrphans, replaceFile, tryToWrite } from "./atomic-write.ts";
import { FileError, mountedAlone, unwritable, whyRefused } from "./file-error.ts";
import { FileLock } from "./file-lock.ts";
import { followLinks, readPrivateFile, stampAt, type FileVersion } from "./private-file.ts";

export class LockedFile {
  /** As it was named, absolute. */
  readonly path: string;

  /** @throws {FileError} `unreadable` when its folder does not exist. */
  constructor(path: string) {
    this.path = resolve(path);
    this.#find();
  }

  /** The file itself, after symbolic links, as they are now. @throws {FileError} `unreadable`. */
  get target(): string {
    return this.#find();
  }

  /** The stamp of the file as it is now, without reading it. @throws {FileError} `unreadable`. */
  stamp(): string {
    return stampAt(this.path);
  }

  /** @throws {FileError} `unsafe`, `unreadable`, or `corrupt` when it is not UTF-8. */
  read(): FileVersion {
    return readPrivateFile(this.path);
  }

  /**
   * Replaces the file by what `change` makes of its present content; its stamp. Durable when this resolves.
   *
   * `change` runs under the lock; it returns the new text, or null to leave the file as it is, or throws, and then
   * nothing has happened.
   *
   * @throws {FileError} `locked` after {@link LOCK_TIMEOUT_MS}, `unwritable` when the disk would not take it: the old
   *   file is untouched.
   */
  update(change: (current: FileVersion) => string | null): Promise<string> {
    return this.#locked(async (target, lock) => {
      const current = this.read();
      const text = change(current);
      return text === null ? current.stamp : replaceFile(target, text, () => lock.confirm());
    });
  }

  /**
   * Makes the file, of what `content` gives, unless there is one; true when it did. Leaves no lock file behind.
   *
   * @throws {FileError} as {@link update}.
   */
  create(content: () => string): Promise<boolean> {
    return this.#locked(async (target, lock) => {
      try {
        if (this.read().text !== null) return false;
        await replaceFile(target, content(), () => lock.confirm());
        return true;
      } finally {
        lock.remove();
      }
    });
  }

  /**
   * Replaces the file by `text`, whatever it holds. Leaves no lock file behind.
   *
   * @throws {FileError} as {@link update}.
   */
  async replace(text: string): Promise<void> {
    await this.#locked(async (target, lock) => {
      try {
        await replaceFile(target, text, () => lock.confirm());
      } finally {
        lock.remove();
      }
    });
  }

  /**
   * Could a change be written? Writes the present content to the disk beside the file, and leaves no trace of that.
   *
   * @throws {FileError} as {@link update}; `unwritable` for a file that is mounted as such, too.
   */
  tryToWrite(): Promise<void> {
    return this.#locked(async (target, lock) => {
      try {
        const mount = mountAt(target);
        if (mount !== undefined) throw mountedAlone(target, mount);
        await tryToWrite(target, this.read().text ?? "");
      } finally {
        if (lock.isNew) lock.remove();
      }
    });
  }

  async #locked<T>(work: (target: string, lock: FileLock) => Promise<T>): Promise<T> {
    for (;;) {
      const target = this.#find();
      using lock = await FileLock.of(target);
      if (this.#find() !== target) continue; // a link was turned while the lock was waited for
      try {
        removeOrphans(target);
        return await work(target, lock);
      } catch (error) {
        // What a change itself throws is its own; what the system says is about the file.
        throw systemCode(error) === undefined || error instanceof ParleyError
          ? error
          : unwritable(target, error);
      }
    }
  }

  #find(): string {
    const target = followLinks(this.path);
    const folder = dirname(target);
    try {
      return join(realpathSync(folder), basename(target));
    } catch (error) {
      const why =
        systemCode(error) === "ENOENT"
          ? `there is no folder ${folder}`
          : `cannot use ${folder}: ${whyRefused(error)}`;
      throw new FileError("unreadable", why, { cause: error });
    }
  }
}
