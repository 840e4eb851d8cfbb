// The clean checkout that a release is made from: a copy of the files that git knows, in a new folder, with the packages of both
// lock files. They are downloaded into an empty cache, since Bun compares a package with its hash only when it downloads it.

import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { currentCommit, output } from "../build.ts";
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
export function openStage(targets: readonly Target[], mayDiffer: boolean): Stage {
  const commit = currentCommit();
  if (commit === "") throw new Error("a release is made from a git checkout");
  if (commit.endsWith("+") && !mayDiffer) {
    throw new Error(
      "the checkout has changes that are not committed: commit them, or add --dirty to try something",
    );
  }
  const root = realpathSync(mkdtempSync(join(tmpdir(), "parley-release-")));
  const stage = { root, [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }) };
  try {
    copyFiles(root);
    const compiler = nativeTarget() ?? fail("releases are made on linux-x64, linux-arm64 or darwin-arm64");
    install(root, [...targets, compiler]);
    const bun = runtimeOf(root, compiler);
    const { version, packageManager } = readJson(join(root, "package.json"));
    if (packageManager !== `bun@${output([bun, "--version"], root)}`) {
      fail(`package.json says ${String(packageManager)}, and ${RUNTIMES}/package.json has another Bun`);
    }
    return { ...stage, bun, version: String(version), commit, epoch: epoch() };
  } catch (error) {
    stage[Symbol.dispose]();
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

function copyFiles(to: string): void {
  const list = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"];
  for (const file of output(list, ROOT).split("\n")) {
    if (!existsSync(join(ROOT, file))) continue;
    mkdirSync(dirname(join(to, file)), { recursive: true });
    cpSync(join(ROOT, file), join(to, file));
  }
}

/** Installs what the lock files name. `--os`, `--cpu` and `--libc` leave out the runtimes that are not needed. */
function install(root: string, targets: readonly Target[]): void {
  const cache = join(root, "cache");
  const env = { ...process.env, BUN_INSTALL_CACHE_DIR: cache }; // the flag for it gives way to the variable (Bun 1.4.5)
  const bun = (cwd: string, ...more: string[]) => {
    const argv = [process.execPath, "install", "--frozen-lockfile", "--silent", "--ignore-scripts", ...more];
    output(argv, cwd, { env });
  };
  bun(root);
  for (const { os, cpu, libc } of targets) {
    bun(join(root, RUNTIMES), `--os=${os}`, `--cpu=${cpu}`, `--libc=${libc ?? "*"}`);
  }
  rmSync(cache, { recursive: true });
}

/** The time of all files that are made. */
export function epoch(): number {
  return Number(process.env["SOURCE_DATE_EPOCH"] ?? output(["git", "log", "-1", "--format=%ct"], ROOT));
}

function fail(message: string): never {
  throw new Error(message);
}
