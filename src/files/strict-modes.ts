// Who could read or replace a file of secrets? As sshd's StrictModes asks it, with the exceptions of PostgreSQL and of
// container volumes:
//
//     a file      ours, and nobody else's to read or write          0600
//                 or root's, which a group of ours may read         0640, as PostgreSQL allows for its key
//     a folder    ours or root's, and nobody else's to write in     0755
//                 or one that a group without other members may     2775, as fsGroup makes them
//
// Users are told apart by their numbers: `$USER` says nothing.

import { readFileSync, realpathSync, statSync, type Stats } from "node:fs";
import { dirname, resolve } from "node:path";
import { systemCode } from "../errors.ts";
import { groupOf, userNameOf } from "../libc.ts";
import { shellQuote } from "../shell-quote.ts";
import { FileError } from "./file-error.ts";

/** What a file of root's may not allow: its group to write or execute, others anything. PostgreSQL's rule. */
const OPEN_OF_ROOT = 0o037;
/** What a file of any other owner may not allow. */
const OPEN = 0o077;

/** @throws {FileError} `unsafe`, with the command that changes it. */
export function checkPrivate(path: string, stats: Stats): void {
  const uid = process.geteuid?.();
  const isRoots = stats.uid === 0;
  if (uid !== undefined && uid !== 0 && stats.uid !== uid && !isRoots) {
    throw new FileError("unsafe", `${path} belongs to another user (uid ${stats.uid})`, {
      hint: `make it yours: sudo chown ${uid} ${shellQuote(path)}`,
    });
  }
  if ((stats.mode & (isRoots ? OPEN_OF_ROOT : OPEN)) === 0) return;
  throw new FileError("unsafe", `${path} has mode ${modeOf(stats)}: others could read or change it`, {
    hint:
      isRoots && uid !== undefined && uid !== 0
        ? // It must stay readable for this process, which is not root.
          `make it readable for your group alone: ${sudo(`chgrp ${process.getegid?.()}`, path)} && ${sudo("chmod 640", path)}`
        : `make it private: chmod 600 ${shellQuote(path)}`,
  });
}

function sudo(command: string, path: string): string {
  return `sudo ${command} ${shellQuote(path)}`;
}

/**
 * Checks the folders above a file, as they are and not as links name them: a user who may write to one may put another
 * file in its place.
 *
 * @throws {FileError} `unsafe`, with the command that changes it.
 */
export function checkFolders(path: string): void {
  const uid = process.geteuid?.();
  for (let folder = realpathSync(dirname(resolve(path))); ; folder = dirname(folder)) {
    const stats = statSync(folder);
    if (isOpen(stats)) {
      throw new FileError("unsafe", `${folder} has mode ${modeOf(stats)}: others could replace ${path}`, {
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

/**
 * Checks a symbolic link that is about to be followed: in a sticky folder any user may have put it there. The rule of
 * Linux's `protected_symlinks`.
 *
 * @throws {FileError} `unsafe`.
 */
export function checkLink(path: string, { uid }: Stats): void {
  if (uid === 0 || uid === process.geteuid?.()) return;
  const folder = statSync(dirname(path));
  if ((folder.mode & 0o1000) === 0 || folder.uid === uid) return;
  throw new FileError("unsafe", `the link ${path} belongs to another user (uid ${uid})`, {
    hint: "name the file itself, or make the link yourself",
  });
}

/** May another user put files there? In a sticky folder no user can take away what is another's. */
function isOpen({ mode, gid }: Stats): boolean {
  if ((mode & 0o1000) !== 0 || (mode & 0o022) === 0) return false;
  return (mode & 0o002) !== 0 || !isOwnGroup(gid);
}

/**
 * Is `gid` a group of this process without another member? Debian makes one for each user, Kubernetes one for each volume
 * (`fsGroup`): what such a group may do, this user alone may do.
 */
function isOwnGroup(gid: number): boolean {
  const uid = process.geteuid?.();
  if (uid === undefined || gid === 0) return false; // root's group has members on many systems
  if (gid !== process.getegid?.() && process.getgroups?.().includes(gid) !== true) return false;
  const members = groupOf(gid)?.members ?? [];
  return members.every((name) => name === userNameOf(uid)) && !isPrimaryOfOthers(gid, uid);
}

/** Has another user of this machine `gid` as the primary group? A group does not list those. */
function isPrimaryOfOthers(gid: number, uid: number): boolean {
  let users: string;
  try {
    users = readFileSync("/etc/passwd", "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false; // an image without it has no other users
    throw error;
  }
  // passwd(5): name, password, uid, gid, …
  return users.split("\n").some((line) => {
    const [, , user, group] = line.split(":");
    return group === String(gid) && user !== String(uid);
  });
}

function modeOf(stats: Stats): string {
  return (stats.mode & 0o777).toString(8);
}
