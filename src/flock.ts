// flock(2): the kernel's lock on an open file, released when its holder dies. Neither Bun nor Node has a call for it.

import { dlopen, FFIType } from "bun:ffi";
import { ParleyError } from "./errors.ts";

/** LOCK_EX | LOCK_NB, the same on Linux and macOS. */
export const LOCK_EXCLUSIVE_NONBLOCKING = 2 | 4;

const LIBRARIES =
  process.platform === "darwin"
    ? ["libSystem.B.dylib"]
    : ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`];

/** Takes the lock on `fd`; false when another process has it. It is given back by closing `fd`. */
export const flock: (fd: number, operation: number) => boolean = (() => {
  let call: ((fd: number, operation: number) => number) | undefined;
  return (fd, operation) => {
    call ??= load();
    return call(fd, operation) === 0;
  };
})();

function load(): (fd: number, operation: number) => number {
  for (const library of LIBRARIES) {
    try {
      return dlopen(library, { flock: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 } }).symbols
        .flock;
    } catch {
      continue; // the other C library, then
    }
  }
  throw new ParleyError("failed", "this system's C library has no flock(2)", {
    hint: "parley keeps its files safe with it, on Linux and macOS",
  });
}
