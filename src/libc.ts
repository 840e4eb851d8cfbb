// The few calls of the system's C library that neither Bun nor Node has.

import { dlopen, type FFITypeOrString } from "bun:ffi";
import ipaddr from "ipaddr.js";
import { ParleyError } from "./errors.ts";

/** LOCK_EX | LOCK_NB, the same on Linux and macOS. */
export const LOCK_EXCLUSIVE_NONBLOCKING = 2 | 4;
/** LOCK_SH | LOCK_NB. */
export const LOCK_SHARED_NONBLOCKING = 1 | 4;

/** Takes flock(2) on `fd`: the kernel's lock, released when its holder dies or closes it. False when another has it. */
export function flock(fd: number, operation: number): boolean {
  return call("flock", ["i32", "i32"])(fd, operation) === 0;
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

/** All of them answer with an `int`, or with less than one holds. */
type Call = (...args: (number | NodeJS.TypedArray)[]) => number;

const found = new Map<string, Call>();

function call(name: string, args: FFITypeOrString[]): Call {
  const known = found.get(name);
  if (known !== undefined) return known;
  for (const library of LIBRARIES) {
    try {
      const symbol = dlopen(library, { [name]: { args, returns: "i32" } }).symbols[name] as unknown as Call;
      found.set(name, symbol);
      return symbol;
    } catch {
      continue; // the other C library, then
    }
  }
  throw new ParleyError("failed", `this system's C library has no ${name}`, {
    hint: "parley needs it, on Linux and macOS",
  });
}
