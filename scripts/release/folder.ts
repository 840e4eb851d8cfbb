// Folders of a release: what is in them, and those that are only needed on the way.

import { mkdtempSync, readdirSync, realpathSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { undoAtExit } from "../cleanup.ts";

/** All files and folders below `folder`, sorted. */
export function pathsIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();
}

/** The files below `folder`, sorted. */
export function filesIn(folder: string): string[] {
  return pathsIn(folder).filter((path) => statSync(join(folder, path)).isFile());
}

export interface ScratchFolder extends Disposable {
  path: string;
}

/** A new folder. It is removed when it is disposed of, or by a signal that ends the process. */
export function scratchFolder(name: string): ScratchFolder {
  const path = realpathSync(mkdtempSync(join(tmpdir(), `parley-${name}-`)));
  return { path, [Symbol.dispose]: undoAtExit(() => rmSync(path, { recursive: true, force: true })) };
}
