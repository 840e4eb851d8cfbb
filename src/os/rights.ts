// With whose rights root uses files. A user to whom a folder belongs can put links and other users' files there: what root
// does in it, it does with the rights of that user, and what it makes belongs to that user.

import { lstatSync, readlinkSync, type Stats } from "node:fs";
import { join, resolve } from "node:path";
import { ParleyError, systemCode } from "../errors.ts";
import { call, syscall } from "./libc.ts";
import { primaryGroupOf } from "./passwd.ts";

/** A user, by numbers. */
export interface Person {
  uid: number;
  gid: number;
  /** Groups beside `gid`. */
  groups: readonly number[];
}

/** The rights to use files with: this process's own, or those of another user, for whom root works. */
export class Rights {
  readonly #person: Person | undefined;

  private constructor(person: Person | undefined) {
    this.#person = person;
  }

  /** This process's own. */
  static readonly own = new Rights(undefined);

  /** Those to use `path` with: root has those of the user who controls it, and any other user its own. */
  static over(path: string): Rights {
    const person = process.geteuid?.() === 0 ? controllerOf(path) : undefined;
    return person === undefined ? Rights.own : new Rights(person);
  }

  /** Whose they are; undefined where the system has no users. */
  get person(): Person | undefined {
    if (this.#person !== undefined) return this.#person;
    const uid = process.geteuid?.();
    if (uid === undefined) return undefined;
    return { uid, gid: process.getegid?.() ?? 0, groups: process.getgroups?.() ?? [] };
  }

  /** Runs `work` with these rights. It must not wait: what it goes on with later has this process's own. */
  use<T>(work: () => T): T {
    return this.#person === undefined ? work() : withRightsOf(this.#person, work);
  }
}

const MAX_LINKS = 40;

/**
 * The user, other than root, who decides what `path` leads to: to whom the first folder or link on the way belongs that is
 * not root's, or in a folder where all may write (`/tmp`) the file itself.
 */
function controllerOf(path: string): Person | undefined {
  const left = resolve(path).split("/").filter(Boolean);
  let at = "/";
  let isOpen = false;
  for (let links = 0, name = left.shift(); name !== undefined; name = left.shift()) {
    const next = join(at, name); // `..` too: what is left of a link is as the link has it
    let stats: Stats;
    try {
      stats = lstatSync(next);
    } catch (error) {
      if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return undefined;
      throw error;
    }
    if (stats.uid !== 0 && (stats.isDirectory() || stats.isSymbolicLink() || isOpen)) {
      return personOf(stats);
    }
    if (!stats.isSymbolicLink()) {
      at = next;
      isOpen = (stats.mode & 0o002) !== 0;
    } else {
      if (++links > MAX_LINKS) return undefined; // opening it will say so
      const target = readlinkSync(next);
      if (target.startsWith("/")) at = "/";
      left.unshift(...target.split("/").filter(Boolean));
    }
  }
  return undefined;
}

function personOf({ uid, gid }: Stats): Person {
  // Of a user who is in no list, as in many containers, the folder's group, but never root's: it may read much.
  return { uid, gid: primaryGroupOf(uid) ?? (gid === 0 ? uid : gid), groups: [] };
}

/** `setgroups` by its number: the C library's own changes all threads. */
const SYS_SETGROUPS: Readonly<Record<string, bigint>> = { x64: 116n, arm64: 159n };

/**
 * On Linux this thread's user, group and groups for files (setfsuid(2)), without root's powers over files; elsewhere the
 * whole process's.
 *
 * @throws {ParleyError} `failed` when this process may not change them, as root of some containers.
 */
function withRightsOf<T>(person: Person, work: () => T): T {
  const own = { uid: 0, gid: process.getegid?.() ?? 0, groups: process.getgroups?.() ?? [] };
  if (fileUser() !== own.uid) throw new TypeError("a use of other rights within another one");
  try {
    setRights(person);
    return work();
  } finally {
    setRights(own);
  }
}

function setRights({ uid, gid, groups }: Person): void {
  const setgroups = SYS_SETGROUPS[process.arch];
  if (process.platform !== "linux" || setgroups === undefined) {
    if (uid === 0) process.seteuid?.(uid);
    process.setegid?.(gid);
    if (uid !== 0) process.seteuid?.(uid);
    return;
  }
  // An empty array has no address: one of which nothing is read.
  syscall(setgroups, BigInt(groups.length), Uint32Array.from(groups.length === 0 ? [0] : groups));
  call("setfsgid", ["u32"])(gid);
  call("setfsuid", ["u32"])(uid);
  if (fileUser() === uid) return;
  throw new ParleyError("failed", `files of uid ${uid} cannot be used with the rights of that user`, {
    hint: "this process has root's name and not its powers: run it as that user",
  });
}

/** The user of this thread for files. setfsuid says who it was before: asked for one that there cannot be, who it is. */
function fileUser(): number {
  if (process.platform !== "linux") return process.geteuid?.() ?? 0;
  return call("setfsuid", ["u32"])(0xffff_ffff);
}
