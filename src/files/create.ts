// Making files and folders, with exactly the mode that is asked for, whatever the umask.

import { closeSync, constants, fchmodSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { ParleyError, systemCode } from "../base/errors.ts";
import { Rights } from "../os/rights.ts";
import { FileError, whyRefused } from "./file-error.ts";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY } = constants;

/**
 * Makes the file at `path` and opens it with `flags`.
 *
 * @throws the system's error: `EEXIST` when there is anything at `path`, a link too.
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

/** Opens the file at `path` with `flags`, made with `mode` when there is none. Links are not followed. */
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
      if (systemCode(error) !== "EEXIST") throw error; // another process was first: its file is opened
    }
  }
}

/**
 * Makes `folder`, and those above it, private to their user: root makes them for the user to whom the folder belongs that
 * is there already.
 *
 * @throws {FileError} `unwritable` when it cannot be made.
 */
export function makePrivateFolder(folder: string): void {
  try {
    makeFolder(folder);
  } catch (error) {
    if (error instanceof ParleyError) throw error;
    throw new FileError("unwritable", `cannot make the folder ${folder}: ${whyRefused(error)}`, {
      hint: "choose another with --data DIR",
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
