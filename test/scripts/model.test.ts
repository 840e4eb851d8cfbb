// The session protocol in Promela holds what docs/protocol.md promises, and each fault that is put into it is found.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { lacksTools } from "../support/privileges.ts";

const FOLDER = join(import.meta.dir, "../../docs/model");
const MAX_MS = 300_000; // it takes 15 s on two idle cores

test.skipIf(lacksTools("spin", "gcc"))(
  "the models pass, and fail with each fault",
  async () => {
    const list = await Bun.file(join(FOLDER, "searches.txt")).text();
    const searches = list.split("\n").filter((line) => line.startsWith("small "));
    const check = Bun.spawn(["sh", join(FOLDER, "check.sh"), "small"], { stdout: "pipe", stderr: "pipe" });
    const [output, errors] = await Promise.all([check.stdout.text(), check.stderr.text()]);
    const results = output.trimEnd().split("\n");
    const isExpected = (result: string) => /: (passes, \d+ states in \S+ s|fails as it must: )/.test(result);
    expect(results.filter((result) => !isExpected(result))).toEqual([]);
    expect(errors).toBe("");
    expect(results).toHaveLength(searches.length);
    expect(await check.exited).toBe(0);
  },
  MAX_MS,
);
