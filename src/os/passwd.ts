// Looks up users and groups by their numbers in the system's name services, which may include a directory (LDAP). The checks of
// files/ and rights.ts use it.

import { CString, read, type Pointer } from "bun:ffi";
import { call, errnoLocation, errorAt, pointerCall } from "./libc.ts";

export interface Group {
  name: string;
  /** Names of the users that the group lists. Users whose primary group it is are not listed. */
  members: string[];
}

/** The group `gid`; undefined when the system has no such group. @throws {SystemError} when the lookup fails. */
export function groupOf(gid: number): Group | undefined {
  const find = pointerCall("getgrgid", ["u32"]);
  const errno = errnoLocation();
  const entry = find(gid); // struct group: gr_name, gr_passwd, gr_gid, gr_mem
  if (entry === null) {
    const error = errorAt(errno, "getgrgid"); // a group that does not exist sets none of these
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

/** The primary group (`gid`) and all groups of the user `uid`; undefined when the system has no such user. */
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

/** Room for a user's groups. Linux allows 65,536; users have far fewer. */
const MAX_GROUPS = 1024;

/** The name of the user `uid`; undefined when the system has no such user. */
export function userNameOf(uid: number): string | undefined {
  const entry = pointerCall("getpwuid", ["u32"])(uid); // struct passwd: pw_name, …
  return entry === null ? undefined : textAt(entry, 0);
}

const POINTER_BYTES = 8;

/** The C string whose pointer is at `offset` of `structure`; undefined for a null pointer. */
function textAt(structure: Pointer, offset: number): string | undefined {
  const pointer = read.ptr(structure, offset) as Pointer | 0;
  return pointer === 0 ? undefined : new CString(pointer).toString();
}
