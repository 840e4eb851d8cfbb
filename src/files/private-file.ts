// Reads files. A private file holds secrets: it must be a regular file that no other user could read or replace. A public file,
// such as a certificate, need only be a regular file. LockedFile, keys, TLS identities and the status files read through this.

import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  realpathSync,
  type BigIntStats,
  type Stats,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { systemCode } from "../base/errors.ts";
import { userNameOf } from "../os/passwd.ts";
import { Rights, type Person } from "../os/rights.ts";
import { shellQuote } from "../base/shell-quote.ts";
import { FileError, isSystemError, unreadable } from "./file-error.ts";
import { checkFolders, checkLink, checkPrivate, type FileCheck } from "./strict-modes.ts";

/** The content of a file at one moment. */
export interface FileVersion {
  /** Null when there is no file. */
  text: string | null;
  /** Device, inode, size and times. Equal stamps mean the same content. Empty when there is no file. */
  stamp: string;
}

/** The end of a file that others append to. */
export interface Tail {
  /** Device and inode: another file at the same path has another one. */
  id: string;
  /** Everything from the offset on; empty when the file is not that long. */
  bytes: Uint8Array;
  /** How long the file is. */
  size: number;
}

const MAX_LINKS = 8;
/** In bytes. A user file of 100,000 users has 44 MB; reading a far longer file would stall the server. */
const MAX_FILE_BYTES = 512 * 1024 * 1024;

/**
 * Reads the private file at `path`, through symbolic links. The text is null when there is no file.
 *
 * @throws {FileError} `unreadable`, `unsafe`, or `corrupt` when it is not UTF-8.
 */
export function readPrivateFile(path: string): FileVersion {
  try {
    const rights = rightsTo(path);
    return rights.use(() => readAt(linksFrom(path, rights.person), rights.person));
  } catch (error) {
    throw isSystemError(error) ? unreadable(path, error) : error;
  }
}

/** The rights to read `path` with. Without its folder there is no file to read, and any rights will do. */
function rightsTo(path: string): Rights {
  try {
    return Rights.within(dirname(resolve(path)));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return Rights.own;
    throw error;
  }
}

/**
 * Reads the private file at the end of `hops`, as {@link linksFrom} returned them, and follows no further links.
 *
 * @throws {FileError} as {@link readPrivateFile}, or the system's error.
 */
export function readAt(hops: readonly string[], reader: Person | undefined): FileVersion {
  const target = hops.at(-1) ?? "";
  let fd: number;
  try {
    fd = openForReading(target);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw withOwnerHint(target, error, reader);
    // A file that is made here must be readable later, so its folders are checked now.
    if (existsSync(dirname(target))) for (const hop of hops) checkFolders(hop, reader);
    return { text: null, stamp: "" };
  }
  try {
    const stats = fstatSync(fd, { bigint: true });
    checkPlain(target, stats);
    checkPrivate(target, fstatSync(fd), reader);
    for (const hop of hops) checkFolders(hop, reader);
    return { text: decode(target, readAll(target, fd, Number(stats.size))), stamp: stampOf(stats) };
  } finally {
    closeSync(fd);
  }
}

/**
 * Reads the private file at `path` from `offset` on; undefined when there is none. Follows no link.
 *
 * @throws {FileError} as {@link readPrivateFile}, or the system's error.
 */
export function readTailAt(path: string, offset: number, reader: Person | undefined): Tail | undefined {
  let fd: number;
  try {
    fd = openForReading(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw withOwnerHint(path, error, reader);
  }
  try {
    const stats = fstatSync(fd);
    checkPlain(path, stats);
    checkPrivate(path, stats, reader);
    checkFolders(path, reader);
    const { dev, ino, size } = stats;
    return { id: `${dev}:${ino}`, bytes: readAll(path, fd, Math.max(0, size - offset), offset), size };
  } finally {
    closeSync(fd);
  }
}

/** For a file of another user: an error whose hint has the command that changes the owner. Otherwise `error`. */
function withOwnerHint(path: string, error: unknown, reader: Person | undefined): unknown {
  if (systemCode(error) !== "EACCES" || reader === undefined) return error;
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined || stats.uid === reader.uid) return error;
  const who = userNameOf(stats.uid) ?? `uid ${stats.uid}`;
  return new FileError("unreadable", `cannot read ${path}: it belongs to another user (${who})`, {
    hint: `change its owner: sudo chown ${reader.uid} ${shellQuote(path)}`,
    cause: error,
  });
}

