// What process 1 owes to the others: it becomes the parent of each process that has lost its own, and one that has ended
// stays a zombie until its parent has waited for it.

import { call } from "./libc.ts";

// Linux's numbers, as in waitid(2): only there are process 1 and its namespaces.

const P_ALL = 0;
const P_PID = 1;
const WNOHANG = 1;
const WEXITED = 4;
/** The process stays as it is, for another one to wait for it. */
const WNOWAIT = 0x0100_0000;
/** `sizeof (siginfo_t)` and the place of `si_pid`, in numbers of 32 bits. */
const SIGINFO_LENGTH = 32;
const SI_PID = 4;

/**
 * Waits for the children of this process that have ended, up to the first for which `isAwaited` says that something else
 * waits: it is to be called again after that.
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
