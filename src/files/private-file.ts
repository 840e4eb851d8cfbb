// Reading files: of secrets, which must be plain files that no other user could read or replace, and public ones.

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
import { ParleyError, systemCode } from "../base/errors.ts";
import { userNameOf } from "../os/passwd.ts";
import { Rights, type Person } from "../os/rights.ts";
import { shellQuote } from "../base/shell-quote.ts";
import { FileError, unreadable } from "./file-error.ts";
import { checkFolders, checkLink, checkPrivate } from "./strict-modes.ts";

/** The file's text and what tells one version from the next. */
export interface FileVersion {
  /** Null when there is no file. */
  text: string | null;
  /** Device, inode, size and times; equal stamps mean the same content. Empty when there is no file. */
  stamp: string;
}

const MAX_LINKS = 8;
/** A user file of 100,000 users has 44 MB; what is far above is none, and would stall a server that reads it. */
const MAX_FILE_BYTES = 512 * 1024 * 1024;

/**
 * Reads the file at `path`, through symbolic links; one that does not exist has a null text.
 *
 * @throws {FileError} `unreadable`, `unsafe`, or `corrupt` when it is not UTF-8.
 */
export function readPrivateFile(path: string): FileVersion {
  try {
    const rights = rightsTo(path);
    return rights.use(() => readAt(linksFrom(path, rights.person), rights.person));
  } catch (error) {
    throw isOfSystem(error) ? unreadable(path, error) : error;
  }
}

/** Those to read `path` with; where its folder is not there, there is nothing to read. */
function rightsTo(path: string): Rights {
  try {
    return Rights.within(dirname(resolve(path)));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return Rights.own;
    throw error;
  }
}

/**
 * As {@link readPrivateFile}, but at the places that {@link linksFrom} found, whatever is a link by now.
 *
 * @throws {FileError} or the system's error.
 */
export function readAt(hops: readonly string[], reader: Person | undefined): FileVersion {
  const target = hops.at(-1) ?? "";
  let fd: number;
  try {
    fd = openForReading(target);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw withOwner(target, error, reader);
    // What could not be read again must not be written: the folders are checked before anything is made there.
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

/** A file that this user may not read, since it is another's: with the command that changes that. */
function withOwner(path: string, error: unknown, reader: Person | undefined): unknown {
  if (systemCode(error) !== "EACCES" || reader === undefined) return error;
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined || stats.uid === reader.uid) return error;
  const who = userNameOf(stats.uid) ?? `uid ${stats.uid}`;
  return new FileError("unreadable", `cannot read ${path}: it belongs to another user (${who})`, {
    hint: `make it yours: sudo chown ${reader.uid} ${shellQuote(path)}`,
    cause: error,
  });
}

function isOfSystem(error: unknown): boolean {
  return systemCode(error) !== undefined && !(error instanceof ParleyError);
}

/**
 * Reads a plain file that is no secret, a certificate for one; undefined when there is none.
 *
 * @throws {FileError} `unreadable`, or `corrupt` when it is not UTF-8.
 */
export function readPublicFile(path: string): string | undefined {
  const bytes = readPublicBytes(path);
  return bytes && decode(path, bytes);
}

/** As {@link readPublicFile}, whatever the bytes are. @throws {FileError} `unreadable`. */
export function readPublicBytes(path: string): Uint8Array | undefined {
  let fd: number | undefined;
  try {
    const rights = rightsTo(path);
    fd = rights.use(() => openForReading(linksFrom(path, rights.person).at(-1) ?? path));
    const stats = fstatSync(fd);
    checkPlain(path, stats);
    return readAll(path, fd, stats.size);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    if (error instanceof FileError) throw error;
    throw unreadable(path, error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Opening a FIFO must not hang. */
function openForReading(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

function checkPlain(path: string, stats: Stats | BigIntStats): void {
  if (stats.isFile()) return;
  throw new FileError("unreadable", `${path} is not a plain file`, {
    hint: "name a plain file: no folder, pipe or device will do",
  });
}

/** Is it a device, or a link that stands for an open file of a process? Those are no files to be replaced. */
export function isSpecial(path: string): boolean {
  return /^\/(?:dev\/(?!shm\/)|proc\/)/.test(resolve(path));
}

/** Where the file at `path` really is, or would be made. @throws {FileError} `unreadable`, `unsafe`. */
export function followLinks(path: string, reader: Person | undefined): string {
  try {
    return linksFrom(path, reader).at(-1) ?? path;
  } catch (error) {
    throw isOfSystem(error) ? unreadable(path, error) : error;
  }
}

/**
 * `path`, and every place to which symbolic links of its last part lead from there; the last one is no link. Followed by
 * hand, since `realpath` of a file fails while another process renames it (measured with Bun 1.4.5: 5,358 of 275,447).
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
      if (systemCode(error) === "ENOENT") return hops; // not there yet: it will be made here
      throw error;
    }
    if (!stats.isSymbolicLink()) return hops;
    if (hops.length > MAX_LINKS) throw new FileError("unreadable", `too many symbolic links at ${path}`);
    checkLink(at, stats, reader);
    // From where the link really is: `..` in it is the folder above that.
    at = resolve(realpathSync(dirname(at)), readlinkSync(at));
  }
}

function readAll(path: string, fd: number, size: number): Uint8Array {
  if (size > MAX_FILE_BYTES) {
    throw new FileError("unreadable", `${path} has ${size} bytes, over the limit of ${MAX_FILE_BYTES}`);
  }
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

/** The stamp of the file at `path` as it is now, through symbolic links; empty when there is none. */
export function stampAt(path: string, reader: Person | undefined): string {
  try {
    const stats = lstatSync(path, { bigint: true });
    return stampOf(stats.isSymbolicLink() ? lstatSync(followLinks(path, reader), { bigint: true }) : stats);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return "";
    throw error;
  }
}

/** Tells one version of a file from the next: device, inode, size and times to the nanosecond. */
export function stampOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}
