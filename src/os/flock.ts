// flock(2): the kernel's lock on an open file.

import { call, errnoLocation, errorAt } from "./libc.ts";

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
    const error = errorAt(errno, "flock");
    if (error.code === "EAGAIN" || error.code === "EWOULDBLOCK") return false;
    if (error.code !== "EINTR") throw error;
  }
}
