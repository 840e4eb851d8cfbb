// Files that hold secrets: read as sshd's StrictModes does, a plain file, ours, and nobody else's to read or write.

import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  readSync,
  writeSync,
  type Stats,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { messageOf, ParleyError, systemCode } from "./errors.ts";

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

/**
 * Reads the file at `path`; one that does not exist has a null text.
 *
 * @throws {FileError} `unreadable`, `unsafe`, or `corrupt` when it is not UTF-8.
 */
export function readPrivateFile(path: string): FileVersion {
  let fd: number;
  try {
    // O_NONBLOCK: opening a FIFO must not hang.
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return { text: null, stamp: "" };
    throw new FileError("unreadable", `cannot read ${path}: ${systemCode(error) ?? messageOf(error)}`, {
      cause: error,
    });
  }
  try {
    const stats = fstatSync(fd);
    checkPrivate(path, stats);
    const bytes = readAll(fd, stats.size);
    return { text: decode(path, bytes), stamp: stampOf(stats) };
  } finally {
    closeSync(fd);
  }
}

/** Follows symbolic links of the last part by hand: `realpath` of a file fails while another process renames (measured). */
export function followLinks(path: string): string {
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

/** Tells one version of a file from the next: device, inode, size and times. */
export function stampOf(stats: Stats): string {
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeMs}:${stats.ctimeMs}`;
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

/** Writes all of `bytes`. A write may take only a part, on a pipe or a nearly full disk. */
export function writeFully(fd: number, bytes: Uint8Array): void {
  for (let offset = 0; offset < bytes.length;) {
    const written = writeSync(fd, bytes, offset, bytes.length - offset);
    if (written <= 0) throw new Error("EIO: nothing was written");
    offset += written;
  }
}
