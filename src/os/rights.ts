// With whose rights root uses files. A user to whom a folder belongs can put links and other users' files there: what root
// does in it, it does with the rights of that user, and what it makes belongs to that user.

import { lstatSync, readFileSync, readlinkSync, type Stats } from "node:fs";
import { join, resolve } from "node:path";
import { ParleyError, systemCode } from "../base/errors.ts";
import { call, syscall } from "./libc.ts";
import { groupsOf } from "./passwd.ts";

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

  /**
   * Those to use `path` with: root has those of the user who controls it, and any other user its own.
   *
   * @throws the system's error, when a folder on the way is not there or cannot be looked at.
   */
  static over(path: string): Rights {
    return Rights.#of(process.geteuid?.() === 0 ? controllerOf(path) : undefined);
  }

  /** Those to use what is in `folder` with, whosever it is. @throws as {@link Rights.over}. */
  static within(folder: string): Rights {
    return Rights.#of(process.geteuid?.() === 0 ? controllerOf(folder, true) : undefined);
  }

  static #of(person: Person | undefined): Rights {
    return person === undefined ? Rights.own : new Rights(person);
  }

  /** Whose they are; undefined where the system has no users. */
  get person(): Person | undefined {
    if (this.#person !== undefined) return this.#person;
    const uid = process.geteuid?.();
    if (uid === undefined) return undefined;
    return { uid, gid: process.getegid?.() ?? 0, groups: process.getgroups?.() ?? [] };
  }

  /** Are they another user's? */
  get isAnothers(): boolean {
    return this.#person !== undefined;
  }

  /** Runs `work` with these rights. It must not wait: what it goes on with later has this process's own. */
  use<T>(work: () => T): T {
    return this.#person === undefined ? work() : withRightsOf(this.#person, work);
  }
}

const MAX_LINKS = 40;

/**
 * The user, other than root, who decides what `path` leads to: to whom the first folder or link on the way belongs that is
 * not root's, or in a folder where all may write (`/tmp`) the file itself. `mustExist`: it is a folder, and there.
 */
function controllerOf(path: string, mustExist = false): Person | undefined {
  const left = resolve(path).split("/").filter(Boolean);
  let at = "/";
  let isOpen = false;
  for (let links = 0, name = left.shift(); name !== undefined; name = left.shift()) {
    const next = join(at, name); // `..` too: what is left of a link is as the link has it
    let stats: Stats;
    try {
      stats = lstatSync(next);
    } catch (error) {
      // The last one may be made yet. Of a folder that comes and goes nothing can be said.
      if (systemCode(error) === "ENOENT" && left.length === 0 && !mustExist) return undefined;
      throw error;
    }
    if (stats.uid !== 0 && isMapped(stats.uid) && (stats.isDirectory() || stats.isSymbolicLink() || isOpen)) {
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
  const groups = groupsOf(uid);
  if (groups !== undefined) return { uid, ...groups };
  // Of a user who is in no list, as in many containers, the folder's group, but never root's: it may read much.
  return { uid, gid: gid === 0 ? uid : gid, groups: [] };
}

/**
 * Does this process's user namespace know that user? As its root one has no powers over the files of others, which all seem
 * to belong to one user (user_namespaces(7)).
 */
function isMapped(uid: number): boolean {
  let map: string;
  try {
    map = readFileSync("/proc/self/uid_map", "utf8");
  } catch {
    return true; // not Linux, or no /proc: there are no such namespaces, or nothing that tells
  }
  return map.split("\n").some((line) => {
    const [first = NaN, , count = NaN] = line.trim().split(/\s+/).map(Number);
    return uid >= first && uid < first + count;
  });
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
  if (isChanged()) throw new TypeError("a use of other rights within another one");
  try {
    if (setRights(person)) return work();
  } finally {
    setRights(own); // root may
  }
  throw new ParleyError("failed", `files of uid ${person.uid} cannot be used with the rights of that user`, {
    hint: "this process has root's name and not its powers: run it as that user",
  });
}

/** False when this process may not do that. */
function setRights({ uid, gid, groups }: Person): boolean {
  const setgroups = SYS_SETGROUPS[process.arch];
  if (process.platform !== "linux" || setgroups === undefined) {
    if (uid === 0) process.seteuid?.(uid);
    process.setegid?.(gid);
    if (uid !== 0) process.seteuid?.(uid);
    return true;
  }
  // An empty array has no address: one of which nothing is read.
  const list = Uint32Array.from(groups.length === 0 ? [0] : groups);
  const hasGroups = syscall(setgroups, BigInt(groups.length), list) === 0n;
  call("setfsgid", ["u32"])(gid);
  call("setfsuid", ["u32"])(uid);
  return hasGroups && fileUser() === uid && fileGroup() === gid;
}

/** The user of this thread for files. setfsuid says who it was before: asked for one that there cannot be, who it is. */
function fileUser(): number {
  return call("setfsuid", ["u32"])(0xffff_ffff);
}

/** Has this thread other rights already? */
function isChanged(): boolean {
  const user = process.platform === "linux" ? fileUser() : (process.geteuid?.() ?? 0);
  return user > 0; // less than nought: the system says nothing of it, and will not change it either
}

function fileGroup(): number {
  return call("setfsgid", ["u32"])(0xffff_ffff);
}
