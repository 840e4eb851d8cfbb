// The errors of files, with a hint that says what to do. The other files of this folder throw them.

import { ParleyError, reasonOf, systemCode } from "../base/errors.ts";
import { mountAt } from "../os/mounts.ts";

/**
 * `corrupt`: the content is invalid, and was not changed. `unsafe`: another user could read or change the file. `locked`: another
 * process holds its lock. `unwritable`, `unreadable`: the system refused. `unsynced`: the file was changed, but a crash of the
 * system may undo it.
 */
export type FileErrorCode = "corrupt" | "unsafe" | "locked" | "unwritable" | "unreadable" | "unsynced";

export class FileError extends ParleyError<FileErrorCode> {
  override name = "FileError";
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "the system does not permit it",
  ENOENT: "there is no such file or folder",
  ENOTDIR: "a part of the path is not a folder",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EROFS: "the file system is read-only",
  EISDIR: "it is a folder",
  EBADF: "it is closed, or not open for this",
  EMFILE: "this process has too many open files (EMFILE)",
  ENFILE: "the system has too many open files (ENFILE)",
};

/** True for an error of the system, which has yet to be put into words; false for those of parley. */
export function isSystemError(error: unknown): boolean {
  return systemCode(error) !== undefined && !(error instanceof ParleyError);
}

/** The reason of a refusal: in words for common codes, otherwise the system's code. */
export function whyRefused(error: unknown): string {
  if (error instanceof ParleyError) return error.message;
  return REASONS[systemCode(error) ?? ""] ?? reasonOf(error);
}

/** The failure to read `path`. */
export function unreadable(path: string, error: unknown): FileError {
  return new FileError("unreadable", `cannot read ${path}: ${whyRefused(error)}`, { cause: error });
}

/** The failure to write `path`, which is as it was before. */
export function unwritable(path: string, error: unknown): FileError {
  const mount = systemCode(error) === "EBUSY" ? mountAt(path) : undefined;
  if (mount !== undefined) return mountedAlone(path, mount);
  return new FileError("unwritable", `cannot write ${path}: ${whyRefused(error)}`, {
    hint: "fix the cause and try again: the file is unchanged",
    cause: error,
  });
}

/** The failure of the disk to confirm a change of `path`. */
export function unsynced(path: string, error: unknown): FileError {
  const message = `${path} was changed, but the disk did not confirm the change: ${whyRefused(error)}`;
  return new FileError("unsynced", message, {
    hint: "check the disk: a crash may undo the change",
    cause: error,
  });
}

/** The failure to replace a single mounted file. @param source the origin of the mount, see {@link mountAt}. */
export function mountedAlone(path: string, source: string): FileError {
  return new FileError("unwritable", `cannot write ${path}: it is mounted as a single file, from ${source}`, {
    hint: "mount its folder instead: parley replaces the file, and a mounted file cannot be replaced",
  });
}
