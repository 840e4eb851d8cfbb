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
  fchmodSync,
  fchownSync,
  fstatSync,
  fsync,
  lstatSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  unlinkSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { messageOf, reasonOf, systemCode } from "../errors.ts";
import { flock, LOCK_EXCLUSIVE_NONBLOCKING } from "../libc.ts";
import { LOCK_TIMEOUT_MS } from "../limits.ts";
import {
  FileError,
  followLinks,
  readPrivateFile,
  removeIfThere,
  stampOf,
  writeFully,
  type FileVersion,
} from "./private-file.ts";

/** What follows the name in that of a temporary file: process id and random digits. */
const TEMPORARY = /^\d+\.[0-9a-f]{12}\.tmp$/;
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
      const folder = dirname(target);
      const why =
        systemCode(error) === "ENOENT"
          ? `there is no folder ${folder}`
          : `cannot use ${folder}: ${systemCode(error)}`;
      throw new FileError("unreadable", why, { cause: error });
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
    return readPrivateFile(this.path);
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
    } catch (error) {
      throw systemCode(error) === undefined || error instanceof FileError ? error : this.#unwritable(error);
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
      if ((fstatSync(fd).mode & 0o777) !== 0o600) fchmodSync(fd, 0o600); // whatever the umask
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
      await delay(pause);
    }
  }

  /** Removes temporary files of killed processes; under the lock every one is an orphan. */
  #sweep(): void {
    const prefix = `.${this.#name}.`;
    for (const name of readdirSync(this.#folder)) {
      if (!name.startsWith(prefix) || !TEMPORARY.test(name.slice(prefix.length))) continue;
      unlinkSync(join(this.#folder, name));
    }
  }

  async #replace(text: string): Promise<string> {
    const random = randomBytes(6).toString("hex");
    const temporary = join(this.#folder, `.${this.#name}.${process.pid}.${random}.tmp`);
    let folder: number | undefined;
    try {
      const fd = openSync(
        temporary,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
        0o600,
      );
      try {
        fchmodSync(fd, 0o600); // whatever the umask
        this.#keepOwner(fd);
        writeFully(fd, Buffer.from(text));
        await sync(fd);
      } finally {
        closeSync(fd);
      }
      folder = openSync(this.#folder, constants.O_RDONLY);
      renameSync(temporary, this.path);
    } catch (error) {
      if (folder !== undefined) closeSync(folder);
      removeIfThere(temporary);
      throw this.#unwritable(error);
    }
    try {
      const stamp = this.stamp();
      await sync(folder);
      return stamp;
    } catch (error) {
      const reason = reasonOf(error);
      throw new FileError(
        "unwritable",
        `${this.path} was changed, but the disk does not confirm it: ${reason}`,
        {
          cause: error,
        },
      );
    } finally {
      closeSync(folder);
    }
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
