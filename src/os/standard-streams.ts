// Says how the standard streams were given to this process, for terminal/stdio.ts.

import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { isatty } from "node:tty";
import { call } from "./libc.ts";

// The numbers of fcntl(2) are the same on Linux and macOS.
const F_GETFD = 1;
const FD_CLOEXEC = 1;
const F_GETFL = 3;
const O_ACCMODE = 3;
const SHUT_WR = 1;

/**
 * True when the process was started with `fd` closed. Bun then opens /dev/null in its place (measured with Bun 1.4.5) with
 * FD_CLOEXEC, which no descriptor has that came through exec(2).
 */
export function wasClosed(fd: 0 | 1 | 2): boolean {
  if (!fstatSync(fd).isCharacterDevice() || isatty(fd)) return false;
  return (fcntl(fd, F_GETFD) & FD_CLOEXEC) !== 0;
}

/** True when `fd` is open for writing only. */
export function isWriteOnly(fd: 0 | 1 | 2): boolean {
  return (fcntl(fd, F_GETFL) & O_ACCMODE) === constants.O_WRONLY;
}

/**
 * Ends standard output for its reader: /dev/null takes its place, so that no other file gets the number. Of a socket that is
 * standard input too, only this direction ends.
 */
export function endStandardOutput(): void {
  const [input, output] = [fstatSync(0), fstatSync(1)];
  if (output.isSocket() && input.dev === output.dev && input.ino === output.ino)
    call("shutdown", ["i32", "i32"])(1, SHUT_WR);
  const nothing = openSync("/dev/null", constants.O_WRONLY);
  call("dup2", ["i32", "i32"])(nothing, 1);
  closeSync(nothing);
}

function fcntl(fd: number, command: number): number {
  return call("fcntl", ["i32", "i32"])(fd, command);
}
