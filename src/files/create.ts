// Creates files and folders with exactly the given mode, independently of the umask. The log, the data folder, atomic-write.ts,
// file-lock.ts and cli/serve create with this.

import { closeSync, constants, fchmodSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { ParleyError, systemCode } from "../base/errors.ts";
import { Rights } from "../os/rights.ts";
import { FileError, whyRefused } from "./file-error.ts";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY } = constants;

/**
 * Creates the file at `path` and opens it with `flags`.
 *
 * @throws the system's error: `EEXIST` when `path` exists, even as a symbolic link.
 */
export function createFile(path: string, flags: number, mode: number): number {
  const fd = openSync(path, flags | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  try {
    fchmodSync(fd, mode);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Opens the file at `path` with `flags`, and creates it with `mode` when there is none. Does not follow symbolic links. */
export function openOrCreate(path: string, flags: number, mode: number): number {
  for (;;) {
    try {
      return openSync(path, flags | O_NOFOLLOW);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
    try {
      return createFile(path, flags, mode);
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw error; // another process was first: open its file
    }
  }
}

/**
 * Creates `folder` and the missing folders above it, with mode 0700. Root creates them for the owner of the folder that exists
 * already.
 *
 * @throws {FileError} `unwritable` when a folder cannot be made.
 */
export function makePrivateFolder(folder: string): void {
  try {
    makeFolder(folder);
  } catch (error) {
    if (error instanceof ParleyError) throw error;
    throw new FileError("unwritable", `cannot create the folder ${folder}: ${whyRefused(error)}`, {
      hint: "choose another folder with --data DIR",
      cause: error,
    });
  }
}

function makeFolder(folder: string): void {
  try {
    if (statSync(folder).isDirectory()) return;
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    if (folder !== dirname(folder)) makeFolder(dirname(folder));
  }
  Rights.within(dirname(folder)).use(() => {
    try {
      mkdirSync(folder, { mode: 0o700 });
    } catch (error) {
      if (systemCode(error) === "EEXIST" && statSync(folder).isDirectory()) return; // another process was first
      throw error;
    }
    const fd = openSync(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    try {
      fchmodSync(fd, 0o700);
    } finally {
      closeSync(fd);
    }
  });
}
