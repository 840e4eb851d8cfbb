// `bun run dev` runs the source, and passes its arguments on.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { scripts } from "../../package.json";

test("what is behind `bun run dev` is for parley", () => {
  const [, words = ""] = /&& bun (.*)$/.exec(scripts.dev) ?? [];
  const argv = [process.execPath, ...words.split(" "), "users", "--help"];
  const { exitCode, stdout } = Bun.spawnSync(argv, { cwd: join(import.meta.dir, "../..") });
  expect([exitCode, stdout.toString().split("\n")[0]]).toEqual([
    0,
    "parley users: manage accounts, sessions and known addresses",
  ]);
});
