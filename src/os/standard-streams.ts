// How the standard streams were given to this process.

import { constants, fstatSync } from "node:fs";
import { isatty } from "node:tty";
import { call } from "./libc.ts";

// Of fcntl(2), the same on Linux and macOS.
const F_GETFD = 1;
const FD_CLOEXEC = 1;
const F_GETFL = 3;
const O_ACCMODE = 3;

/**
 * Was `fd` closed? Bun opens /dev/null in the place of a standard stream that was (measured with 1.4.5), and only such a one
 * is marked to be closed by exec(2): what came through exec(2) is not.
 */
export function wasClosed(fd: 0 | 1 | 2): boolean {
  if (!fstatSync(fd).isCharacterDevice() || isatty(fd)) return false;
  return (fcntl(fd, F_GETFD) & FD_CLOEXEC) !== 0;
}

/** Is `fd` open for writing alone? */
export function isWriteOnly(fd: 0 | 1 | 2): boolean {
  return (fcntl(fd, F_GETFL) & O_ACCMODE) === constants.O_WRONLY;
}

function fcntl(fd: number, command: number): number {
  return call("fcntl", ["i32", "i32"])(fd, command);
}
