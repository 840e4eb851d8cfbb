// Reaps orphans, for parley as process 1 of a container. Process 1 becomes the parent of each process that has lost its own, and
// a process that has ended stays a zombie until its parent waits for it. services/program calls this at each SIGCHLD.

import { call } from "./libc.ts";

// Linux's numbers, as in waitid(2).

const P_ALL = 0;
const P_PID = 1;
const WNOHANG = 1;
const WEXITED = 4;
/** Leave the child waitable, so that another call can wait for it. */
const WNOWAIT = 0x0100_0000;
/** `sizeof (siginfo_t)` and the offset of `si_pid`, both in 32-bit integers. */
const SIGINFO_LENGTH = 32;
const SI_PID = 4;

/**
 * Waits for children of this process that have ended. Stops at the first for which `isAwaited` is true: other code waits for
 * that child, and then calls this again.
 */
export function reapOrphans(isAwaited: (pid: number) => boolean): void {
  const waitid = call("waitid", ["u32", "u32", "ptr", "i32"]);
  const info = new Int32Array(SIGINFO_LENGTH);
  while (waitid(P_ALL, 0, info, WEXITED | WNOHANG | WNOWAIT) === 0) {
    const pid = info[SI_PID] ?? 0;
    if (pid === 0 || isAwaited(pid)) return;
    waitid(P_PID, pid, info, WEXITED | WNOHANG);
    info.fill(0);
  }
}
