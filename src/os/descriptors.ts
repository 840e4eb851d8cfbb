// File descriptors: each connection is one, and there are only so many.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { systemCode } from "../base/errors.ts";

/** What a process may have at least, on any Linux that serves: assumed where there is none left to look with. */
const FEWEST_DESCRIPTORS = 1024;

/** How many this process may have, by its soft limit; undefined where that cannot be known. */
export function maxDescriptors(): number | undefined {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined; // no /proc: not Linux
    return FEWEST_DESCRIPTORS; // none is left to look with
  }
}

/** How many it has; undefined where that cannot be known. */
export function openDescriptors(): number | undefined {
  try {
    // The folder's size is their number since Linux 6.2, and was 0 before.
    return statSync("/proc/self/fd").size || readdirSync("/proc/self/fd").length;
  } catch (error) {
    return systemCode(error) === "EMFILE" ? maxDescriptors() : undefined;
  }
}
