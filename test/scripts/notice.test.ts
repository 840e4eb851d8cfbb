// THIRD-PARTY.md: every package whose code is in the executable has its licence there; Bun, its source and the texts of the LGPL.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { licencesOf, notice } from "../../scripts/release/notice.ts";
import { EXECUTABLE } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";

const ROOT = join(import.meta.dir, "../..");

/** A checkout whose cli.ts needs the package `used`, and that has `unused` beside it. */
function checkout(root: string): { used: string } {
  writeFileSync(join(root, "cli.ts"), 'import { word } from "used";\nprocess.stdout.write(word);\n');
  const packages = Object.fromEntries(
    ["used", "unused"].map((name) => [name, [`${name}@1.0.0`, "", {}, ""]]),
  );
  writeFileSync(join(root, "bun.lock"), JSON.stringify({ packages }));
  for (const name of ["used", "unused"]) {
    const folder = join(root, "node_modules", name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), JSON.stringify({ name, version: "1.0.0", license: "MIT" }));
    writeFileSync(join(folder, "index.js"), 'export const word = "hello";\n');
  }
  return { used: join(root, "node_modules", "used") };
}

describe("the licences of packages", () => {
  test("are those of what the bundler reads, with all files that are about rights", async () => {
    using folder = tempFolder();
    const { used } = checkout(folder.path);
    writeFileSync(join(used, "LICENSE"), "You may.\n");
    writeFileSync(join(used, "NOTICE.txt"), "Made by Ann.\r\n");
    const [one, ...others] = await licencesOf(folder.path);
    expect(others).toEqual([]);
    expect(one).toMatchObject({
      id: "MIT",
      text: "You may.\n\nMade by Ann.",
      packages: [{ name: "used", version: "1.0.0" }],
    });
  });

  test("are asked of each: without a file, or with an empty one, there is no release", async () => {
    using folder = tempFolder();
    const { used } = checkout(folder.path);
    const failure = () => licencesOf(folder.path).catch((error: unknown) => String(error));
    expect(await failure()).toContain("node_modules/used has no licence");
    writeFileSync(join(used, "LICENSE"), "\n");
    expect(await failure()).toContain("node_modules/used has no licence");
  });

  test("have the name that package.json gives them", async () => {
    using folder = tempFolder();
    const { used } = checkout(folder.path);
    writeFileSync(join(used, "LICENSE"), "You may.\n");
    writeFileSync(join(used, "package.json"), '{ "name": "used" }');
    const failure = await licencesOf(folder.path).catch((error: unknown) => String(error));
    expect(failure).toContain("node_modules/used/package.json names no licence");
  });

  test("are asked of what bun.lock names", async () => {
    using folder = tempFolder();
    checkout(folder.path);
    writeFileSync(join(folder.path, "bun.lock"), '{ "packages": {} }');
    const failure = await licencesOf(folder.path).catch((error: unknown) => String(error));
    expect(failure).toContain("bun.lock has no used");
  });
});

describe("the file of this checkout", () => {
  const text = notice(ROOT);

  const folder = join(EXECUTABLE, "..");
  const maps = readdirSync(folder).filter((name) => name.endsWith(".map"));

  test.skipIf(maps.length === 0)("names all packages whose code is in the executable", async () => {
    const sources = maps.flatMap(
      (name) => (JSON.parse(readFileSync(join(folder, name), "utf8")) as { sources: string[] }).sources,
    );
    const names = sources.flatMap((path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []);
    expect(names).toContain("valibot");
    for (const name of new Set(names))
      expect(await text).toMatch(new RegExp(`^### .*[:,] ${RegExp.escape(name)} \\d`, "m"));
  });

  test("has their licences in full", async () => {
    for (const name of ["valibot/LICENSE.md", "asn1js/LICENSE", "@inquirer/core/LICENSE"]) {
      const own = readFileSync(join(ROOT, "node_modules", name), "utf8")
        .replaceAll("\r", "")
        .trim();
      expect(await text).toContain(own);
    }
  });

  test("has the source of what is under an LGPL, how to link it again, and the licences themselves", async () => {
    const { webkit, tinycc } = process.versions;
    expect(await text).toContain(`https://github.com/oven-sh/WebKit/tree/${webkit}`);
    expect(await text).toContain(`https://github.com/oven-sh/tinycc/tree/${tinycc}`);
    expect(await text).toContain("bun run build:local");
    expect(await text).toContain("bun scripts/build.ts");
    expect(await text).toContain(
      "GNU LIBRARY GENERAL PUBLIC LICENSE\n                       Version 2, June 1991",
    );
    expect(await text).toContain("GNU LESSER GENERAL PUBLIC LICENSE\n                       Version 2.1");
    for (const library of ["boringssl", "libarchive", "tinycc", "zlib-ng"]) {
      expect(await text).toContain(`[\`${library}\`]`);
    }
  });
});
