// The clean checkout that a release is made from: a copy of the files that git knows, in a new folder, with the packages of both
// lock files. They are downloaded into an empty cache, since Bun compares a package with its hash only when it downloads it.

import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { currentCommit, output } from "../build.ts";
import { scratchFolder } from "./folder.ts";
import { nativeTarget, type Target } from "./targets.ts";

const ROOT = join(import.meta.dir, "..", "..");
/** Where the pinned runtimes are, in the project. */
export const RUNTIMES = "scripts/release";

export interface Stage extends Disposable {
  root: string;
  /** The Bun of the lock file: everything is made with it. */
  bun: string;
  version: string;
  /** The first digits of the commit; a plus sign follows where files differ from it. */
  commit: string;
  /** The time of the commit, in seconds since 1970. Files of the release have it. */
  epoch: number;
}

/** @param mayDiffer take the files as they are, although they are not those of the commit. */
export async function openStage(targets: readonly Target[], mayDiffer: boolean): Promise<Stage> {
  const commit = await currentCommit();
  if (commit === "") throw new Error("a release is made from a git checkout");
  if (commit.endsWith("+") && !mayDiffer) {
    throw new Error(
      "the checkout has changes that are not committed: commit them, or add --dirty to try something",
    );
  }
  const folder = scratchFolder("release");
  const { path: root } = folder;
  try {
    await copyFiles(root);
    const compiler = nativeTarget() ?? fail("releases are made on linux-x64, linux-arm64 or darwin-arm64");
    await install(root, [...targets, compiler]);
    const bun = runtimeOf(root, compiler);
    const { version, packageManager } = readJson(join(root, "package.json"));
    if (packageManager !== `bun@${await output([bun, "--version"], root)}`) {
      fail(`package.json says ${String(packageManager)}, and ${RUNTIMES}/package.json has another Bun`);
    }
    const made = { root, bun, version: String(version), commit, epoch: await epoch() };
    return { ...made, [Symbol.dispose]: folder[Symbol.dispose] };
  } catch (error) {
    folder[Symbol.dispose]();
    throw error;
  }
}

/** The executable in the npm package of a runtime. */
export function runtimeOf(root: string, target: Target): string {
  return join(root, RUNTIMES, "node_modules", target.runtime, "bin", "bun");
}

export function readJson(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
}

async function copyFiles(to: string): Promise<void> {
  const list = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"];
  for (const file of (await output(list, ROOT)).split("\n")) {
    if (!existsSync(join(ROOT, file))) continue;
    mkdirSync(dirname(join(to, file)), { recursive: true });
    cpSync(join(ROOT, file), join(to, file));
  }
}

/** Installs what the lock files name. `--os`, `--cpu` and `--libc` leave out the runtimes that are not needed. */
async function install(root: string, targets: readonly Target[]): Promise<void> {
  const cache = join(root, "cache");
  // The flag for the cache gives way to the variable (Bun 1.4.5).
  const env = { ...process.env, BUN_INSTALL_CACHE_DIR: cache, TMPDIR: root };
  const bun = async (cwd: string, ...more: string[]) => {
    const argv = [process.execPath, "install", "--frozen-lockfile", "--silent", "--ignore-scripts", ...more];
    await output(argv, cwd, { env });
  };
  await bun(root);
  for (const { os, cpu, libc } of targets) {
    await bun(join(root, RUNTIMES), `--os=${os}`, `--cpu=${cpu}`, `--libc=${libc ?? "*"}`);
  }
  rmSync(cache, { recursive: true });
}

/** The time of all files that are made. */
export async function epoch(): Promise<number> {
  return Number(
    process.env["SOURCE_DATE_EPOCH"] ?? (await output(["git", "log", "-1", "--format=%ct"], ROOT)),
  );
}

function fail(message: string): never {
  throw new Error(message);
}
