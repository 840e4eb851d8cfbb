// The picture of the README: two terminals, a server and a client whose connection is lost and comes back.
//
//     bun scripts/build.ts && bun scripts/picture.ts            runs them, and writes docs/two-terminals.svg
//     bun scripts/build.ts && bun scripts/picture.ts --check    runs them, and compares; exit 1 when they look different now
//
// Both are the executable in pseudo-terminals, between them a proxy that cuts. Only what differs from run to run is replaced, by
// fixed text: ports, process ids, times, paths.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { clientScene } from "./picture/scene.ts";
import { toSvg } from "./picture/svg.ts";

const FILE = join(import.meta.dir, "..", "docs", "two-terminals.svg");

const svg = toSvg(await clientScene());
if (!process.argv.includes("--check")) {
  writeFileSync(FILE, svg);
} else if (readFileSync(FILE, "utf8") !== svg) {
  console.error("docs/two-terminals.svg is not what the executable shows: run bun scripts/picture.ts");
  process.exitCode = 1;
}
