// The list of a release's files with their hashes, as sha256sum(1) reads it.

import { createHash } from "node:crypto";
import { closeSync, openSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { filesIn } from "./folder.ts";

export const SUMS = "SHA256SUMS";

export function sha256(path: string): string {
  const hash = createHash("sha256");
  const file = openSync(path, "r");
  try {
    const part = Buffer.allocUnsafe(1 << 20);
    for (let size = readSync(file, part); size > 0; size = readSync(file, part))
      hash.update(part.subarray(0, size));
  } finally {
    closeSync(file);
  }
  return hash.digest("hex");
}

/** Writes the list of what is in `folder`, and returns it. */
export function writeSums(folder: string): string {
  const files = filesIn(folder);
  const text = files.map((file) => `${sha256(join(folder, file))}  ${file}\n`).join("");
  writeFileSync(join(folder, SUMS), text);
  return text;
}
