// Counts this process's file descriptors: those that are open, and those that it may have. Each connection is one. The listener
// derives its own limit from them, metrics show both, and process-limits.ts asks before it lowers the limit.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { systemCode } from "../base/errors.ts";

/** Assumed soft limit when the real one cannot be read, since no descriptor is left to read it with: Linux's default. */
const DEFAULT_LIMIT = 1024;

/** The soft limit of descriptors of this process; undefined on a system without `/proc`. */
export function maxDescriptors(): number | undefined {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined; // no /proc: not Linux
    return DEFAULT_LIMIT;
  }
}

/** The number of descriptors that this process has open; undefined on a system without `/proc`. */
export function openDescriptors(): number | undefined {
  try {
    // Since Linux 6.2 the size of this folder is the number of descriptors; before it was 0.
    return statSync("/proc/self/fd").size || readdirSync("/proc/self/fd").length;
  } catch (error) {
    return systemCode(error) === "EMFILE" ? maxDescriptors() : undefined;
  }
}
