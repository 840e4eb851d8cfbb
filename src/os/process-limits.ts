// What this process was started with and has changed for itself alone: the programs that it starts get it as it was.

import { openDescriptors } from "./descriptors.ts";
import { call } from "./libc.ts";

let givenUmask: number | undefined;

/** From now on each file that this process makes is its user's alone. */
export function keepFilesPrivate(): void {
  const before = process.umask(0o077);
  givenUmask ??= before;
}

/**
 * Runs `spawn`, which must not wait, with the umask that this process was started with, and with the usual soft limit of
 * descriptors: Bun has raised the one that this process was started with, and does not say what it was.
 */
export function asInherited<T>(spawn: () => T): T {
  const umask = process.umask();
  process.umask(givenUmask ?? umask);
  try {
    return withUsualLimit(spawn);
  } finally {
    process.umask(umask);
  }
}

/** Linux's number; elsewhere it is not asked for, since nothing tells how many descriptors are open. */
const RLIMIT_NOFILE = 7;
/** Linux's and systemd's soft limit, for programs that use select(2), or close all that there may be. */
const USUAL_DESCRIPTORS = 1024;
/** For what `spawn` and other threads open meanwhile. */
const SPARE_DESCRIPTORS = 64;

function withUsualLimit<T>(work: () => T): T {
  const open = openDescriptors();
  const given = new BigUint64Array(2); // struct rlimit: rlim_cur, rlim_max
  if (open === undefined || call("getrlimit", ["i32", "ptr"])(RLIMIT_NOFILE, given) !== 0) return work();
  // With more of its own open this process could not make the program's pipes.
  const usual = Math.ceil((open + SPARE_DESCRIPTORS) / USUAL_DESCRIPTORS) * USUAL_DESCRIPTORS;
  const [soft = 0n, hard = 0n] = given;
  if (soft <= usual) return work();
  const setrlimit = call("setrlimit", ["i32", "ptr"]);
  setrlimit(RLIMIT_NOFILE, BigUint64Array.of(BigInt(usual), hard));
  try {
    return work();
  } finally {
    setrlimit(RLIMIT_NOFILE, given);
  }
}
