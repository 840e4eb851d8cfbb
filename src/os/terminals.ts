// Flow control of pseudo-terminals, for services/program: the output of a terminal is held without a byte of its input. The
// terminal is found by the process that it controls, in Linux's /proc; other systems have no such way.

import { closeSync, constants, openSync } from "node:fs";
import { systemCode } from "../base/errors.ts";
import { call } from "./libc.ts";
import { processStat } from "./processes.ts";

/** Linux's first major device number of the terminals in /dev/pts; each has 256 of them. */
const FIRST_MAJOR = 136;

/** The path of the pseudo-terminal that controls the process `pid`; undefined when there is none, or no /proc. */
export function terminalOf(pid: number): string | undefined {
  const stat = processStat(pid);
  if (typeof stat !== "object") return undefined;
  const { terminal } = stat;
  const major = (terminal >> 8) & 0xfff;
  const minor = (terminal & 0xff) | ((terminal >>> 12) & 0xfff00);
  return major < FIRST_MAJOR || major > FIRST_MAJOR + 7
    ? undefined
    : `/dev/pts/${(major - FIRST_MAJOR) * 256 + minor}`;
}

/** Linux's actions of tcflow(3). */
const FLOW = { hold: 0, release: 1 } as const;

/**
 * Holds the output of the terminal at `path`, or lets it go on. Writers wait while it is held, in raw mode too, and Ctrl-Q does
 * not release it. False when the terminal cannot be opened.
 */
export function setFlow(path: string, action: keyof typeof FLOW): boolean {
  let fd: number;
  try {
    // O_NOCTTY: it must not become the terminal of this process.
    fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  } catch (error) {
    if (["EMFILE", "ENFILE", "EIO", "ENOENT", "ENXIO", "EACCES"].includes(systemCode(error) ?? ""))
      return false;
    throw error;
  }
  try {
    return call("tcflow", ["i32", "i32"])(fd, FLOW[action]) === 0;
  } finally {
    closeSync(fd);
  }
}
