// Orphans: processes that have lost their parent. parley becomes the parent of those that its programs leave behind: as process 1
// of a container it does so anyway, elsewhere since it asks Linux for it. It finds them, so that they can be ended, and waits for
// them, since a process that has ended stays a zombie until its parent does. services/program calls this.

import { call } from "./libc.ts";
import { ownChildren, processStat } from "./processes.ts";

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

/** PR_SET_CHILD_SUBREAPER of prctl(2). */
const SET_CHILD_SUBREAPER = 36;

/** Makes this process the parent of every descendant whose parent ends. Only Linux can do that. */
export function adoptOrphans(): void {
  if (process.platform !== "linux") return;
  call("prctl", ["i32", "u64", "u64", "u64", "u64"])(SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/** How long a zombie is left to others. Bun waits for a child of its own as soon as the event loop turns. */
const ZOMBIE_PAUSE_MS = 100;

/**
 * The orphans that this process has adopted.
 *
 * Each is a child of this process, and so its process id remains its own until this process waits for it, which happens in `look`
 * alone: until the next look an id can be signalled, and means no other process.
 */
export class Orphans {
  readonly #isAwaited: (pid: number) => boolean;
  readonly #ownSession = sessionOf(process.pid);
  /** Zombies, and since when they are known, by `performance.now`. */
  #zombies = new Map<number, number>();
  #willLook = false;

  /** @param isAwaited true for children that other code waits for. */
  constructor(isAwaited: (pid: number) => boolean) {
    this.#isAwaited = isAwaited;
  }

  /**
   * The orphans that run, and whether the list is complete: it may lack children of those that have just ended, which are waited
   * for.
   */
  look(): { running: number[]; isComplete: boolean } {
    const running: number[] = [];
    const zombies = new Map<number, number>();
    const now = performance.now();
    for (const pid of ownChildren()) {
      if (this.#isAwaited(pid)) continue;
      const stat = processStat(pid);
      // A program leads a session of its own; other children are in the session of this process.
      if (typeof stat !== "object" || stat.session === this.#ownSession) continue;
      if (stat.state !== "Z") running.push(pid);
      else if (!this.#reap(pid, now)) zombies.set(pid, this.#zombies.get(pid) ?? now);
    }
    this.#zombies = zombies;
    if (zombies.size > 0 && !this.#willLook) {
      this.#willLook = true;
      setTimeout(() => this.#lookAgain(), ZOMBIE_PAUSE_MS).unref();
    }
    return { running, isComplete: ![...zombies.values()].includes(now) };
  }

  #lookAgain(): void {
    this.#willLook = false;
    this.look();
  }

  #reap(pid: number, now: number): boolean {
    const since = this.#zombies.get(pid);
    if (since === undefined || now - since < ZOMBIE_PAUSE_MS) return false;
    call("waitpid", ["i32", "ptr", "i32"])(pid, new Int32Array(1), WNOHANG);
    return true;
  }
}

function sessionOf(pid: number): number | undefined {
  const stat = processStat(pid);
  return typeof stat === "object" ? stat.session : undefined;
}
