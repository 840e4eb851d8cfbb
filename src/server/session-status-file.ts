// The list of a server's sessions (auth/session-status.ts) in a small file in the data folder, there as long as the server, written
// anew within half a second of a change.
//
//     sessions-1f0c….json  {"n":7,"sessions":[{"token":"…","user":"ann","peer":"…","since":1795258800000,"detached_since":null}],"end":7}
//
// Its name is random: process ids are no identity, two containers have the same ones. A server holds the kernel's lock on
// its file and writes through the descriptor that holds it; a file that is not locked was left behind. It is written in
// place, so that the lock stays on it: a reader that finds two different numbers in it reads it again.

import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readdirSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import {
  SessionStatus,
  usedBy,
  type PublishedSessions,
  type SessionLists,
  type SessionStatuses,
} from "../auth/session-status.ts";
import type { InUse } from "../auth/store.ts";
import { systemCode } from "../base/errors.ts";
import { removeIfThere } from "../files/atomic-write.ts";
import { createFile } from "../files/create.ts";
import { FileError, isSystemError, unreadable, unwritable } from "../files/file-error.ts";
import { readPrivateFile } from "../files/private-file.ts";
import { flock, LOCK_EXCLUSIVE_NONBLOCKING, LOCK_SHARED_NONBLOCKING } from "../os/flock.ts";
import { STATUS_FILE_MS } from "../base/limits.ts";
import { Rights } from "../os/rights.ts";

const File = v.pipe(
  v.object({ n: v.number(), sessions: v.array(SessionStatus), end: v.number() }),
  v.check(({ n, end }) => n === end),
);

const NAME = /^sessions-[0-9a-f]+\.json$/;
/** How often a server looks whether its file is still there, in milliseconds. */
const CHECK_MS = 1000;
/** Reads of a file that is being written, until it is given up. Each takes longer than a write. */
const MAX_READS = 100;

/** A server's own file. */
class SessionStatusFile implements PublishedSessions {
  readonly #folder: string;
  readonly #list: () => Iterable<SessionStatus>;
  readonly #failed: (error: FileError) => void;
  readonly #interval: Timer;
  #timer: Timer | undefined;
  #held: HeldFile | undefined;
  #writes = 0;
  /** Why it could not be written the last time. */
  #complaint: string | undefined;

  /** @param failed called once for each reason why the file cannot be written; that is tried again all the time. */
  constructor(folder: string, list: () => Iterable<SessionStatus>, failed: (error: FileError) => void) {
    this.#folder = folder;
    this.#list = list;
    this.#failed = failed;
    this.#update();
    this.#interval = setInterval(() => this.#check(), CHECK_MS).unref();
  }

