// The walls hold, and would notice if they did not.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { findBreaches, findCircles, readSource } from "../../scripts/walls.ts";

test("no room touches what belongs to another", () => {
  const source = readSource(join(import.meta.dir, "../.."));
  expect(findBreaches(source)).toEqual([]);
  expect(findCircles(source)).toEqual([]);
});

const BREACHES: [string, string, string][] = [
  ["src/server/server.ts", "Bun.listen({ port: 1 });", "Bun.listen"],
  ["src/wire/frame.ts", "const now = Date.now();", "I/O, clock or randomness on the wire"],
  ["src/auth/store.ts", 'import { x } from "../wire/frame.ts";', "wire behind auth"],
  ["src/services/echo.ts", 'import { Store } from "../auth/store.ts";', "an import from a floor above"],
  ["src/net/dial.ts", 'const x = await import("../cli/flags.ts");', "an import from a floor above"],
  ["src/net/dial.ts", 'import { x } from "../../cli.ts";', "an import from outside src/"],
  ["src/talk/piped.ts", 'import { x } from "../base/errors.ts";', "a folder that is no floor"],
  ["src/client/client.ts", "process.exit(1);", "process.exit"],
  ["src/client/client.ts", "const x = y as any;", "any"],
];
test.each(BREACHES)("%s: %s is noticed", (file, line, wall) => {
  expect(findBreaches(new Map([[file, `// fine\n${line}\n`]]))).toEqual([{ wall, file, line: 2 }]);
});

test("a comment may speak of what stands behind a wall", () => {
  expect(findBreaches(new Map([["src/server/server.ts", "// Bun.listen is behind net\n"]]))).toEqual([]);
});

test("files that import each other are noticed, also over others", () => {
  const files = new Map([
    ["src/base/a.ts", 'import { b } from "./b.ts";'],
    ["src/base/b.ts", 'import type { C } from "./c.ts";'],
    ["src/base/c.ts", 'import { a } from "./a.ts";'],
    ["src/base/d.ts", 'import { a } from "./a.ts";'],
  ]);
  expect(findCircles(files)).toEqual([["src/base/a.ts", "src/base/b.ts", "src/base/c.ts"]]);
});
