// The umask and the limit of descriptors. parley changes both for itself; programs that it starts get the usual ones. cli.ts
// sets the umask, and services/program starts programs through `asInherited`.

import { openDescriptors } from "./descriptors.ts";
import { call } from "./libc.ts";

/** The umask that this process was started with, once `keepFilesPrivate` has changed it. */
let inheritedUmask: number | undefined;

/** Sets the umask so that files of this process can be used by its own user alone. */
export function keepFilesPrivate(): void {
  const before = process.umask(0o077);
  inheritedUmask ??= before;
}

/**
 * Runs the synchronous `spawn` with the umask that this process was started with and with the usual soft limit of descriptors.
 * Bun has raised the limit that this process was started with, and does not keep the old value.
 */
export function asInherited<T>(spawn: () => T): T {
  const umask = process.umask();
  process.umask(inheritedUmask ?? umask);
  try {
    return withUsualLimit(spawn);
  } finally {
    process.umask(umask);
  }
}

/** Linux's number. Other systems do not say how many descriptors are open, and their limit is left alone. */
const RLIMIT_NOFILE = 7;
/** The soft limit of Linux and systemd. It suits programs that use select(2) or close every possible descriptor. */
const USUAL_DESCRIPTORS = 1024;
/** Room for the descriptors that `spawn` and other threads open meanwhile. */
const SPARE_DESCRIPTORS = 64;

function withUsualLimit<T>(work: () => T): T {
  const open = openDescriptors();
  const before = new BigUint64Array(2); // struct rlimit: rlim_cur, rlim_max
  if (open === undefined || call("getrlimit", ["i32", "ptr"])(RLIMIT_NOFILE, before) !== 0) return work();
  // The limit must stay above what is open here, or the program's pipes could not be made.
  const usual = Math.ceil((open + SPARE_DESCRIPTORS) / USUAL_DESCRIPTORS) * USUAL_DESCRIPTORS;
  const [soft = 0n, hard = 0n] = before;
  if (soft <= usual) return work();
  const setrlimit = call("setrlimit", ["i32", "ptr"]);
  setrlimit(RLIMIT_NOFILE, BigUint64Array.of(BigInt(usual), hard));
  try {
    return work();
  } finally {
    setrlimit(RLIMIT_NOFILE, before);
  }
}
