// A file that several processes read and change. No change is lost, and no reader sees half of one.
//
//     find → lock → find again → remove orphans → read → change → find again → replace → unlock
//
// A change is decided from the content that was read under the lock, and is reported when it is durable. Symbolic links are
// followed anew for each read and each change, so a link that was changed leads every process to its new target. Locking, reading
// and replacing use the one file that was found. Root has the rights of the user who controls the path (os/rights.ts). The user
// file, the shared key, TLS identities, the history and a client's state are such files.

import { lstatSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { systemCode } from "../base/errors.ts";
import { mountAt } from "../os/mounts.ts";
import { Rights } from "../os/rights.ts";
import { appendToFile, removeOrphans, replaceFile, tryToWrite, type ChangeContext } from "./atomic-write.ts";
import { FileError, isSystemError, mountedAlone, unreadable, unwritable, whyRefused } from "./file-error.ts";
import { FileLock } from "./file-lock.ts";
import {
  linksFrom,
  readAt,
  readTailAt,
  stampAt,
  stampOf,
  type FileVersion,
  type Tail,
} from "./private-file.ts";

export class LockedFile {
  /** The path that was given, made absolute; it may be a symbolic link. */
  readonly path: string;
  #rights: Rights;

  /** @throws {FileError} `unreadable` when its folder does not exist. */
  constructor(path: string) {
    this.path = resolve(path);
    this.#rights = this.#rightsNow();
    this.#find(this.#rights);
  }

  /** The path after following the present symbolic links. @throws {FileError} `unreadable`. */
  get target(): string {
    return this.#find(this.#rights).target;
  }

  /** The present stamp of the file, without reading it. @throws {FileError} `unreadable`. */
  stamp(): string {
    return this.#rights.use(() => stampAt(this.path, this.#rights.person));
  }

  /**
   * The present stamps of the file and of a second one beside it, without opening them: logins ask for them all the time.
   *
   * @throws {FileError} `unreadable`.
   */
  stamps(beside: (target: string) => string): string {
    const { person } = this.#rights;
    try {
      return this.#rights.use(() => {
        const stats = lstatSync(this.path, { bigint: true, throwIfNoEntry: false });
        if (stats?.isSymbolicLink() !== true)
          return `${stats && stampOf(stats)} ${stampAt(beside(this.path), person)}`;
        const { target } = this;
        return `${stampAt(target, person)} ${stampAt(beside(target), person)}`;
      });
    } catch (error) {
      throw isSystemError(error) ? unreadable(this.path, error) : error;
    }
  }

  /** The present content. @throws {FileError} `unsafe`, `unreadable`, or `corrupt` when it is not UTF-8. */
  read(): FileVersion {
    this.#rights = this.#rightsNow();
    return this.#read(this.#find(this.#rights), this.#rights);
  }

  /**
   * Changes the file. The change is durable when this resolves.
   *
   * `change` runs under the lock. It returns the new text, whole or in slices, or null to leave the file as it is.
   * When it throws, the file is unchanged.
   *
   * @returns the stamp of the file.
   * @throws {FileError} `locked` after {@link LOCK_TIMEOUT_MS}; `unwritable` when the system refuses: the old file is untouched.
   */
  update(change: (current: FileVersion) => string | Iterable<string> | null): Promise<string> {
    return this.#locked(async (place, context) => {
      const current = this.#read(place, context.rights);
      const text = change(current);
      return text === null ? current.stamp : replaceFile(place.target, text, context);
    });
  }

  /**
   * Works under the lock, on the file and on a second one beside it, which belongs to it.
   *
   * @param beside the path of the second file, from the path of the first.
   * @throws {FileError} as {@link update}.
   */
  hold<T>(beside: (target: string) => string, work: (held: HeldFiles) => Promise<T>): Promise<T> {
    return this.#locked((place, context) => {
      const { rights } = context;
      const second = beside(place.target);
      rights.use(() => removeOrphans(second));
      return work({
        stamp: () => rights.use(() => stampAt(place.target, rights.person)),
        read: () => this.#read(place, rights),
        replace: (text) => replaceFile(place.target, text, context),
        readBeside: (offset) => readBeside(second, offset, rights),
        replaceBeside: async (text) => {
          expectNoMount(place.target); // what is written beside a single mounted file is not where that file is
          await replaceFile(second, text, context, place.target);
        },
        appendBeside: (offset, bytes) => appendToFile(second, offset, bytes, context),
      });
    });
  }

  /** Reads the second file from `offset` on, without the lock. @throws {FileError} as {@link read}. */
  readBeside(beside: (target: string) => string, offset: number): Tail | undefined {
    return readBeside(beside(this.target), offset, this.#rights);
  }

  /**
   * Creates the file with the text that `content` returns, unless it exists. Leaves no lock file behind.
   *
   * @returns true when the file is new.
   * @throws {FileError} as {@link update}.
   */
  create(content: () => string): Promise<boolean> {
    return this.#locked(async (place, context, lock) => {
      try {
        if (this.#read(place, context.rights).text !== null) return false;
        await replaceFile(place.target, content(), context);
        return true;
      } finally {
        lock.remove();
      }
    });
  }

  /**
   * Replaces the content by `text`, without reading it. Leaves no lock file behind.
   *
   * @throws {FileError} as {@link update}.
   */
  async replace(text: string): Promise<void> {
    await this.#locked(async ({ target }, context, lock) => {
      try {
        await replaceFile(target, text, context);
      } finally {
        lock.remove();
      }
    });
  }

  /**
   * Finds out whether a change could be written: writes the present content, or `text`, whole or in slices, to the disk beside the file, and removes
   * it again.
   *
   * @param beside as with {@link hold}.
   * @throws {FileError} as {@link update}; also `unwritable` for a single mounted file.
   */
  tryToWrite(text?: string | Iterable<string>, beside?: (target: string) => string): Promise<void> {
    return this.#locked(async (place, { rights }, lock) => {
      try {
        expectNoMount(place.target);
        if (beside !== undefined) expectNoMount(beside(place.target));
        await tryToWrite(place.target, text ?? this.#read(place, rights).text ?? "", rights);
      } finally {
        if (lock.isNew) lock.remove();
      }
    });
  }

  async #locked<T>(work: (place: Place, context: ChangeContext, lock: FileLock) => Promise<T>): Promise<T> {
    const rights = (this.#rights = this.#rightsNow());
    for (;;) {
      const place = this.#find(rights);
      const { target } = place;
      using lock = await FileLock.acquire(target, rights);
      if (this.#find(rights).target !== target) continue; // a symbolic link was changed meanwhile
      const confirm = () => {
        lock.confirm();
        if (this.#find(rights).target !== target) throw linkChanged(this.path);
      };
      try {
        rights.use(() => removeOrphans(target));
        return await work(place, { rights, confirm }, lock);
      } catch (error) {
        throw isSystemError(error) ? unwritable(target, error) : error;
      }
    }
  }

  #read(place: Place, rights: Rights): FileVersion {
    try {
      return rights.use(() => readAt(place.hops, rights.person));
    } catch (error) {
      throw isSystemError(error) ? unreadable(this.path, error) : error;
    }
  }

  #rightsNow(): Rights {
    try {
      return Rights.within(dirname(this.path));
    } catch (error) {
      throw isSystemError(error) ? noFolder(dirname(this.path), error, Rights.own) : error;
    }
  }

  #find(rights: Rights): Place {
    const hops = rights.use(() => {
      try {
        return linksFrom(this.path, rights.person);
      } catch (error) {
        throw isSystemError(error) ? unreadable(this.path, error) : error;
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
      throw isSystemError(error) ? noFolder(dirname(last), error, rights) : error;
    }
  }
}

