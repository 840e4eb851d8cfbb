// Chooses with which user's rights a file is used. The owner of a folder can put links and files of other users there. So root
// works in such a folder with the rights of its owner, and the files that root makes there belong to the owner. files/, the log
// and cli/serve use files through this.

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

/** The rights with which files are used: this process's own, or those of another user on whose files root works. */
export class Rights {
  readonly #person: Person | undefined;

  private constructor(person: Person | undefined) {
    this.#person = person;
  }

  /** This process's own rights. */
  static readonly own = new Rights(undefined);

  /**
   * The rights for the file at `path`: for root those of the user who controls the path, for any other user its own.
   *
   * @throws the system's error when a folder on the way does not exist or cannot be inspected.
   */
  static over(path: string): Rights {
    return Rights.#of(process.geteuid?.() === 0 ? controllerOf(path) : undefined);
  }

  /** The rights for files in `folder`, which must exist: chosen by the folder alone. @throws as {@link Rights.over}. */
  static within(folder: string): Rights {
    return Rights.#of(process.geteuid?.() === 0 ? controllerOf(folder, true) : undefined);
  }

  static #of(person: Person | undefined): Rights {
    return person === undefined ? Rights.own : new Rights(person);
  }

  /** The user whose rights these are; undefined where the system has no users. */
  get person(): Person | undefined {
    if (this.#person !== undefined) return this.#person;
    const uid = process.geteuid?.();
    if (uid === undefined) return undefined;
    return { uid, gid: process.getegid?.() ?? 0, groups: process.getgroups?.() ?? [] };
  }

  /** True when these are the rights of a user other than this process's. */
  get isAnothers(): boolean {
    return this.#person !== undefined;
  }

  /** Runs `work` with these rights. `work` must be synchronous: a later callback would have this process's own rights. */
  use<T>(work: () => T): T {
    return this.#person === undefined ? work() : withRightsOf(this.#person, work);
  }
}

const MAX_LINKS = 40;

/**
 * The user other than root who decides which file `path` leads to: the owner of the first folder or link on the way that is not
 * root's. In a folder where all users may write (`/tmp`) it is the owner of the file itself. `mustExist`: a missing last part is
 * an error.
 */
function controllerOf(path: string, mustExist = false): Person | undefined {
  const parts = resolve(path).split("/").filter(Boolean);
  let at = "/";
  let isOpen = false;
  for (let links = 0, name = parts.shift(); name !== undefined; name = parts.shift()) {
    const next = join(at, name); // also for the `..` of a link's target
    let stats: Stats;
    try {
      stats = lstatSync(next);
    } catch (error) {
      // The last part may be a file that is still to be made. A missing folder is an error.
      if (systemCode(error) === "ENOENT" && parts.length === 0 && !mustExist) return undefined;
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
      parts.unshift(...target.split("/").filter(Boolean));
    }
  }
  return undefined;
}

function personOf({ uid, gid }: Stats): Person {
  const groups = groupsOf(uid);
  if (groups !== undefined) return { uid, ...groups };
  // A user without an entry, as in many containers, gets the folder's group. Root's group may read too much to be given.
  return { uid, gid: gid === 0 ? uid : gid, groups: [] };
}

/**
 * True when the user is part of this process's user namespace. Files of other users all seem to belong to one overflow user
 * there, and the namespace's root has no powers over them (user_namespaces(7)).
 */
function isMapped(uid: number): boolean {
  let map: string;
  try {
    map = readFileSync("/proc/self/uid_map", "utf8");
  } catch {
    return true; // not Linux, or no /proc
  }
  return map.split("\n").some((line) => {
    const [first = NaN, , count = NaN] = line.trim().split(/\s+/).map(Number);
    return uid >= first && uid < first + count;
  });
}

/** The number of the system call `setgroups`: the C library's function would change all threads. */
const SYS_SETGROUPS: Readonly<Record<string, bigint>> = { x64: 116n, arm64: 159n };

/**
 * Runs `work` as `person`. On Linux this changes the user and groups of this thread for files (setfsuid(2)), which drops root's
 * powers over files; on other systems it changes the effective user of the process.
 *
 * @throws {ParleyError} `failed` when this process may not change its rights, as root of some containers.
 */
function withRightsOf<T>(person: Person, work: () => T): T {
  const own = { uid: 0, gid: process.getegid?.() ?? 0, groups: process.getgroups?.() ?? [] };
  if (isChanged()) throw new TypeError("the rights are changed already");
  try {
    if (setRights(person)) return work();
  } finally {
    setRights(own);
  }
  throw new ParleyError("failed", `cannot use the files of uid ${person.uid} with the rights of that user`, {
    hint: "run parley as that user: root has no power to change its user here",
  });
}

/** Gives this thread, or process, the rights of that person; false when the system refuses. */
function setRights({ uid, gid, groups }: Person): boolean {
  const setgroups = SYS_SETGROUPS[process.arch];
  if (process.platform !== "linux" || setgroups === undefined) {
    if (uid === 0) process.seteuid?.(uid);
    process.setegid?.(gid);
    if (uid !== 0) process.seteuid?.(uid);
    return true;
  }
  // An empty array has no address to pass; the count says that nothing is read of this one.
  const list = Uint32Array.from(groups.length === 0 ? [0] : groups);
  const hasGroups = syscall(setgroups, BigInt(groups.length), list) === 0n;
  call("setfsgid", ["u32"])(gid);
  call("setfsuid", ["u32"])(uid);
  return hasGroups && fileUser() === uid && fileGroup() === gid;
}

/** The user of this thread for files: setfsuid(2) returns the one before, and does not change it for an invalid number. */
function fileUser(): number {
  return call("setfsuid", ["u32"])(0xffff_ffff);
}

/** True while this thread has the rights of another user. */
function isChanged(): boolean {
  const user = process.platform === "linux" ? fileUser() : (process.geteuid?.() ?? 0);
  return user > 0; // below 0: the system does not support the call, and setRights fails as well
}

function fileGroup(): number {
  return call("setfsgid", ["u32"])(0xffff_ffff);
}
