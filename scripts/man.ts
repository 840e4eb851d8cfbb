// Writes the manual pages to dist/man, from the definitions of the commands, docs/protocol.md and scripts/man/texts.ts.
//
//     bun scripts/man.ts [FOLDER]        then: man -M dist/man parley-serve
//
// The same commit gives the same bytes: the date of the pages is that of the commit, or $SOURCE_DATE_EPOCH.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { manualPages } from "./man/pages.ts";

const root = join(import.meta.dir, "..");
const folder = process.argv[2] ?? join(root, "dist", "man");

for (const [name, text] of await manualPages(dateOfPages())) {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  process.stdout.write(`${path}\n`);
}

/** Without git and without the variable: today. */
function dateOfPages(): Date {
  const given = process.env["SOURCE_DATE_EPOCH"] ?? commitSeconds();
  return /^\d+$/.test(given) ? new Date(Number(given) * 1000) : new Date();
}

function commitSeconds(): string {
  const git = Bun.spawnSync(["git", "log", "-1", "--format=%ct"], { cwd: root, stderr: "ignore" });
  return git.stdout.toString().trim();
}
