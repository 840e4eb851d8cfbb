// The lock of a file that several processes change: flock(2) on a lock file beside it. The kernel releases the lock when its
// holder dies, so a killed process does not block the others. locked-file.ts takes it for each change.

import { closeSync, constants, existsSync, fchmodSync, fstatSync, lstatSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { systemCode } from "../base/errors.ts";
import { flock, LOCK_EXCLUSIVE_NONBLOCKING } from "../os/flock.ts";
import { userNameOf } from "../os/passwd.ts";
import type { Person, Rights } from "../os/rights.ts";
import { LOCK_TIMEOUT_MS } from "../base/limits.ts";
import { shellQuote } from "../base/shell-quote.ts";
import { removeIfThere } from "./atomic-write.ts";
import { openOrCreate } from "./create.ts";
import { FileError, whyRefused } from "./file-error.ts";

/** The longest pause between two tries for a lock, in milliseconds. */
const MAX_PAUSE_MS = 5;

export class FileLock implements Disposable {
  readonly #fd: number;
  readonly #path: string;
  readonly #rights: Rights;
  /** True when the lock file did not exist before. */
  readonly isNew: boolean;

  private constructor(fd: number, path: string, isNew: boolean, rights: Rights) {
    this.#fd = fd;
    this.#path = path;
    this.isNew = isNew;
    this.#rights = rights;
  }

  /**
   * Waits for the lock of the file at `path`.
   *
   * @param rights those with which the lock file is used.
   * @throws {FileError} `locked` when another process holds it for {@link LOCK_TIMEOUT_MS}; `unwritable` when the lock file
   *   cannot be used.
   */
  static async acquire(path: string, rights: Rights): Promise<FileLock> {
    const lock = join(dirname(path), `.${basename(path)}.lock`);
    const deadline = performance.now() + LOCK_TIMEOUT_MS;
    const isNew = rights.use(() => !existsSync(lock));
    for (let pause = 1; ; pause = Math.min(MAX_PAUSE_MS, pause + 1)) {
      const fd = rights.use(() => tryLock(lock, path, rights.person));
      if (fd !== undefined) return new FileLock(fd, lock, isNew, rights);
      if (performance.now() > deadline) {
        throw new FileError("locked", `another process has held ${lock} for ${LOCK_TIMEOUT_MS / 1000} s`, {
          hint: "end the parley process that is stopped or hangs, and try again",
        });
      }
      await delay(pause);
    }
  }

  /** Checks that the lock still holds. @throws {FileError} `locked` when the lock file was removed or replaced. */
  confirm(): void {
    if (this.#rights.use(() => isAt(this.#fd, this.#path))) return;
    throw new FileError("locked", `the lock ${this.#path} was removed while it was held`, {
      hint: "try again, and do not remove lock files: nothing was changed",
    });
  }

  /** Removes the lock file, for a file that is written once. A process that waits for the removed file makes a new one. */
  remove(): void {
    this.#rights.use(() => removeIfThere(this.#path));
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** Locks the file at `lock`, and returns its descriptor; undefined while another process holds the lock. */
function tryLock(lock: string, path: string, person: Person | undefined): number | undefined {
  let fd: number | undefined;
  try {
    // Private, since any process that can open the file can hold the lock.
    fd = openOrCreate(lock, constants.O_RDWR, 0o600);
    const { mode, uid, nlink } = fstatSync(fd);
    if ((mode & 0o077) !== 0 && uid === person?.uid && nlink === 1) fchmodSync(fd, 0o600);
    if (flock(fd, LOCK_EXCLUSIVE_NONBLOCKING) && isAt(fd, lock)) return fd;
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    throw noLock(lock, path, error, person);
  }
  closeSync(fd);
  return undefined;
}

/** True when the open file is still the one at `path`. A lock on a removed file excludes no other process. */
function isAt(fd: number, path: string): boolean {
  try {
    const [held, there] = [fstatSync(fd), lstatSync(path)];
    return held.ino === there.ino && held.dev === there.dev;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}

function noLock(lock: string, path: string, error: unknown, person: Person | undefined): FileError {
  const cannot = `cannot write ${path}: its lock ${lock}`;
  const code = systemCode(error);
  const owner = code === "EACCES" ? ownerOf(lock) : undefined;
  if (owner !== undefined && owner !== person?.uid) {
    const who = userNameOf(owner) ?? `uid ${owner}`;
    return new FileError("unwritable", `${cannot} belongs to another user (${who})`, {
      hint: `change its owner: sudo chown ${person?.uid} ${shellQuote(lock)}`,
      cause: error,
    });
  }
  const hasNone = code === "ENOLCK" || code === "EOPNOTSUPP" || code === "ENOSYS";
  return new FileError("unwritable", `${cannot} is not available: ${whyRefused(error)}`, {
    hint: hasNone
      ? "use a folder on a local disk (--data DIR), or mount NFS with local_lock=flock: this file system has no locks"
      : "fix the cause and try again: the file is unchanged",
    cause: error,
  });
}

/** The owner of the lock file; undefined when there is none, or the folder cannot be searched. */
function ownerOf(lock: string): number | undefined {
  try {
    return lstatSync(lock).uid;
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return undefined;
  }
}
