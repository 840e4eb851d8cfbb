// Making files and folders. What root makes in a folder of another user belongs to that user: one `sudo parley users add`
// must not leave a lock, a log or a folder behind that the service's own user cannot use.

import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
import { ParleyError, systemCode } from "../errors.ts";
import { whyRefused } from "./file-error.ts";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY } = constants;

/**
 * Makes the file at `path`, with exactly `mode` whatever the umask, and opens it with `flags`.
 *
 * @throws the system's error: `EEXIST` when there is anything at `path`, a link too.
 */
export function createFile(path: string, flags: number, mode: number): number {
  const fd = openSync(path, flags | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  try {
    fchmodSync(fd, mode);
    giveToOwnerOf(dirname(path), fd);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Opens the file at `path` with `flags`, made with `mode` when there is none. Links are not followed. */
export function openOrCreate(path: string, flags: number, mode: number): number {
  for (;;) {
    try {
      return openSync(path, flags | O_NOFOLLOW);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
    try {
      return createFile(path, flags, mode);
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw error; // another process was first: its file is opened
    }
  }
}

/**
 * Gives an open file, just made by root, to the owner of `folder`.
 *
 * Only for what this process has made: a file that was there may be a hard link to one of root's.
 */
export function giveToOwnerOf(folder: string, fd: number): void {
  if (process.geteuid?.() !== 0) return;
  const { uid, gid } = statSync(folder);
  if (uid !== 0) give(fd, uid, gid);
}

/** Lets the replacement of the file at `path`, just made by root, be used by those who could use that. */
export function keepAccess(path: string, fd: number): void {
  if (process.geteuid?.() !== 0) return;
  try {
    const { uid, gid, mode } = lstatSync(path);
    if (uid !== 0) return give(fd, uid, gid);
    // Root's own may be readable for the group of a service. In a folder of another user it becomes that user's.
    if (fstatSync(fd).uid !== 0) return;
    give(fd, 0, gid);
    fchmodSync(fd, 0o600 | (mode & 0o040));
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

function give(fd: number, uid: number, gid: number): void {
  try {
    fchownSync(fd, uid, gid);
  } catch (error) {
    // Root of a container has no name for every owner, and root of another machine (NFS) may not give at all: the file
    // stays its maker's, who can use it.
    if (systemCode(error) !== "EINVAL" && systemCode(error) !== "EPERM") throw error;
  }
}

/**
 * Makes `folder`, and those above it, private to the user to whom the nearest folder belongs that is there already.
 *
 * @throws {ParleyError} `failed` when it cannot be made.
 */
export function makePrivateFolder(folder: string): void {
  try {
    makeFolder(folder);
  } catch (error) {
    throw new ParleyError("failed", `cannot make the folder ${folder}: ${whyRefused(error)}`, {
      hint: "choose another with --data DIR",
      cause: error,
    });
  }
}

function makeFolder(folder: string): void {
  try {
    if (statSync(folder).isDirectory()) return;
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    if (folder !== dirname(folder)) makeFolder(dirname(folder));
  }
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if (systemCode(error) === "EEXIST" && statSync(folder).isDirectory()) return; // another process was first
    throw error;
  }
  const fd = openSync(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    if (fstatSync(fd).uid !== process.geteuid?.()) return;
    fchmodSync(fd, 0o700);
    giveToOwnerOf(dirname(folder), fd);
  } finally {
    closeSync(fd);
  }
}
