// Archives whose bytes depend on nothing but the content of the files: sorted, with one time, one owner and the usual modes.

import { chmodSync, cpSync, mkdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { output } from "../build.ts";
import type { Target } from "./targets.ts";

export interface ArchiveOptions {
  /** The file to make, `….tar.xz`. Its content is in a folder of the same name. */
  path: string;
  /** Name in the archive → file. */
  files: ReadonlyMap<string, string>;
  /** The time of all files, in seconds since 1970. */
  epoch: number;
  /** A folder for what is made on the way. */
  scratch: string;
  cpu: Target["cpu"];
  /** 0 to 9, as in xz(1). */
  level: number;
}

/** Makes an archive with GNU tar and xz. */
export async function makeArchive({
  path,
  files,
  epoch,
  scratch,
  cpu,
  level,
}: ArchiveOptions): Promise<void> {
  const name = basename(path, ".tar.xz");
  for (const [inside, file] of files) {
    const copy = join(scratch, name, inside);
    mkdirSync(dirname(copy), { recursive: true });
    cpSync(file, copy);
    chmodSync(copy, inside === "parley" ? 0o755 : 0o644);
  }
  const tar = join(scratch, `${name}.tar`);
  const same = [
    "--sort=name",
    `--mtime=@${epoch}`,
    "--owner=0",
    "--group=0",
    "--numeric-owner",
    "--mode=u=rwX,go=rX",
  ];
  await output(["tar", "--format=ustar", ...same, "-cf", tar, name], scratch);
  // The number of threads decides about the bytes: it is no setting of this machine. The filter for x86 is in every xz.
  const filter = cpu === "x64" ? ["--x86", `--lzma2=preset=${level}`] : [`-${level}`];
  await output(["bash", "-c", `exec xz --threads=2 --stdout "$@" > "$0"`, path, ...filter, tar], scratch);
}
