// Reads Linux's list of mounts, for files/: a single mounted file cannot be replaced. Other systems have neither the
// list nor mounts of single files.

import { readFileSync } from "node:fs";

/**
 * The origin of the mount at `path`, as its root and its source: `/srv/users.json on /dev/sda1`. Undefined when nothing is
 * mounted at exactly that path.
 *
 * @param path absolute, without symbolic links.
 */
export function mountAt(path: string): string | undefined {
  let list: string;
  try {
    list = readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    return undefined; // not Linux, or no /proc
  }
  // proc_pid_mountinfo(5): id, parent, device, root, mount point, options, optional fields, "-", type, source, …
  for (const line of list.split("\n").reverse()) {
    const [, , , root, point, ...rest] = line.split(" ");
    if (root === undefined || point === undefined || unescape(point) !== path) continue;
    const source = rest[rest.indexOf("-") + 2];
    return source === undefined ? unescape(root) : `${unescape(root)} on ${unescape(source)}`;
  }
  return undefined;
}

/** Reads the octal escapes that mountinfo has for spaces, tabs, newlines and backslashes. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
