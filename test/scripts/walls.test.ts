// The walls hold, and would notice if they did not.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { findBreaches, readSource } from "../../scripts/walls.ts";

test("no room touches what belongs to another", () => {
  expect(findBreaches(readSource(join(import.meta.dir, "../..")))).toEqual([]);
});

const BREACHES: [string, string, string][] = [
  ["src/server.ts", "Bun.listen({ port: 1 });", "Bun.listen"],
  ["src/wire/frame.ts", "const now = Date.now();", "I/O, clock or randomness on the wire"],
  ["src/auth/store.ts", 'import { x } from "../wire/frame.ts";', "wire or net behind auth"],
  [
    "src/services/echo.ts",
    'import { Store } from "../auth/store.ts";',
    "connection, credential or store behind a service",
  ],
  ["src/client.ts", "process.exit(1);", "process.exit"],
  ["src/client.ts", "const x = y as any;", "any"],
];
test.each(BREACHES)("%s: %s is noticed", (file, line, wall) => {
  expect(findBreaches(new Map([[file, `// fine\n${line}\n`]]))).toEqual([{ wall, file, line: 2 }]);
});

test("a comment may speak of what stands behind a wall", () => {
  expect(findBreaches(new Map([["src/server.ts", "// Bun.listen is behind net\n"]]))).toEqual([]);
});
