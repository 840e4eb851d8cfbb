// Which sessions a running server has, for `users sessions` in another process: a small file for each server in the data
// folder, there as long as the server, written anew within half a second of a change. A server holds the kernel's lock on
// its own: one that is not held was left behind, whoever has its process id by now.
//
//     sessions-4711.json  {"sessions":[{"token":"…","user":"ann","peer":"…","since":1795258800000,"asleep_since":null}]}

import { closeSync, constants, openSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { systemCode } from "./errors.ts";
import { flock, LOCK_EXCLUSIVE_NONBLOCKING, LOCK_SHARED_NONBLOCKING } from "./libc.ts";
import { LIVE_FILE_MS } from "./limits.ts";
import { readPrivateFile, removeIfThere } from "./files/private-file.ts";

const LiveSession = v.object({
  /** Id of the token that it came in with, or that it was given. */
  token: v.nullable(v.string()),
  user: v.nullable(v.string()),
  peer: v.string(),
  /** In milliseconds since 1970, as the next. */
  since: v.number(),
  /** Since when its connection is lost; null while it has one. */
  asleep_since: v.nullable(v.number()),
});
export type LiveSession = v.InferOutput<typeof LiveSession>;
const File = v.object({ sessions: v.array(LiveSession) });

const NAME = /^sessions-\d+\.json$/;

/** A server's own file. */
export class LiveFile implements Disposable {
  readonly #path: string;
  readonly #list: () => Iterable<LiveSession>;
  readonly #failed: (error: unknown) => void;
  #timer: Timer | undefined;
  /** The descriptor that has the lock. */
  #lock: number | undefined;

  /** @param failed told when the file cannot be written: nothing else depends on it. */
  constructor(folder: string, list: () => Iterable<LiveSession>, failed: (error: unknown) => void) {
    this.#path = join(folder, `sessions-${process.pid}.json`);
    this.#list = list;
    this.#failed = failed;
    try {
      for (const path of filesIn(folder)) if (!isHeld(path)) removeIfThere(path);
      this.#lock = hold(this.#path);
    } catch (error) {
      failed(error);
    }
  }

  /** Something has changed. */
  touch(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      try {
        this.#lock ??= hold(this.#path);
        writeFileSync(this.#path, textOf(this.#list()), { mode: 0o600 });
      } catch (error) {
        this.#failed(error);
      }
    }, LIVE_FILE_MS).unref();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    removeIfThere(this.#path);
    if (this.#lock !== undefined) closeSync(this.#lock);
  }
}

/** One by one: what lives no longer than a moment costs no memory for good. */
function textOf(sessions: Iterable<LiveSession>): string {
  let text = "";
  for (const session of sessions) text += `${text === "" ? "" : ","}\n${JSON.stringify(session)}`;
  return `{"sessions":[${text}\n]}\n`;
}

/** The sessions of every server that runs with this data folder. A file that is just being written counts as empty. */
export function readLiveSessions(folder: string): LiveSession[] {
  return filesIn(folder).flatMap((path) => {
    if (!isHeld(path)) return [];
    const { text } = readPrivateFile(path);
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), File), text ?? "");
    return parsed.success ? parsed.output.sessions : [];
  });
}

function filesIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => NAME.test(name))
    .map((name) => join(folder, name));
}

const { O_RDONLY, O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;

/** The descriptor with the lock on the file at `path`; undefined while somebody looks whether it is held. */
function hold(path: string): number | undefined {
  const fd = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
  if (flock(fd, LOCK_EXCLUSIVE_NONBLOCKING)) return fd;
  closeSync(fd);
  return undefined;
}

/** Does the server live whose file this is? */
function isHeld(path: string): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    return !flock(fd, LOCK_SHARED_NONBLOCKING);
  } catch (error) {
    return systemCode(error) !== "ENOENT"; // somebody else's, perhaps, but there
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
