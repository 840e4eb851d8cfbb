// flock(2): the kernel's lock on an open file. files/file-lock.ts locks changes with it; server/session-status-file.ts marks
// with it that a server is running.

import { call, errnoLocation, errorAt } from "./libc.ts";

/** LOCK_EX | LOCK_NB, the same on Linux and macOS. */
export const LOCK_EXCLUSIVE_NONBLOCKING = 2 | 4;
/** LOCK_SH | LOCK_NB. */
export const LOCK_SHARED_NONBLOCKING = 1 | 4;

/**
 * Locks the open file `fd`. The kernel releases the lock when the descriptor is closed or the process dies.
 *
 * @returns false when another process holds the lock.
 * @throws {SystemError} for any other failure, such as `ENOLCK` on a network file system without locks.
 */
export function flock(fd: number, operation: number): boolean {
  const lock = call("flock", ["i32", "i32"]);
  const errno = errnoLocation();
  for (;;) {
    if (lock(fd, operation) === 0) return true;
    const error = errorAt(errno, "flock");
    if (error.code === "EAGAIN" || error.code === "EWOULDBLOCK") return false;
    if (error.code !== "EINTR") throw error;
  }
}
