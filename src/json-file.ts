// One JSON file that many processes change: replaced whole, never torn, no change lost.
//
// A change takes the kernel's lock, reads the file again, makes a temporary file beside it, fsyncs, renames, fsyncs the
// folder, and only then says so. A process killed at any point leaves the old file or the new one, and at most one
// temporary file, which the next change removes. The lock is released by the kernel when its holder dies.
//
//     lock → sweep → re-read → change → temp O_EXCL 0600 → write → fsync → rename → fsync folder → unlock

import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  fsync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  unlinkSync,
  type Stats,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { flock, LOCK_EXCLUSIVE_NONBLOCKING } from "./flock.ts";
import { LOCK_TIMEOUT_MS } from "./limits.ts";
import { writeFully } from "./log.ts";
import { ParleyError, messageOf, systemCode } from "./errors.ts";

/** `corrupt`: not what it should be, and left as it is. `unsafe`: others could read or change it. `locked`: no turn. */
export type FileErrorCode = "corrupt" | "unsafe" | "locked" | "unwritable" | "unreadable";

export class FileError extends ParleyError<FileErrorCode> {
  override name = "FileError";
}

/** The file's text and what tells one version from the next. */
export interface FileVersion {
  /** Null when there is no file. */
  text: string | null;
  /** Device, inode, size and times; equal stamps mean the same content. Empty when there is no file. */
  stamp: string;
}

const MAX_SYMLINKS = 8;
/** The slow part of a change, off the event loop. */
const sync = promisify(fsync);

export class JsonFile {
  /** The file itself, after symbolic links. */
  readonly path: string;
  readonly #folder: string;
  readonly #name: string;

