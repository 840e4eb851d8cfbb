// The few calls of the system's C library that neither Bun nor Node has.

import { CString, dlopen, read, type FFITypeOrString, type Pointer } from "bun:ffi";
import { constants } from "node:os";
import ipaddr from "ipaddr.js";
import { messageOf, ParleyError } from "./errors.ts";

/** LOCK_EX | LOCK_NB, the same on Linux and macOS. */
export const LOCK_EXCLUSIVE_NONBLOCKING = 2 | 4;
/** LOCK_SH | LOCK_NB. */
export const LOCK_SHARED_NONBLOCKING = 1 | 4;

/**
 * Takes flock(2) on `fd`: the kernel's lock, which it releases when its holder dies or closes it. False when another
 * process holds it.
 *
 * @throws {SystemError} for any other reason: `ENOLCK` from a network file system without locks, for one.
 */
export function flock(fd: number, operation: number): boolean {
  const lock = call("flock", ["i32", "i32"]);
  const errno = errnoLocation();
  for (;;) {
    if (lock(fd, operation) === 0) return true;
    // At once: the next system call of this thread may set it anew.
    const error = new SystemError("flock", read.i32(errno, 0));
    if (error.code === "EAGAIN" || error.code === "EWOULDBLOCK") return false;
    if (error.code !== "EINTR") throw error;
  }
}

/** A failed call of the C library, with its code as Node's errors have it. */
export class SystemError extends Error {
  override name = "SystemError";
  /** `ENOLCK`, `EBADF`, …; a number where this system has no name for it. */
  readonly code: string;

  constructor(call: string, errno: number) {
    const code = Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? String(errno);
    super(`${code}: ${call}`);
    this.code = code;
  }
}

/** Where this thread's `errno` is. To be had before the call that may fail: finding it calls the system. */
function errnoLocation(): Pointer {
  const location = pointerCall(process.platform === "darwin" ? "__error" : "__errno_location", [])();
  if (location === null) throw new ParleyError("failed", "this system's C library has no errno");
  return location;
}

// --- who belongs to whom ---

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
    const error = new SystemError("getgrgid", read.i32(errno, 0)); // of one that is not there it says nothing
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

// What follows is told with Linux's numbers: only systemd asks for it.

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** `sizeof (struct sockaddr_in6)`; that of IPv4 is shorter. */
const SOCKADDR_BYTES = 28;
/** `sizeof sun_path`, unix(7). */
const MAX_SOCKET_PATH_BYTES = 108;

/** Where the listening TCP socket `fd` is bound; undefined when it is none. What Bun spawns does not inherit it (measured). */
export function listenerAddress(fd: number): { host: string; port: number } | undefined {
  const length = Int32Array.of(4);
  const isListening = new Int32Array(1);
  const getsockopt = call("getsockopt", ["i32", "i32", "i32", "ptr", "ptr"]);
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, isListening, length) !== 0 || isListening[0] !== 1)
    return undefined;
  const address = Buffer.alloc(SOCKADDR_BYTES);
  length[0] = SOCKADDR_BYTES;
  if (call("getsockname", ["i32", "ptr", "ptr"])(fd, address, length) !== 0) return undefined;
  const host = hostIn(address);
  if (host === undefined) return undefined;
  return { host, port: address.readUInt16BE(2) };
}

/** The address in a `sockaddr_in` or `sockaddr_in6`. */
function hostIn(address: Buffer): string | undefined {
  switch (address.readUInt16LE(0)) {
    case AF_INET:
      return ipaddr.fromByteArray([...address.subarray(4, 8)]).toString();
    case AF_INET6:
      return ipaddr.fromByteArray([...address.subarray(8, 24)]).toString();
    default:
      return undefined;
  }
}

/** Sends one datagram to the Unix socket `path`, an abstract one with `@` in front; false when it cannot be. */
export function sendDatagram(path: string, text: string): boolean {
  const name = Buffer.from(path.replace(/^@/, "\0"));
  if (name.length >= MAX_SOCKET_PATH_BYTES) return false;
  const address = Buffer.concat([Buffer.of(AF_UNIX, 0), name]);
  const bytes = Buffer.from(text);
  const fd = call("socket", ["i32", "i32", "i32"])(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return false;
  const sendto = call("sendto", ["i32", "ptr", "u64", "i32", "ptr", "u32"]);
  const sent = sendto(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL, address, address.length);
  call("close", ["i32"])(fd);
  return sent === bytes.length;
}

// --- finding them ---

const LIBRARIES =
  process.platform === "darwin"
    ? ["libSystem.B.dylib"]
    : ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`];

type Arguments = (number | NodeJS.TypedArray)[];

const found = new Map<string, unknown>();

/** A call that answers with an `int`, or with less than one holds. */
function call(name: string, args: FFITypeOrString[]): (...args: Arguments) => number {
  return find(name, args, "i32") as (...args: Arguments) => number;
}

/** A call that answers with a pointer. */
function pointerCall(name: string, args: FFITypeOrString[]): (...args: Arguments) => Pointer | null {
  return find(name, args, "ptr") as (...args: Arguments) => Pointer | null;
}

function find(name: string, args: FFITypeOrString[], returns: FFITypeOrString): unknown {
  const known = found.get(name);
  if (known !== undefined) return known;
  let cause: unknown;
  for (const library of LIBRARIES) {
    try {
      const symbol: unknown = dlopen(library, { [name]: { args, returns } }).symbols[name];
      found.set(name, symbol);
      return symbol;
    } catch (error) {
      cause = error; // the other C library, then
    }
  }
  throw new ParleyError("failed", `cannot call ${name} of this system's C library: ${messageOf(cause)}`, {
    hint: "parley needs it, on Linux and macOS",
    cause,
  });
}