/**
 * Reads a public file as text; undefined when there is none.
 *
 * @throws {FileError} `unreadable`, or `corrupt` when it is not UTF-8.
 */
export function readPublicFile(path: string, check?: FileCheck): string | undefined {
  const bytes = readPublicBytes(path, check);
  return bytes && decode(path, bytes);
}

/** Reads a public file; undefined when there is none. @throws {FileError} `unreadable`. */
export function readPublicBytes(path: string, check?: FileCheck): Uint8Array | undefined {
  let fd: number | undefined;
  try {
    const rights = rightsTo(path);
    fd = rights.use(() => openForReading(linksFrom(path, rights.person).at(-1) ?? path));
    const stats = fstatSync(fd);
    checkPlain(path, stats);
    check?.(path, stats, rights.person);
    return readAll(path, fd, stats.size);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    if (error instanceof FileError) throw error;
    throw unreadable(path, error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Opens a file for reading. O_NONBLOCK, since opening a FIFO would wait for a writer. */
function openForReading(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

function checkPlain(path: string, stats: Stats | BigIntStats): void {
  if (stats.isFile()) return;
  throw new FileError("unreadable", `${path} is not a regular file`, {
    hint: "use a regular file, not a folder, pipe or device",
  });
}

/** True for a device, and for a path below `/proc` that stands for an open file: neither can be replaced. */
export function isSpecial(path: string): boolean {
  return /^\/(?:dev\/(?!shm\/)|proc\/)/.test(resolve(path));
}

/** The path of the file at `path` after following symbolic links; it need not exist. @throws {FileError} `unreadable`, `unsafe`. */
export function resolveSymlinks(path: string, reader: Person | undefined): string {
  try {
    return linksFrom(path, reader).at(-1) ?? path;
  } catch (error) {
    throw isSystemError(error) ? unreadable(path, error) : error;
  }
}

/**
 * Follows the symbolic links of the last part of `path`. Returns each path on the way, `path` first; the last is no link.
 * `realpath` is not used, since it fails while another process renames the file (measured with Bun 1.4.5: 5,358 of 275,447).
 *
 * @throws {FileError} `unreadable` for a circle, `unsafe` for a link of another user; or the system's error.
 */
export function linksFrom(path: string, reader: Person | undefined): string[] {
  const hops = [resolve(path)];
  for (let at = hops[0] ?? path; ; hops.push(at)) {
    let stats: Stats;
    try {
      stats = lstatSync(at);
    } catch (error) {
      if (systemCode(error) === "ENOENT") return hops; // no file yet
      throw error;
    }
    if (!stats.isSymbolicLink()) return hops;
    if (hops.length > MAX_LINKS) throw new FileError("unreadable", `too many symbolic links at ${path}`);
    checkLink(at, stats, reader);
    // Relative to the link's real folder: `..` in a target is the folder above that.
    at = resolve(realpathSync(dirname(at)), readlinkSync(at));
  }
}

function readAll(path: string, fd: number, size: number, offset = 0): Uint8Array {
  if (size > MAX_FILE_BYTES) {
    throw new FileError("unreadable", `${path} has ${size} bytes, more than the limit of ${MAX_FILE_BYTES}`);
  }
  const bytes = new Uint8Array(size);
  let length = 0;
  while (length < size) {
    const count = readSync(fd, bytes, length, size - length, offset + length);
    if (count === 0) break;
    length += count;
  }
  return bytes.subarray(0, length);
}

/** @throws {FileError} `corrupt`, naming `path`, when the bytes are not UTF-8. */
export function decode(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new FileError("corrupt", `${path} is not UTF-8 text`, {
      hint: "repair it by hand, or restore a copy: nothing was changed",
      cause: error,
    });
  }
}

/** The present stamp of the file at `path`, through symbolic links; empty when there is no file. */
export function stampAt(path: string, reader: Person | undefined): string {
  try {
    const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    if (stats === undefined) return ""; // an error would cost 10 µs
    return stampOf(
      stats.isSymbolicLink() ? lstatSync(resolveSymlinks(path, reader), { bigint: true }) : stats,
    );
  } catch (error) {
    if (systemCode(error) === "ENOENT") return "";
    throw error;
  }
}

/** The stamp of one version of a file: device, inode, size and times in nanoseconds. */
export function stampOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}
