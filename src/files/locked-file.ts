// One file that many processes change: replaced whole, never torn, no change lost.
//
//     find → lock → find again → remove orphans → read → change → find again → replace → unlock
//
// A change is decided from what is read under the lock, and is said to be made when it is durable. Symbolic links are
// followed anew for each read and each change: a link that was turned to another file leads every process there. What is
// locked, read and replaced is the one file that was found. Root has the rights of the user who controls the path.

import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { ParleyError, systemCode } from "../base/errors.ts";
import { mountAt } from "../os/mounts.ts";
import { Rights } from "../os/rights.ts";
import { removeOrphans, replaceFile, tryToWrite, type Hand } from "./atomic-write.ts";
import { FileError, mountedAlone, unreadable, unwritable, whyRefused } from "./file-error.ts";
import { FileLock } from "./file-lock.ts";
import { linksFrom, readAt, stampAt, type FileVersion } from "./private-file.ts";

export class LockedFile {
  /** As it was named, absolute. */
  readonly path: string;
  #rights: Rights;

  /** @throws {FileError} `unreadable` when its folder does not exist. */
  constructor(path: string) {
    this.path = resolve(path);
    this.#rights = this.#rightsNow();
    this.#find(this.#rights);
  }

  /** The file itself, after symbolic links, as they are now. @throws {FileError} `unreadable`. */
  get target(): string {
    return this.#find(this.#rights).target;
  }

  /** The stamp of the file as it is now, without reading it. @throws {FileError} `unreadable`. */
  stamp(): string {
    return this.#rights.use(() => stampAt(this.path, this.#rights.person));
  }

  /** @throws {FileError} `unsafe`, `unreadable`, or `corrupt` when it is not UTF-8. */
  read(): FileVersion {
    this.#rights = this.#rightsNow();
    return this.#read(this.#find(this.#rights), this.#rights);
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
    return this.#locked(async (place, hand) => {
      const current = this.#read(place, hand.rights);
      const text = change(current);
      return text === null ? current.stamp : replaceFile(place.target, text, hand);
    });
  }

  /**
   * Makes the file, of what `content` gives, unless there is one; true when it did. Leaves no lock file behind.
   *
   * @throws {FileError} as {@link update}.
   */
  create(content: () => string): Promise<boolean> {
    return this.#locked(async (place, hand, lock) => {
      try {
        if (this.#read(place, hand.rights).text !== null) return false;
        await replaceFile(place.target, content(), hand);
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
    await this.#locked(async ({ target }, hand, lock) => {
      try {
        await replaceFile(target, text, hand);
      } finally {
        lock.remove();
      }
    });
  }

  /**
   * Could a change be written? Writes the present content, or `text`, to the disk beside the file, and leaves no trace of
   * that.
   *
   * @throws {FileError} as {@link update}; `unwritable` for a file that is mounted as such, too.
   */
  tryToWrite(text?: string): Promise<void> {
    return this.#locked(async (place, { rights }, lock) => {
      try {
        const mount = mountAt(place.target);
        if (mount !== undefined) throw mountedAlone(place.target, mount);
        await tryToWrite(place.target, text ?? this.#read(place, rights).text ?? "", rights);
      } finally {
        if (lock.isNew) lock.remove();
      }
    });
  }

  async #locked<T>(work: (place: Place, hand: Hand, lock: FileLock) => Promise<T>): Promise<T> {
    const rights = (this.#rights = this.#rightsNow());
    for (;;) {
      const place = this.#find(rights);
      const { target } = place;
      using lock = await FileLock.of(target, rights);
      if (this.#find(rights).target !== target) continue; // a link was turned while the lock was waited for
      const confirm = () => {
        lock.confirm();
        if (this.#find(rights).target !== target) throw turned(this.path);
      };
      try {
        rights.use(() => removeOrphans(target));
        return await work(place, { rights, confirm }, lock);
      } catch (error) {
        // What a change itself throws is its own; what the system says is about the file.
        throw isOfSystem(error) ? unwritable(target, error) : error;
      }
    }
  }

  #read(place: Place, rights: Rights): FileVersion {
    try {
      return rights.use(() => readAt(place.hops, rights.person));
    } catch (error) {
      throw isOfSystem(error) ? unreadable(this.path, error) : error;
    }
  }

  #rightsNow(): Rights {
    try {
      return Rights.within(dirname(this.path));
    } catch (error) {
      throw isOfSystem(error) ? noFolder(dirname(this.path), error, Rights.own) : error;
    }
  }

  #find(rights: Rights): Place {
    const hops = rights.use(() => {
      try {
        return linksFrom(this.path, rights.person);
      } catch (error) {
        throw isOfSystem(error) ? unreadable(this.path, error) : error;
      }
    });
    const last = hops.pop() ?? this.path;
    try {
      const target = join(
        rights.use(() => realpathSync(dirname(last))),
        basename(last),
      );
      return { target, hops: [...hops, target] };
    } catch (error) {
      throw isOfSystem(error) ? noFolder(dirname(last), error, rights) : error;
    }
  }
}

function noFolder(folder: string, error: unknown, rights: Rights): FileError {
  const code = systemCode(error);
  const why =
    code === "ENOENT" ? `there is no folder ${folder}` : `cannot use ${folder}: ${whyRefused(error)}`;
  const isShutOut = code === "EACCES" && rights.isAnothers;
  const hint = isShutOut
    ? `root uses it with the rights of its owner (uid ${rights.person?.uid}), who may not pass a folder above it`
    : undefined;
  return new FileError("unreadable", why, { hint, cause: error });
}

/** Where a file is. */
interface Place {
  /** Without links. */
  target: string;
  /** The places that lead there, the last one is the target: see {@link linksFrom}. */
  hops: readonly string[];
}

function isOfSystem(error: unknown): boolean {
  return systemCode(error) !== undefined && !(error instanceof ParleyError);
}

function turned(path: string): FileError {
  return new FileError("locked", `the symbolic link ${path} was turned to another file during the change`, {
    hint: "nothing was changed: try again",
  });
}