/** What may be done under the lock of a file that has a second one beside it. */
export interface HeldFiles {
  /** The present stamp of the first file. */
  stamp(): string;
  read(): FileVersion;
  /** Replaces the first file, and returns its stamp. */
  replace(text: string | Iterable<string>): Promise<string>;
  readBeside(offset: number): Tail | undefined;
  replaceBeside(text: string): Promise<void>;
  appendBeside(offset: number, bytes: Uint8Array): Promise<void>;
}

function readBeside(path: string, offset: number, rights: Rights): Tail | undefined {
  try {
    return rights.use(() => readTailAt(path, offset, rights.person));
  } catch (error) {
    throw isSystemError(error) ? unreadable(path, error) : error;
  }
}

/** @throws {FileError} `unwritable` for a single mounted file. */
function expectNoMount(path: string): void {
  const mount = mountAt(path);
  if (mount !== undefined) throw mountedAlone(path, mount);
}

function noFolder(folder: string, error: unknown, rights: Rights): FileError {
  const code = systemCode(error);
  const why =
    code === "ENOENT" ? `there is no folder ${folder}` : `cannot use ${folder}: ${whyRefused(error)}`;
  const isShutOut = code === "EACCES" && rights.isAnothers;
  const hint = isShutOut
    ? `let its owner (uid ${rights.person?.uid}) enter the folders above it: root uses it with the rights of that user`
    : undefined;
  return new FileError("unreadable", why, { hint, cause: error });
}

interface Place {
  /** The path of the file itself, without symbolic links. */
  target: string;
  /** Every path on the way to the target, which is the last one: see {@link linksFrom}. */
  hops: readonly string[];
}

function linkChanged(path: string): FileError {
  return new FileError("locked", `the symbolic link ${path} was changed during the update`, {
    hint: "try again: nothing was changed",
  });
}
