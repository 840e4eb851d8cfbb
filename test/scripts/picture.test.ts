// The picture of the README is what the executable shows.

import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { clientScene } from "../../scripts/picture/scene.ts";
import { toSvg } from "../../scripts/picture/svg.ts";

setDefaultTimeout(90_000);

test("docs/two-terminals.svg is a real run: bun scripts/picture.ts draws it anew", async () => {
  const file = join(import.meta.dir, "..", "..", "docs", "two-terminals.svg");
  expect(toSvg(await clientScene())).toBe(readFileSync(file, "utf8"));
});
