// Checks that no other user could read or replace a file of secrets. The rules are those of sshd's StrictModes, with the
// exceptions of PostgreSQL and of container volumes:
//
//     file      owned by the reader, not accessible to other users        0600
//               or owned by root, and readable for a group of the reader  0640, as PostgreSQL allows for its key
//     folder    owned by the reader or root, not writable for others      0755
//               or writable for a group that has no other members         2775, as Kubernetes' fsGroup makes them
//
// The reader is the user with whose rights the file is used (os/rights.ts): in a folder of another user that is not root, even
// when root runs parley. Users are compared by their numbers; `$USER` proves nothing. private-file.ts and cli/serve check.

import { readFileSync, realpathSync, statSync, type Stats } from "node:fs";
import { dirname, resolve } from "node:path";
import { systemCode } from "../base/errors.ts";
import { groupOf, userNameOf } from "../os/passwd.ts";
import type { Person } from "../os/rights.ts";
import { shellQuote } from "../base/shell-quote.ts";
import { FileError } from "./file-error.ts";

/** Forbidden mode bits of a file of root's: its group may only read, others nothing. PostgreSQL's rule. */
const FORBIDDEN_FOR_ROOT = 0o037;
/** Forbidden mode bits of any other file. */
const FORBIDDEN = 0o077;
/** In a folder with this bit no user can remove or rename the files of another user, as in /tmp. */
const STICKY = 0o1000;

/** Checks owner and mode of a file of secrets. @throws {FileError} `unsafe`, with the command that repairs it. */
export function checkPrivate(path: string, stats: Stats, reader: Person | undefined): void {
  if (reader !== undefined && isAnothers(path, stats, reader)) {
    throw new FileError("unsafe", `${path} belongs to another user (uid ${stats.uid})`, {
      hint: `change its owner: ${command(reader, `chown ${reader.uid}`, path, true)}`,
    });
  }
  const isRoots = stats.uid === 0;
  if ((stats.mode & (isRoots ? FORBIDDEN_FOR_ROOT : FORBIDDEN)) === 0) return;
  const mine = `make it private: ${command(reader, "chmod 600", path, stats.uid !== reader?.uid)}`;
  // A file of root's must stay readable for a reader who is not root.
  const roots = `make it readable only for your group: ${command(reader, `chgrp ${reader?.gid}`, path, true)} && ${command(reader, "chmod 640", path, true)}`;
  throw new FileError("unsafe", `${path} has mode ${modeOf(stats)}: other users could read or change it`, {
    hint: isRoots && reader?.uid !== 0 ? roots : mine,
  });
}

function isAnothers(path: string, { uid }: Stats, reader: Person): boolean {
  if (uid === reader.uid || uid === 0) return false;
  if (reader.uid !== 0) return true;
  // In a folder where all users may create files, the file's owner may be any user.
  const folder = statSync(dirname(path));
  return (folder.mode & STICKY) !== 0 && folder.uid !== uid;
}

/** A command line for a shell, with sudo where the reader may not run it. */
function command(reader: Person | undefined, words: string, path: string, needsRoot: boolean): string {
  return `${needsRoot && reader?.uid !== 0 ? "sudo " : ""}${words} ${shellQuote(path)}`;
}

/**
 * Checks the folders above a file, after symbolic links: a user who may write to one of them may replace the file.
 *
 * @throws {FileError} `unsafe`, with the command that repairs it.
 */
export function checkFolders(path: string, reader: Person | undefined): void {
  for (let folder = realpathSync(dirname(resolve(path))); ; folder = dirname(folder)) {
    const stats = statSync(folder);
    if (isWritableByOthers(stats, reader)) {
      throw new FileError(
        "unsafe",
        `${folder} has mode ${modeOf(stats)}: other users could replace ${path}`,
        {
          hint: howToClose(folder, stats, reader),
        },
      );
    }
    // Root may use the folders of users for whom it works, and trusts those users.
    if (reader !== undefined && reader.uid !== 0 && stats.uid !== reader.uid && stats.uid !== 0) {
      throw new FileError("unsafe", `${folder} belongs to another user (uid ${stats.uid})`, {
        hint: "choose a folder that you own with --data DIR",
      });
    }
    if (folder === dirname(folder)) return;
  }
}

function howToClose(folder: string, { mode, uid, gid }: Stats, reader: Person | undefined): string {
  const isMine = uid === reader?.uid;
  const isOthersOnly = (mode & 0o020) === 0;
  if (reader !== undefined && !isMine && !isOthersOnly && isIn(gid, reader)) {
    // Only by that group may this reader write here: chmod would take that away.
    return `give it your group: ${command(reader, `chgrp ${reader.gid}`, folder, true)}`;
  }
  if (reader?.uid === 0 && !isOthersOnly && gid !== 0) {
    return `run parley as a user whose group may write there, or remove the right to write: chmod go-w ${shellQuote(folder)}`;
  }
  return `remove their right to write: ${command(reader, "chmod go-w", folder, !isMine)}`;
}

/**
 * Checks a symbolic link before it is followed: in a sticky folder any user may have made it. The rule of Linux's
 * `protected_symlinks`.
 *
 * @throws {FileError} `unsafe`.
 */
export function checkLink(path: string, { uid }: Stats, reader: Person | undefined): void {
  if (uid === 0 || uid === reader?.uid) return;
  const folder = statSync(dirname(path));
  // Root itself follows no link of another user. It follows such links with that user's rights, and then the reader is not root.
  if (reader?.uid !== 0 && ((folder.mode & STICKY) === 0 || folder.uid === uid)) return;
  throw new FileError("unsafe", `the link ${path} belongs to another user (uid ${uid})`, {
    hint: "give the path of the file, or create the link yourself",
  });
}

/** True when another user may create files in the folder. */
function isWritableByOthers({ mode, gid }: Stats, reader: Person | undefined): boolean {
  if ((mode & STICKY) !== 0 || (mode & 0o022) === 0) return false;
  return (mode & 0o002) !== 0 || reader === undefined || !isOwnGroup(gid, reader);
}

function isIn(gid: number, { gid: own, groups }: Person): boolean {
  return gid === own || groups.includes(gid);
}

/**
 * True when `gid` is a group of the reader without other members. Debian makes one for each user, Kubernetes one for each volume
 * (`fsGroup`). Only the reader can use the rights of such a group.
 */
function isOwnGroup(gid: number, reader: Person): boolean {
  if (gid === 0 || !isIn(gid, reader)) return false; // root's group has members on many systems
  const members = groupOf(gid)?.members ?? [];
  return members.every((name) => name === userNameOf(reader.uid)) && !isPrimaryOfOthers(gid, reader.uid);
}

/** True when `gid` is the primary group of another user of this machine: a group does not list those members. */
function isPrimaryOfOthers(gid: number, uid: number): boolean {
  let users: string;
  try {
    users = readFileSync("/etc/passwd", "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false; // a container image without other users
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
