// Finds functions of the system's C library that neither Bun nor Node offers, and reads `errno`. The other files of this folder
// call them; nothing else does.

import { dlopen, read, type FFITypeOrString, type Pointer } from "bun:ffi";
import { constants } from "node:os";
import { messageOf, ParleyError } from "../base/errors.ts";

/** A failed call of the C library, with a code like those of Node's errors. */
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

/** The address of this thread's `errno`. Get it before the call that may fail: finding it calls the system. */
export function errnoLocation(): Pointer {
  const location = pointerCall(process.platform === "darwin" ? "__error" : "__errno_location", [])();
  if (location === null) throw new ParleyError("failed", "this system's C library has no errno");
  return location;
}

/** The error of the call `name` that has just failed. Read it at once: the next system call may overwrite `errno`. */
export function errorAt(location: Pointer, name: string): SystemError {
  return new SystemError(name, read.i32(location, 0));
}

const LIBRARIES =
  process.platform === "darwin"
    ? ["libSystem.B.dylib"]
    : ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`];

type Arguments = (number | NodeJS.TypedArray)[];

const found = new Map<string, unknown>();

/** The C function `name`, which returns an `int` or a shorter integer. @throws {ParleyError} `failed` when there is none. */
export function call(name: string, args: FFITypeOrString[]): (...args: Arguments) => number {
  return find(name, args, "i32") as (...args: Arguments) => number;
}

/** The C function `name`, which returns a pointer. @throws {ParleyError} `failed` when there is none. */
export function pointerCall(name: string, args: FFITypeOrString[]): (...args: Arguments) => Pointer | null {
  return find(name, args, "ptr") as (...args: Arguments) => Pointer | null;
}

/** Makes a system call by its number, for this thread alone: the C library would make some of them for all threads. */
export function syscall(number: bigint, first: bigint, second: NodeJS.TypedArray): bigint {
  const make = find("syscall", ["i64", "i64", "ptr"], "i64") as (...args: unknown[]) => bigint;
  return make(number, first, second);
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
    hint: "use Linux or macOS with its usual C library",
    cause,
  });
}
