// The worktree of another commit is gone when a comparison was stopped.

import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { tempFolder } from "../support/folder.ts";
import { EXECUTABLE } from "../support/executable.ts";

const ROOT = join(import.meta.dir, "..", "..");
const tools = ["git", "cc"].every((tool) => Bun.which(tool) !== null);
const isRepository = tools && Bun.spawnSync(["git", "rev-parse", "--verify", "HEAD"], { cwd: ROOT }).success;

function start(folder: string, ...flags: string[]) {
  return Bun.spawn([process.execPath, join(ROOT, "scripts", "bench.ts"), "--parley", EXECUTABLE, ...flags], {
    env: { ...process.env, TMPDIR: folder },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

function worktrees(): string {
  return Bun.spawnSync(["git", "worktree", "list"], { cwd: ROOT }).stdout.toString();
}

test.skipIf(!isRepository)("Ctrl-C during the rounds leaves neither a folder nor a worktree", async () => {
  using folder = tempFolder();
  const bench = start(folder.path, "--against", "HEAD", "--workloads", "one", "--contenders", "none");
  let said = "";
  for await (const chunk of bench.stderr) {
    said += Buffer.from(chunk).toString();
    if (!said.includes("none@before: ")) continue;
    expect(worktrees()).toContain(folder.path);
    bench.kill("SIGINT");
    break;
  }
  expect([await bench.exited, said]).toEqual([130, said]);
  expect(readdirSync(folder.path).filter((name) => name.startsWith("parley-"))).toEqual([]);
  expect(worktrees()).not.toContain(folder.path);
});

test.skipIf(!isRepository)("a commit that there is not is an error, and nothing is left", async () => {
  using folder = tempFolder();
  const bench = start(folder.path, "--against", "no-such-commit");
  const [code, text] = [await bench.exited, await bench.stderr.text()];
  expect(text).toContain("no-such-commit");
  expect(code).toBe(2);
  expect(readdirSync(folder.path).filter((name) => name.startsWith("parley-"))).toEqual([]);
});