  /** @throws {FileError} `unreadable` when its folder does not exist. */
  constructor(path: string) {
    const target = followLinks(path);
    try {
      this.#folder = realpathSync(dirname(target));
    } catch (error) {
      throw new FileError("unreadable", `there is no folder ${dirname(target)}`, { cause: error });
    }
    this.#name = basename(target);
    this.path = join(this.#folder, this.#name);
  }

  /** The folder to watch: watching the file itself ends with the first rename (measured). */
  get folder(): string {
    return this.#folder;
  }

  get name(): string {
    return this.#name;
  }

  /** The stamp of the file as it is now, without reading it. */
  stamp(): string {
    try {
      return stampOf(lstatSync(this.path));
    } catch (error) {
      if (systemCode(error) === "ENOENT") return "";
      throw error;
    }
  }

  /** @throws {FileError} `unsafe` or `unreadable`. */
  read(): FileVersion {
    let fd: number;
    try {
      // O_NONBLOCK: opening a FIFO must not hang.
      fd = openSync(this.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      if (systemCode(error) === "ENOENT") return { text: null, stamp: "" };
      throw new FileError(
        "unreadable",
        `cannot read ${this.path}: ${systemCode(error) ?? messageOf(error)}`,
        {
          cause: error,
        },
      );
    }
    try {
      const stats = fstatSync(fd);
      checkPrivate(this.path, stats);
      const bytes = readAll(fd, stats.size);
      return { text: decode(this.path, bytes), stamp: stampOf(stats) };
    } finally {
      closeSync(fd);
    }
  }

  /**
   * Replaces the file by what `change` makes of its present content; durable when this resolves.
   *
   * `change` runs under the lock; it returns the new text, or null to leave the file as it is, or throws, and then
   * nothing has happened.
   *
   * @throws {FileError} `locked` after {@link LOCK_TIMEOUT_MS}, `unwritable` when the disk would not take it: the old
   *   file is untouched.
   */
  async update(change: (current: FileVersion) => string | null): Promise<string> {
    const lock = await this.#lock();
    try {
      this.#sweep();
      const current = this.read();
      const text = change(current);
      return text === null ? current.stamp : await this.#replace(text);
    } finally {
      closeSync(lock);
    }
  }

  async #lock(): Promise<number> {
    const path = join(this.#folder, `.${this.#name}.lock`);
    let fd: number;
    try {
      // Never deleted: a lock file that comes and goes lets two in at once. Private, since whoever opens it may hold it.
      fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    } catch (error) {
      throw this.#unwritable(error);
    }
    const deadline = performance.now() + LOCK_TIMEOUT_MS;
    for (let pause = 1; ; pause = Math.min(5, pause + 1)) {
      try {
        if (flock(fd, LOCK_EXCLUSIVE_NONBLOCKING)) return fd;
      } catch (error) {
        closeSync(fd);
        throw error;
      }
      if (performance.now() > deadline) {
        closeSync(fd);
        throw new FileError("locked", `another process has held ${path} for ${LOCK_TIMEOUT_MS / 1000} s`, {
          hint: "is a parley process stopped or hanging? end it and try again",
        });
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** Removes temporary files of killed processes; under the lock every one is an orphan. */
  #sweep(): void {
    const prefix = `.${this.#name}.`;
    for (const name of readdirSync(this.#folder)) {
      if (name.startsWith(prefix) && name.endsWith(".tmp")) unlinkSync(join(this.#folder, name));
    }
  }

  async #replace(text: string): Promise<string> {
    const random = randomBytes(6).toString("hex");
    const temporary = join(this.#folder, `.${this.#name}.${process.pid}.${random}.tmp`);
    try {
      const fd = openSync(
        temporary,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
        0o600,
      );
      try {
        this.#keepOwner(fd);
        writeFully(fd, Buffer.from(text));
        await sync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(temporary, this.path);
    } catch (error) {
      removeIfThere(temporary);
      throw this.#unwritable(error);
    }
    const stamp = this.stamp();
    const folder = openSync(this.#folder, constants.O_RDONLY);
    try {
      await sync(folder);
    } finally {
      closeSync(folder);
    }
    return stamp;
  }

  /** A change made by root leaves the file to whom it belonged. */
  #keepOwner(fd: number): void {
    if (process.geteuid?.() !== 0) return;
    try {
      const { uid, gid } = lstatSync(this.path);
      fchownSync(fd, uid, gid);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
  }

  #unwritable(error: unknown): FileError {
    const code = systemCode(error);
    const reason = code === "ENOSPC" ? "the disk is full" : (code ?? messageOf(error));
    return new FileError("unwritable", `cannot write ${this.path}: ${reason}`, {
      hint: "the file is as it was before",
      cause: error,
    });
  }
}

/**
 * Makes `folder`, and those above it, private to this user.
 *
 * @throws {ParleyError} `failed` when it cannot be made.
 */
export function makePrivateFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new ParleyError(
      "failed",
      `cannot make the folder ${folder}: ${systemCode(error) ?? messageOf(error)}`,
      {
        hint: "choose another with --data DIR",
        cause: error,
      },
    );
  }
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

/** Follows symbolic links of the last part by hand: `realpath` of a file fails while another process renames (measured). */
function followLinks(path: string): string {
  let target = resolve(path);
  for (let hops = 0; hops < MAX_SYMLINKS; hops++) {
    let stats: Stats;
    try {
      stats = lstatSync(target);
    } catch {
      return target; // not there yet: it will be made here
    }
    if (!stats.isSymbolicLink()) return target;
    target = resolve(dirname(target), readlinkSync(target));
  }
  throw new FileError("unreadable", `too many symbolic links at ${path}`);
}

/** As sshd's StrictModes: a file of secrets is a plain file, ours, and nobody else's to read or write. */
function checkPrivate(path: string, stats: Stats): void {
  if (!stats.isFile()) throw new FileError("unreadable", `${path} is not a plain file`);
  const uid = process.geteuid?.();
  if (uid !== undefined && uid !== 0 && stats.uid !== uid && stats.uid !== 0) {
    throw new FileError("unsafe", `${path} belongs to another user (uid ${stats.uid})`, {
      hint: `make it yours: sudo chown ${uid} '${path}'`,
    });
  }
  if ((stats.mode & 0o077) !== 0) {
    const mode = (stats.mode & 0o777).toString(8);
    throw new FileError("unsafe", `${path} has mode ${mode}: others could read or change it`, {
      hint: `make it private: chmod 600 '${path}'`,
    });
  }
}

function readAll(fd: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let length = 0;
  while (length < size) {
    const count = readSync(fd, bytes, length, size - length, length);
    if (count === 0) break;
    length += count;
  }
  return bytes.subarray(0, length);
}

function decode(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new FileError("corrupt", `${path} is not UTF-8 text`, {
      hint: "nothing was changed: mend it by hand, or restore a copy",
      cause: error,
    });
  }
}

function stampOf(stats: Stats): string {
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeMs}:${stats.ctimeMs}`;
}
