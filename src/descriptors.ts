// File descriptors: each connection is one, and there are only so many.

import { readdirSync, readFileSync } from "node:fs";

/** How many this process may have, by its soft limit; undefined where that cannot be known. */
export function maxDescriptors(): number | undefined {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined; // no /proc: not Linux, where limits are far higher than any default here
  }
}

/** How many it has; undefined where that cannot be known. */
export function openDescriptors(): number | undefined {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return undefined;
  }
}
