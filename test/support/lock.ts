// The kernel's lock of a file that many processes change, held by a test, to make a moment certain.

import { closeSync, openSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { flock, LOCK_EXCLUSIVE_NONBLOCKING } from "../../src/os/flock.ts";

/** Holds the lock of the file at `path` until it is disposed of. */
export function holdLock(path: string): Disposable {
  const fd = openSync(join(dirname(path), `.${basename(path)}.lock`), "a", 0o600);
  if (!flock(fd, LOCK_EXCLUSIVE_NONBLOCKING)) throw new Error(`${path} is locked already`);
  return { [Symbol.dispose]: () => closeSync(fd) };
}
