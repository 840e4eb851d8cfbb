// Who could read or replace a file of secrets? As sshd's StrictModes asks it, with the exceptions of PostgreSQL and of
// container volumes:
//
//     a file      its reader's, and no other user's to read or write      0600
//                 or root's, which a group of the reader may read         0640, as PostgreSQL allows for its key
//     a folder    its reader's or root's, and no other user's to write in 0755
//                 or one that a group without other members may           2775, as fsGroup makes them
//
// Users are told apart by their numbers: `$USER` says nothing. Root is the reader of what is named to it, and trusts the
// users for whom it works; in folders of other users it has their rights, and they are the readers: see os/rights.ts.

import { readFileSync, realpathSync, statSync, type Stats } from "node:fs";
import { dirname, resolve } from "node:path";
import { systemCode } from "../base/errors.ts";
import { groupOf, userNameOf } from "../os/passwd.ts";
import type { Person } from "../os/rights.ts";
import { shellQuote } from "../base/shell-quote.ts";
import { FileError } from "./file-error.ts";

/** What a file of root's may not allow: its group to write or execute, others anything. PostgreSQL's rule. */
const OPEN_OF_ROOT = 0o037;
/** What a file of any other owner may not allow. */
const OPEN = 0o077;
/** In a folder with this bit no user can take away what is another's, as in /tmp. */
const STICKY = 0o1000;

/** @throws {FileError} `unsafe`, with the command that changes it. */
export function checkPrivate(path: string, stats: Stats, reader: Person | undefined): void {
  if (reader !== undefined && isAnothers(path, stats, reader)) {
    throw new FileError("unsafe", `${path} belongs to another user (uid ${stats.uid})`, {
      hint: `make it yours: ${command(reader, `chown ${reader.uid}`, path, true)}`,
    });
  }
  const isRoots = stats.uid === 0;
  if ((stats.mode & (isRoots ? OPEN_OF_ROOT : OPEN)) === 0) return;
  const mine = `make it private: ${command(reader, "chmod 600", path, stats.uid !== reader?.uid)}`;
  // What is root's must stay readable for a reader who is not.
  const roots = `make it readable for your group alone: ${command(reader, `chgrp ${reader?.gid}`, path, true)} && ${command(reader, "chmod 640", path, true)}`;
  throw new FileError("unsafe", `${path} has mode ${modeOf(stats)}: others could read or change it`, {
    hint: isRoots && reader?.uid !== 0 ? roots : mine,
  });
}

function isAnothers(path: string, { uid }: Stats, reader: Person): boolean {
  if (uid === reader.uid || uid === 0) return false;
  if (reader.uid !== 0) return true;
  // Where all may put files, the owner of one is not the one for whom root works.
  const folder = statSync(dirname(path));
  return (folder.mode & STICKY) !== 0 && folder.uid !== uid;
}

/** A command for a shell; with sudo where the reader may not. */
function command(reader: Person | undefined, words: string, path: string, needsRoot: boolean): string {
  return `${needsRoot && reader?.uid !== 0 ? "sudo " : ""}${words} ${shellQuote(path)}`;
}

/**
 * Checks the folders above a file, as they are and not as links name them: a user who may write to one may put another
 * file in its place.
 *
 * @throws {FileError} `unsafe`, with the command that changes it.
 */
export function checkFolders(path: string, reader: Person | undefined): void {
  for (let folder = realpathSync(dirname(resolve(path))); ; folder = dirname(folder)) {
    const stats = statSync(folder);
    if (isOpen(stats, reader)) {
      throw new FileError("unsafe", `${folder} has mode ${modeOf(stats)}: others could replace ${path}`, {
        hint: howToClose(folder, stats, reader),
      });
    }
    // Root may keep what belongs to those for whom it works, and they are trusted with it.
    if (reader !== undefined && reader.uid !== 0 && stats.uid !== reader.uid && stats.uid !== 0) {
      throw new FileError("unsafe", `${folder} belongs to another user (uid ${stats.uid})`, {
        hint: "keep such files in a folder of your own: --data DIR",
      });
    }
    if (folder === dirname(folder)) return;
  }
}

function howToClose(folder: string, { mode, uid, gid }: Stats, reader: Person | undefined): string {
  const isMine = uid === reader?.uid;
  const isOthersOnly = (mode & 0o020) === 0;
  if (reader !== undefined && !isMine && !isOthersOnly && isIn(gid, reader)) {
    // It is this reader's to write in by that group alone.
    return `give it a group of your own: ${command(reader, `chgrp ${reader.gid}`, folder, true)}`;
  }
  if (reader?.uid === 0 && !isOthersOnly && gid !== 0) {
    return `run parley as the user whose group may write there, or keep it out: chmod go-w ${shellQuote(folder)}`;
  }
  return `keep them out: ${command(reader, "chmod go-w", folder, !isMine)}`;
}

/**
 * Checks a symbolic link that is about to be followed: in a sticky folder any user may have put it there. The rule of
 * Linux's `protected_symlinks`.
 *
 * @throws {FileError} `unsafe`.
 */
export function checkLink(path: string, { uid }: Stats, reader: Person | undefined): void {
  if (uid === 0 || uid === reader?.uid) return;
  const folder = statSync(dirname(path));
  // Root follows no link of another user: with that user's rights it does.
  if (reader?.uid !== 0 && ((folder.mode & STICKY) === 0 || folder.uid === uid)) return;
  throw new FileError("unsafe", `the link ${path} belongs to another user (uid ${uid})`, {
    hint: "name the file itself, or make the link yourself",
  });
}

/** May another user put files there? */
function isOpen({ mode, gid }: Stats, reader: Person | undefined): boolean {
  if ((mode & STICKY) !== 0 || (mode & 0o022) === 0) return false;
  return (mode & 0o002) !== 0 || reader === undefined || !isOwnGroup(gid, reader);
}

function isIn(gid: number, { gid: own, groups }: Person): boolean {
  return gid === own || groups.includes(gid);
}

/**
 * Is `gid` a group of the reader without another member? Debian makes one for each user, Kubernetes one for each volume
 * (`fsGroup`): what such a group may do, this user alone may do.
 */
function isOwnGroup(gid: number, reader: Person): boolean {
  if (gid === 0 || !isIn(gid, reader)) return false; // root's group has members on many systems
  const members = groupOf(gid)?.members ?? [];
  return members.every((name) => name === userNameOf(reader.uid)) && !isPrimaryOfOthers(gid, reader.uid);
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
