// Replacing a file whole: a process that is killed at any point leaves the old file or the new one, and at most one
// temporary file, which the next change of the same file removes.
//
//     create .NAME.PID.RANDOM.tmp → write → fsync → rename → fsync of the folder
//
// Only files/locked-file.ts calls this, and holds the file's lock meanwhile.

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
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { systemCode } from "../base/errors.ts";
import type { Rights } from "../os/rights.ts";
import { createFile } from "./create.ts";
import { FileError, unwritable, whyRefused } from "./file-error.ts";
import { stampOf } from "./private-file.ts";

/** What follows the name in that of a temporary file: process id and random digits. */
const TEMPORARY = /^\d+\.[0-9a-f]{12}\.tmp$/;
/** The slow part of a change, off the event loop. */
const sync = promisify(fsync);

/** What a replacement is made with. */
export interface Hand {
  rights: Rights;
  /** Called right before the file is put in its place; throws when it must not be. */
  confirm(this: void): void;
}

/**
 * Puts a file of mode 0600 that holds `text` in the place of `path`; its stamp. Durable when this resolves.
 *
 * @param path absolute, no symbolic link.
 * @throws {FileError} `unwritable`: the old file is untouched, unless the message says that only the disk's confirmation
 *   is missing.
 */
export async function replaceFile(path: string, text: string, { rights, confirm }: Hand): Promise<string> {
  const temporary = temporaryFor(path);
  let fd: number | undefined;
  let folder: number | undefined;
  try {
    try {
      folder = rights.use(() => openSync(dirname(path), constants.O_RDONLY));
      fd = await createTemporary(temporary, path, text, rights);
      confirm();
      rights.use(() => renameSync(temporary, path));
    } catch (error) {
      if (fd !== undefined) rights.use(() => removeIfThere(temporary));
      throw error instanceof FileError ? error : unwritable(path, error);
    }
    try {
      // Of this very file, not of what may have taken its place by now; a rename changes a file's times.
      const stamp = stampOf(fstatSync(fd, { bigint: true }));
      await syncFolder(folder);
      return stamp;
    } catch (error) {
      const message = `${path} was changed, but the disk does not confirm it: ${whyRefused(error)}`;
      throw new FileError("unwritable", message, { cause: error });
    }
  } finally {
    if (fd !== undefined) closeSync(fd);
    if (folder !== undefined) closeSync(folder);
  }
}

/**
 * Writes `text` to the disk beside `path`, and removes it again: is there room, and permission?
 *
 * @throws {FileError} `unwritable`.
 */
export async function tryToWrite(path: string, text: string, rights: Rights): Promise<void> {
  const temporary = temporaryFor(path);
  try {
    closeSync(await createTemporary(temporary, path, text, rights));
    rights.use(() => unlinkSync(temporary));
  } catch (error) {
    throw unwritable(path, error);
  }
}

/**
 * Removes temporary files of killed processes. Under the lock of `path` every one is an orphan. One that cannot be removed,
 * another user's perhaps, stays, and stands in no change's way.
 */
export function removeOrphans(path: string): void {
  const prefix = `.${basename(path)}.`;
  for (const name of readdirSync(dirname(path))) {
    if (!name.startsWith(prefix) || !TEMPORARY.test(name.slice(prefix.length))) continue;
    try {
      unlinkSync(join(dirname(path), name));
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
    }
  }
}

function temporaryFor(path: string): string {
  const random = randomBytes(6).toString("hex");
  return join(dirname(path), `.${basename(path)}.${process.pid}.${random}.tmp`);
}

/** The descriptor of a whole, durable file at `temporary`; removed again when anything fails. */
async function createTemporary(
  temporary: string,
  path: string,
  text: string,
  rights: Rights,
): Promise<number> {
  const fd = rights.use(() => createFile(temporary, constants.O_WRONLY, 0o600));
  try {
    if (rights.person?.uid === 0) keepAccess(path, fd);
    writeFully(fd, Buffer.from(text));
    await sync(fd);
    return fd;
  } catch (error) {
    closeSync(fd);
    rights.use(() => removeIfThere(temporary));
    throw error;
  }
}

/**
 * Lets what root puts in the place of a file in root's own folder be used by those who could use that: its owner, and the
 * group of a service that may read root's.
 */
function keepAccess(path: string, fd: number): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  fchownSync(fd, stats.uid, stats.gid);
  fchmodSync(fd, 0o600 | (stats.uid === 0 ? stats.mode & 0o040 : 0));
}

/** Some file systems cannot sync a folder, and say so: their renames are as durable as they get. */
async function syncFolder(fd: number): Promise<void> {
  try {
    await sync(fd);
  } catch (error) {
    const code = systemCode(error);
    if (code !== "EINVAL" && code !== "ENOTSUP" && code !== "EOPNOTSUPP") throw error;
  }
}

/** Removes the file at `path`, if there is one. */
export function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

/** Writes all of `bytes`. A write may take only a part, on a pipe or a nearly full disk. */
export function writeFully(fd: number, bytes: Uint8Array): void {
  for (let offset = 0; offset < bytes.length;) {
    const written = writeSync(fd, bytes, offset, bytes.length - offset);
    if (written <= 0) throw new Error("EIO: nothing was written");
    offset += written;
  }
}
