// The executable of another commit: built in a worktree of its own in a temporary folder, which is gone afterwards.

import { mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { undoAtExit } from "../cleanup.ts";

const ROOT = join(import.meta.dir, "..", "..");

export interface Before extends Disposable {
  /** Its hash, short. */
  commit: string;
  executable: string;
}

/** @throws {Error} when there is no such commit, or it cannot be built. */
export function buildCommit(name: string, say: (text: string) => void): Before {
  const commit = git("rev-parse", "--verify", "--short=10", "--end-of-options", `${name}^{commit}`);
  if (git("diff", "--name-only", commit, "HEAD", "--", "bun.lock") !== "")
    say(`${commit} has another bun.lock: it is built with the dependencies of now`);
  const folder = mkdtempSync(join(tmpdir(), "parley-before-"));
  const tree = join(folder, "tree");
  const remove = undoAtExit(() => {
    rmSync(folder, { recursive: true, force: true });
    git("worktree", "prune");
  });
  try {
    git("worktree", "add", "--detach", "--quiet", tree, commit);
    symlinkSync(realpathSync(join(ROOT, "node_modules")), join(tree, "node_modules"));
    run([process.execPath, "scripts/build.ts"], tree);
  } catch (error) {
    remove();
    throw error;
  }
  return { commit, executable: join(tree, "dist", "parley"), [Symbol.dispose]: remove };
}

const git = (...args: string[]) => run(["git", ...args], ROOT);

function run(argv: string[], cwd: string): string {
  const child = Bun.spawnSync(argv, { cwd, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  if (child.exitCode === 0) return child.stdout.toString().trim();
  throw new Error(`${argv.join(" ")} ended with ${child.exitCode}: ${child.stderr.toString().trim()}`);
}
