// The lock of a file that many processes change: flock(2) on a file of its own beside it. The kernel releases it when its
// holder dies, so that a killed process holds up no other.

import { closeSync, constants, existsSync, fchmodSync, fstatSync, lstatSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { systemCode } from "../errors.ts";
import { flock, LOCK_EXCLUSIVE_NONBLOCKING, userNameOf } from "../libc.ts";
import { LOCK_TIMEOUT_MS } from "../limits.ts";
import { shellQuote } from "../shell-quote.ts";
import { removeIfThere } from "./atomic-write.ts";
import { openOrCreate } from "./create.ts";
import { FileError, whyRefused } from "./file-error.ts";

/** The longest pause between two tries for a lock, in milliseconds. */
const MAX_PAUSE_MS = 5;

export class FileLock implements Disposable {
  readonly #fd: number;
  readonly #path: string;
  /** Was there no lock file before? */
  readonly isNew: boolean;

  private constructor(fd: number, path: string, isNew: boolean) {
    this.#fd = fd;
    this.#path = path;
    this.isNew = isNew;
  }

  /**
   * Waits for the lock of the file at `path`.
   *
   * @throws {FileError} `locked` when another process holds it for {@link LOCK_TIMEOUT_MS}; `unwritable` when there can be
   *   no lock.
   */
  static async of(path: string): Promise<FileLock> {
    const lock = join(dirname(path), `.${basename(path)}.lock`);
    const deadline = performance.now() + LOCK_TIMEOUT_MS;
    const isNew = !existsSync(lock);
    for (let pause = 1; ; pause = Math.min(MAX_PAUSE_MS, pause + 1)) {
      const fd = tryLock(lock, path);
      if (fd !== undefined) return new FileLock(fd, lock, isNew);
      if (performance.now() > deadline) {
        throw new FileError("locked", `another process has held ${lock} for ${LOCK_TIMEOUT_MS / 1000} s`, {
          hint: "is a parley process stopped or hanging? end it and try again",
        });
      }
      await delay(pause);
    }
  }

  /** @throws {FileError} `locked` when the lock file was taken away: another process may have a new one by now. */
  confirm(): void {
    if (isAt(this.#fd, this.#path)) return;
    throw new FileError("locked", `the lock ${this.#path} was removed while it was held`, {
      hint: "nothing was changed: try again, and leave lock files alone",
    });
  }

  /** Removes the lock file, while it is held: for files that are written once. The next holder sees that it is gone. */
  remove(): void {
    removeIfThere(this.#path);
  }

  /** Releases the lock. */
  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** A descriptor that holds the lock file at `lock`; undefined while another process does. */
function tryLock(lock: string, path: string): number | undefined {
  let fd: number | undefined;
  try {
    // Private, since a process that can open it can hold it.
    fd = openOrCreate(lock, constants.O_RDWR, 0o600);
    const { mode, uid } = fstatSync(fd);
    if ((mode & 0o077) !== 0 && uid === process.geteuid?.()) fchmodSync(fd, 0o600);
    if (flock(fd, LOCK_EXCLUSIVE_NONBLOCKING) && isAt(fd, lock)) return fd;
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    throw noLock(lock, path, error);
  }
  closeSync(fd);
  return undefined;
}

/** Is the open file still the one at `path`? One that was removed meanwhile locks nothing. */
function isAt(fd: number, path: string): boolean {
  try {
    const [held, there] = [fstatSync(fd), lstatSync(path)];
    return held.ino === there.ino && held.dev === there.dev;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}

function noLock(lock: string, path: string, error: unknown): FileError {
  return new FileError("unwritable", `cannot write ${path}: its lock ${lock} ${whyNot(lock, error)}`, {
    hint: hintFor(lock, error),
    cause: error,
  });
}

function whyNot(lock: string, error: unknown): string {
  const owner = systemCode(error) === "EACCES" ? ownerOf(lock) : undefined;
  if (owner === undefined) return `cannot be had: ${whyRefused(error)}`;
  return `belongs to another user (${userNameOf(owner) ?? `uid ${owner}`})`;
}

function hintFor(lock: string, error: unknown): string {
  switch (systemCode(error)) {
    case "EACCES": {
      const owner = ownerOf(lock);
      if (owner === undefined) return "the file is as it was before";
      return `give the lock to yourself: sudo chown ${process.geteuid?.()} ${shellQuote(lock)}`;
    }
    case "ENOLCK":
    case "EOPNOTSUPP":
    case "ENOSYS":
      return "this file system has no locks: use a folder on a local disk (--data DIR), or mount NFS with local_lock=flock";
    default:
      return "the file is as it was before";
  }
}

/** The owner of the lock file, when that is another user; undefined when there is none, or it is this user. */
function ownerOf(lock: string): number | undefined {
  try {
    const { uid } = lstatSync(lock);
    return uid === process.geteuid?.() ? undefined : uid;
  } catch {
    return undefined; // not there, or not to be seen: the folder is what refuses
  }
}
