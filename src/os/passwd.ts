// Users and groups by their numbers, as the system's name services know them.

import { CString, read, type Pointer } from "bun:ffi";
import { call, errnoLocation, errorAt, pointerCall } from "./libc.ts";

/** A group as the system's name services know it, those of a directory (LDAP) too. */
export interface Group {
  name: string;
  /** The users whom the group itself lists; it lists none for whom it is the primary group. */
  members: string[];
}

/** The group of that number; undefined when it has no name. @throws {SystemError} when that cannot be found out now. */
export function groupOf(gid: number): Group | undefined {
  const find = pointerCall("getgrgid", ["u32"]);
  const errno = errnoLocation();
  const entry = find(gid); // struct group: gr_name, gr_passwd, gr_gid, gr_mem
  if (entry === null) {
    const error = errorAt(errno, "getgrgid"); // of one that is not there it says nothing
    if (["EMFILE", "ENFILE", "ENOMEM", "EIO"].includes(error.code)) throw error;
    return undefined;
  }
  const members: string[] = [];
  const list = read.ptr(entry, 3 * POINTER_BYTES) as Pointer;
  for (let at = 0; ; at += POINTER_BYTES) {
    const member = textAt(list, at);
    if (member === undefined) return { name: textAt(entry, 0) ?? "", members };
    members.push(member);
  }
}

/** The groups of a user: the primary one, and all. Undefined when there is no such user. */
export function groupsOf(uid: number): { gid: number; groups: number[] } | undefined {
  const entry = pointerCall("getpwuid", ["u32"])(uid); // struct passwd: pw_name, pw_passwd, pw_uid, pw_gid, …
  if (entry === null) return undefined;
  const gid = read.u32(entry, 2 * POINTER_BYTES + 4);
  const name = Buffer.from(`${textAt(entry, 0) ?? ""}\0`);
  const groups = new Uint32Array(MAX_GROUPS);
  const count = Int32Array.of(MAX_GROUPS);
  call("getgrouplist", ["ptr", "u32", "ptr", "ptr"])(name, gid, groups, count);
  return { gid, groups: [...groups.subarray(0, Math.max(0, count[0] ?? 0))] };
}

/** More than any user has; Linux's own limit is 65,536. */
const MAX_GROUPS = 1024;

/** The name of the user of that number; undefined when there is none. */
export function userNameOf(uid: number): string | undefined {
  const entry = pointerCall("getpwuid", ["u32"])(uid); // struct passwd: pw_name, …
  return entry === null ? undefined : textAt(entry, 0);
}

const POINTER_BYTES = 8;

/** The text that the pointer at `offset` of `structure` points to; undefined for a null pointer. */
function textAt(structure: Pointer, offset: number): string | undefined {
  const pointer = read.ptr(structure, offset) as Pointer | 0;
  return pointer === 0 ? undefined : new CString(pointer).toString();
}
