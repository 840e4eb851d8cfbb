// What neither Bun nor Node can do with sockets: the address of an inherited listening socket, the unacknowledged bytes of a
// connection, a reset when the process dies, and a datagram to a Unix socket. systemd.ts, net/connection.ts and net/stream.ts call it.

import ipaddr from "ipaddr.js";
import { call } from "./libc.ts";

// Linux's numbers.

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SO_LINGER = 13;
const SO_ACCEPTCONN = 30;
/** Bytes in the send queue of a TCP socket: tcp(7). */
const SIOCOUTQ = 0x5411;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** `sizeof (struct sockaddr_in6)`; the structure for IPv4 is shorter. */
const SOCKADDR_BYTES = 28;
/** `sizeof sun_path`, unix(7). */
const MAX_SOCKET_PATH_BYTES = 108;

/**
 * The address of the listening TCP socket `fd`; undefined when `fd` is something else. Processes that Bun spawns do not inherit
 * `fd` (measured with Bun 1.4.5).
 */
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

/** The host in a `sockaddr_in` or `sockaddr_in6`; undefined for another address family. */
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

/** Bytes that the kernel has for the TCP socket `fd` and that the peer's kernel has not acknowledged; undefined except on Linux. */
export function unsentBytes(fd: number): number | undefined {
  if (process.platform !== "linux") return undefined;
  const count = new Int32Array(1);
  return call("ioctl", ["i32", "u64", "ptr"])(fd, SIOCOUTQ, count) === 0 ? count[0] : undefined;
}

/** Sets whether close(2) of the TCP socket `fd`, also at the death of the process, is a reset. Does nothing except on Linux. */
export function setResetOnClose(fd: number, resets: boolean): void {
  if (process.platform !== "linux") return;
  const linger = Int32Array.of(resets ? 1 : 0, 0); // `struct linger`, with no time to linger
  call("setsockopt", ["i32", "i32", "i32", "ptr", "u32"])(
    fd,
    SOL_SOCKET,
    SO_LINGER,
    linger,
    linger.byteLength,
  );
}

/** Sends one datagram to the Unix socket `path`; `@` in front means an abstract socket. False when it cannot be sent. */
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
