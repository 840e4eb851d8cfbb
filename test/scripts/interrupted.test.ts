// A release that is interrupted takes its folder with it, and the programs that it has started.

import { mkdirSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { until } from "../support/attack.ts";
import { tempFolder } from "../support/folder.ts";
import { lacksRepository } from "../support/privileges.ts";

const ROOT = join(import.meta.dir, "../..");

/** Is there a program whose working directory is below `folder`? */
function isUsed(folder: string): boolean {
  return readdirSync("/proc").some((name) => {
    try {
      return /^\d+$/.test(name) && readlinkSync(`/proc/${name}/cwd`).startsWith(folder);
    } catch {
      return false; // it has ended, or belongs to another user
    }
  });
}

test.skipIf(process.platform !== "linux" || lacksRepository()).each([
  ["SIGTERM", 143],
  ["SIGINT", 130],
] as const)("a release that %s ends leaves nothing", async (signal, status) => {
  using folder = tempFolder();
  const TMPDIR = join(folder.path, "tmp");
  mkdirSync(TMPDIR);
  const argv = ["--dirty", "--out", join(folder.path, "out")];
  const release = Bun.spawn([process.execPath, join(ROOT, "scripts/release.ts"), ...argv], {
    env: { ...process.env, TMPDIR },
    stdin: "ignore",
    stderr: "inherit",
  });
  try {
    await until("a program in its folder", true, () => isUsed(TMPDIR));
    release.kill(signal);
    expect(await release.exited).toBe(status);
    expect(readdirSync(TMPDIR)).toEqual([]);
    await until("a program in its folder", false, () => isUsed(TMPDIR));
  } finally {
    release.kill("SIGKILL");
  }
});
