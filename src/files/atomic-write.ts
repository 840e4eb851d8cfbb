// Replaces a file atomically: a process that is killed at any point leaves the old file or the new one, and at most one
// temporary file, which the next change of the same file removes.
//
//     create .NAME.PID.RANDOM.tmp → write → fsync → rename → fsync of the folder
//
// Only locked-file.ts replaces files, and it holds the file's lock meanwhile. Other files use the two helpers at the end.

import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsync,
  ftruncateSync,
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
import { FileError, unsynced, unwritable } from "./file-error.ts";
import { stampOf } from "./private-file.ts";

/** The end of a temporary file's name: process id and random digits. */
const TEMPORARY = /^\d+\.[0-9a-f]{12}\.tmp$/;
/** fsync off the event loop, since it is the slow part of a change. */
const sync = promisify(fsync);
/** How long slices are written before other work has its turn, in milliseconds. */
const SLICE_MS = 2;

/** How a file may be changed. */
export interface ChangeContext {
  rights: Rights;
  /** Called right before the new file gets its name. @throws when the change must not be made any more. */
  confirm(this: void): void;
}

/**
 * Replaces the file at `path` by one of mode 0600 that holds `text`. The change is durable when this resolves.
 *
 * @param path absolute, not a symbolic link.
 * @param text whole, or in slices: other work has its turn between them.
 * @param model the file whose access the new one gets in root's folder, see {@link keepAccess}.
 * @returns the stamp of the new file.
 * @throws {FileError} `unwritable`: the old file is untouched. `unsynced`: only the disk's confirmation is missing.
 */
export async function replaceFile(
  path: string,
  text: string | Iterable<string>,
  { rights, confirm }: ChangeContext,
  model = path,
): Promise<string> {
  const temporary = temporaryFor(path);
  let fd: number | undefined;
  let folder: number | undefined;
  try {
    try {
      folder = rights.use(() => openSync(dirname(path), constants.O_RDONLY));
      fd = await createTemporary(temporary, model, text, rights);
      confirm();
      rights.use(() => renameSync(temporary, path));
    } catch (error) {
      if (fd !== undefined) rights.use(() => removeIfThere(temporary));
      throw error instanceof FileError ? error : unwritable(path, error);
    }
    try {
      // By descriptor, since another process may have replaced the file already; after the rename, which changes the times.
      const stamp = stampOf(fstatSync(fd, { bigint: true }));
      await syncFolder(folder);
      return stamp;
    } catch (error) {
      throw unsynced(path, error);
    }
  } finally {
    if (fd !== undefined) closeSync(fd);
    if (folder !== undefined) closeSync(folder);
  }
}

/**
 * Appends `bytes` to the file at `path`, at `offset`: what stands behind that is the torn end that a killed process left, and is
 * cut off. The change is durable when this resolves.
 *
 * @throws {FileError} `unwritable`: at most a torn end was appended. `unsynced`: only the disk's confirmation is missing.
 */
export async function appendToFile(
  path: string,
  offset: number,
  bytes: Uint8Array,
  { rights, confirm }: ChangeContext,
): Promise<void> {
  let fd: number | undefined;
  try {
    try {
      fd = rights.use(() => openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK));
      const { size } = fstatSync(fd);
      if (size < offset) throw new Error(`EIO: it has become shorter`);
      if (size > offset) ftruncateSync(fd, offset);
      confirm();
      writeFully(fd, bytes, offset);
    } catch (error) {
      throw error instanceof FileError ? error : unwritable(path, error);
    }
    try {
      await sync(fd);
    } catch (error) {
      throw unsynced(path, error);
    }
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Finds out whether there is room and permission: writes `text` to the disk beside `path`, and removes it again.
 *
 * @throws {FileError} `unwritable`.
 */
export async function tryToWrite(
  path: string,
  text: string | Iterable<string>,
  rights: Rights,
): Promise<void> {
  const temporary = temporaryFor(path);
  try {
    closeSync(await createTemporary(temporary, path, text, rights));
    rights.use(() => unlinkSync(temporary));
  } catch (error) {
    throw unwritable(path, error);
  }
}

/**
 * Removes the temporary files of killed processes. The caller holds the lock of `path`, so each temporary file of it is an
 * orphan. An orphan that cannot be removed, such as another user's, stays; it does not prevent a change.
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

/** Writes `text` durably to a new file at `temporary`, and returns its descriptor. The file is removed when anything fails. */
async function createTemporary(
  temporary: string,
  model: string,
  text: string | Iterable<string>,
  rights: Rights,
): Promise<number> {
  const fd = rights.use(() => createFile(temporary, constants.O_WRONLY, 0o600));
  try {
    if (rights.person?.uid === 0) keepAccess(model, fd);
    await writeSlices(fd, typeof text === "string" ? [text] : text);
    await sync(fd);
    return fd;
  } catch (error) {
    closeSync(fd);
    rights.use(() => removeIfThere(temporary));
    throw error;
  }
}

/**
 * Keeps a file of root's folder usable after root has replaced it: the new file gets the owner and the group of `model`, and the
 * group may read it if it can read that, as a service's group may.
 *
 * @param model the old file, or the one that it belongs to.
 */
function keepAccess(model: string, fd: number): void {
  const stats = lstatSync(model, { throwIfNoEntry: false });
  if (stats === undefined) return;
  fchownSync(fd, stats.uid, stats.gid);
  fchmodSync(fd, 0o600 | (stats.uid === 0 ? stats.mode & 0o040 : 0));
}

/** Syncs a folder. Some file systems refuse to, and their renames cannot be made more durable. */
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

/** Writes slices one by one, and lets other work have its turn between them. */
async function writeSlices(fd: number, slices: Iterable<string>): Promise<void> {
  let since = performance.now();
  for (const slice of slices) {
    writeFully(fd, Buffer.from(slice));
    if (performance.now() - since < SLICE_MS) continue;
    await new Promise((resolve) => setImmediate(resolve));
    since = performance.now();
  }
}

/** Writes all of `bytes`, at `start` in the file or at its present place. A single write may be partial, on a pipe or a nearly full disk. */
export function writeFully(fd: number, bytes: Uint8Array, start?: number): void {
  for (let offset = 0; offset < bytes.length;) {
    const at = start === undefined ? null : start + offset;
    const written = writeSync(fd, bytes, offset, bytes.length - offset, at);
    if (written <= 0) throw new Error("EIO: nothing was written");
    offset += written;
  }
}
