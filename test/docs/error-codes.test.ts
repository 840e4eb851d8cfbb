// The codes of error events: docs/scripting.md lists those that there are, with their exit codes and meanings.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { ERROR_CODES } from "../../src/cli/exit-codes.ts";
import { ROOT } from "./markdown.ts";

test("docs/scripting.md lists each code of an error event, and no other", () => {
  const page = readFileSync(join(ROOT, "docs/scripting.md"), "utf8");
  const rows = [...page.matchAll(/^\| `(\w+)` +\| (\d+) +\| (.*?) +\|$/gm)];
  const listed = rows.map(([, code, exit, meaning]) => [code, Number(exit), meaning]);
  const events = Object.entries(ERROR_CODES).filter(([, { exit }]) => exit < 128);
  expect(listed).toEqual(events.map(([code, { exit, meaning }]) => [code, exit, meaning]));
});