  /** Something has changed. */
  scheduleWrite(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#update();
    }, STATUS_FILE_MS).unref();
  }

  #update(): void {
    try {
      this.#write();
      this.#complaint = undefined;
    } catch (error) {
      const code = systemCode(error);
      if (code === undefined) throw error;
      // Its name is another with each try.
      if (code !== this.#complaint) this.#failed(unwritable(join(this.#folder, "sessions-….json"), error));
      this.#complaint = code;
      this.scheduleWrite();
    }
  }

  /** Makes a new file when this one was removed, or the folder was replaced. */
  #check(): void {
    if (this.#held === undefined || isThere(this.#held)) return;
    closeSync(this.#held.fd);
    this.#held = undefined;
    this.#update();
  }

  #write(): void {
    if (this.#held === undefined) {
      this.#held = Rights.within(this.#folder).use(() => {
        removeLeftBehind(this.#folder);
        return createLocked(this.#folder);
      });
    }
    const { fd } = this.#held;
    const bytes = Buffer.from(textOf(this.#list(), ++this.#writes));
    // From the start on, and then the rest of the longer text before it is cut off.
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, at);
    ftruncateSync(fd, bytes.length);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    return Promise.resolve();
  }

  #close(): void {
    clearTimeout(this.#timer);
    clearInterval(this.#interval);
    if (this.#held === undefined) return;
    const { path, fd } = this.#held;
    try {
      Rights.within(this.#folder).use(() => removeIfThere(path));
    } catch (error) {
      if (systemCode(error) === undefined) throw error; // the next server removes what is left behind
    } finally {
      closeSync(fd);
    }
  }
}

/** The lists of the servers that share a data folder. */
export class SessionStatusFiles implements SessionLists {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  publish(list: () => Iterable<SessionStatus>, failed: (error: FileError) => void): PublishedSessions {
    return new SessionStatusFile(this.#folder, list, failed);
  }

  statuses(): Promise<SessionStatuses> {
    return Promise.resolve().then(() => readSessionStatuses(this.#folder));
  }
}

function isThere({ path, fd }: HeldFile): boolean {
  try {
    const [there, held] = [lstatSync(path), fstatSync(fd)];
    return there.ino === held.ino && there.dev === held.dev;
  } catch (error) {
    return systemCode(error) !== "ENOENT"; // whatever else: it may be there
  }
}

/** One by one: what lives no longer than a moment costs no memory for good. */
function textOf(sessions: Iterable<SessionStatus>, n: number): string {
  let text = "";
  for (const session of sessions) text += `${text === "" ? "" : ","}\n${JSON.stringify(session)}`;
  return `{"n":${n},"sessions":[${text}\n],"end":${n}}\n`;
}

/** The sessions of every server that runs with this data folder. */
function readSessionStatuses(folder: string): SessionStatuses {
  const rights = Rights.within(folder);
  const failures: FileError[] = [];
  const sessions = rights
    .use(() => filesIn(folder).filter(isLocked))
    .flatMap((path) => {
      try {
        return readWhole(path, rights);
      } catch (error) {
        if (!(error instanceof FileError)) throw error;
        failures.push(error);
        return [];
      }
    });
  return { sessions, failures };
}

/** What those sessions use; undefined when not all servers can be asked: everything may be in use. */
export function inUse(folder: string): InUse | undefined {
  try {
    return usedBy(readSessionStatuses(folder));
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return undefined; // the folder cannot be read now
  }
}

function readWhole(path: string, rights: Rights): SessionStatus[] {
  for (let reads = 0; ; reads++) {
    const { text } = readPrivateFile(path);
    if (text === null) return []; // its server has ended
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), File), text);
    if (parsed.success) return parsed.output.sessions;
    if (reads < MAX_READS && rights.use(() => isLocked(path))) continue;
    throw new FileError("unreadable", `${path} is incomplete`, {
      hint: "check that its server is not stopped, and that the disk is not full",
    });
  }
}

function filesIn(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    throw isSystemError(error) ? unreadable(folder, error) : error;
  }
  return names.filter((name) => NAME.test(name)).map((name) => join(folder, name));
}

interface HeldFile {
  path: string;
  /** Has the lock. */
  fd: number;
}

const { O_RDONLY, O_RDWR, O_NOFOLLOW, O_NONBLOCK } = constants;

/** A new file, and the lock on it. */
function createLocked(folder: string): HeldFile {
  for (;;) {
    const path = join(folder, `sessions-${randomBytes(8).toString("hex")}.json`);
    const fd = createFile(path, O_RDWR, 0o600);
    try {
      // Another process may have taken it for one that was left behind, before it was locked.
      if (flock(fd, LOCK_EXCLUSIVE_NONBLOCKING) && fstatSync(fd).nlink > 0) return { path, fd };
    } catch (error) {
      removeIfThere(path);
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
    removeIfThere(path);
  }
}

/** Removes the files of servers that were killed. */
function removeLeftBehind(folder: string): void {
  // Each is locked until it is gone: a server that has just made it cannot lock it in between.
  for (const path of filesIn(folder)) isLeftBehind(path, () => removeIfThere(path));
}

/** Does the server live whose file this is? */
function isLocked(path: string): boolean {
  return !isLeftBehind(path, () => undefined);
}

/** Has no process the lock of the file at `path`? Then `work` is done while this one has it. */
function isLeftBehind(path: string, work: () => void): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!flock(fd, LOCK_SHARED_NONBLOCKING)) return false;
    work();
    return true;
  } catch (error) {
    return systemCode(error) === "ENOENT"; // not to be opened, or no locks here: it may be a live server's
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
