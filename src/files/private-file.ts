// Files that hold secrets: read as sshd's StrictModes does, a plain file, ours, and nobody else's to read or write.

import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
  type Stats,
} from "node:fs";
import { userInfo } from "node:os";
import { dirname, resolve } from "node:path";
import { ParleyError, reasonOf, systemCode } from "../errors.ts";
import { shellQuote } from "../shell-quote.ts";

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
    fd = openForReading(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") {
      // Before anything is made there: what could not be read again is not to be written.
      if (existsSync(dirname(path))) checkFolders(path);
      return { text: null, stamp: "" };
    }
    throw new FileError("unreadable", `cannot read ${path}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  try {
    const stats = fstatSync(fd);
    checkPlain(path, stats);
    checkPrivate(path, stats);
    checkFolders(path);
    const bytes = readAll(fd, stats.size);
    return { text: decode(path, bytes), stamp: stampOf(stats) };
  } finally {
    closeSync(fd);
  }
}

/**
 * Reads a plain file that is no secret, a certificate for one; undefined when there is none.
 *
 * @throws {FileError} `unreadable`, or `corrupt` when it is not UTF-8.
 */
export function readPublicFile(path: string): string | undefined {
  let fd: number | undefined;
  try {
    fd = openForReading(followLinks(path));
    const stats = fstatSync(fd);
    checkPlain(path, stats);
    return decode(path, readAll(fd, stats.size));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    if (error instanceof FileError) throw error;
    throw new FileError("unreadable", `cannot read ${path}: ${reasonOf(error)}`);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Opening a FIFO must not hang. */
function openForReading(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

function checkPlain(path: string, stats: Stats): void {
  if (stats.isFile()) return;
  throw new FileError("unreadable", `${path} is not a plain file`, {
    hint: "name a plain file: no folder, pipe or device will do",
  });
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
  const uid = process.geteuid?.();
  if (uid !== undefined && uid !== 0 && stats.uid !== uid && stats.uid !== 0) {
    throw new FileError("unsafe", `${path} belongs to another user (uid ${stats.uid})`, {
      hint: `make it yours: sudo chown ${uid} ${shellQuote(path)}`,
    });
  }
  if ((stats.mode & 0o077) !== 0) {
    const mode = (stats.mode & 0o777).toString(8);
    throw new FileError("unsafe", `${path} has mode ${mode}: others could read or change it`, {
      hint: `make it private: chmod 600 ${shellQuote(path)}`,
    });
  }
}

/**
 * Checks the folders above a file: whoever may write to one may put another file in its place.
 *
 * @throws {FileError} `unsafe`, with the command that mends it.
 */
export function checkFolders(path: string): void {
  const uid = process.geteuid?.();
  // As they are, not as links name them: what counts is where the file is.
  for (let folder = realpathSync(dirname(resolve(path))); ; folder = dirname(folder)) {
    const stats = statSync(folder);
    if (isOpen(stats)) {
      const mode = (stats.mode & 0o777).toString(8);
      throw new FileError("unsafe", `${folder} has mode ${mode}: others could replace ${path}`, {
        hint: `keep them out: chmod go-w ${shellQuote(folder)}`,
      });
    }
    // Root may keep what belongs to those for whom it works, and they are trusted with it.
    if (uid !== undefined && uid !== 0 && stats.uid !== uid && stats.uid !== 0) {
      throw new FileError("unsafe", `${folder} belongs to another user (uid ${stats.uid})`, {
        hint: "keep such files in a folder of your own: --data DIR",
      });
    }
    if (folder === dirname(folder)) return;
  }
}

/** May somebody else put files there? In a sticky folder nobody can take away what is another's. */
function isOpen({ mode, gid }: Stats): boolean {
  if ((mode & 0o1000) !== 0 || (mode & 0o022) === 0) return false;
  return (mode & 0o002) !== 0 || !isOwnGroup(gid);
}

/** A group that has no member but this user, as Debian makes one for each: its permissions are the user's own. */
function isOwnGroup(gid: number): boolean {
  if (gid !== process.getegid?.() || gid === 0) return false;
  try {
    const lines = readFileSync("/etc/group", "utf8").split("\n");
    const group = lines.map((line) => line.split(":")).find((fields) => fields[2] === String(gid));
    return group !== undefined && group[0] === userInfo().username && group[3] === "";
  } catch {
    return false; // nobody says so
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
    throw new ParleyError("failed", `cannot make the folder ${folder}: ${reasonOf(error)}`, {
      hint: "choose another with --data DIR",
      cause: error,
    });
  }
}

/**
 * Makes a file of mode 0600 that holds `text`, whole or not at all; false, and nothing done, when there is one already.
 *
 * @throws {FileError} `unwritable`.
 */
export function createPrivateFile(path: string, text: string): boolean {
  return placeFile(path, text, linkSync);
}

/** As {@link createPrivateFile}, in place of what is there. */
export function writePrivateFile(path: string, text: string): void {
  placeFile(path, text, renameSync);
}

function placeFile(path: string, text: string, place: (from: string, to: string) => void): boolean {
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const fd = openSync(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      fchmodSync(fd, 0o600); // whatever the umask
      writeFully(fd, Buffer.from(text));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    place(temporary, path);
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw new FileError("unwritable", `cannot write ${path}: ${reasonOf(error)}`, {
      cause: error,
    });
  } finally {
    removeIfThere(temporary);
  }
}

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
