// The version of parley, that of Bun and the name of the npm package stand in one place; where a page or a lock file has to repeat
// one, it is the same.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";
import manifest from "../../package.json";
import { PACKAGE, SCOPE } from "../../scripts/release/npm.ts";
import runtimes from "../../scripts/release/package.json";
import { TARGETS } from "../../scripts/release/targets.ts";
import { ROOT } from "../docs/markdown.ts";
import { run } from "../support/executable.ts";
import { lacksRepository } from "../support/privileges.ts";

const files = lacksRepository() ? [] : listFiles();
const text = (file: string) => readFileSync(join(ROOT, file), "utf8");

function listFiles(): string[] {
  return Bun.spawnSync(["git", "ls-files"], { cwd: ROOT }).stdout.toString().trim().split("\n");
}

test("the executable says the version of package.json", async () => {
  const { stdout } = await run(["--version"]);
  expect(stdout).toStartWith(`parley ${manifest.version}`);
});

test("the changelog begins with it", () => {
  expect(/^## (\S+)/m.exec(text("CHANGELOG.md"))?.[1]).toBe(manifest.version);
});

test.skipIf(files.length === 0)("no other file has it", () => {
  const own = new RegExp(
    `parley[-@ "]+v?${RegExp.escape(manifest.version)}\\b|version.{0,4}${RegExp.escape(manifest.version)}"`,
  );
  const places = files.filter((file) => own.test(text(file)));
  expect(places).toEqual(["package.json"]);
});

test("the runtimes are those of the Bun that builds and tests", () => {
  const version = manifest.packageManager.slice("bun@".length);
  const names = TARGETS.map(({ runtime }) => runtime).sort();
  expect(runtimes.optionalDependencies).toEqual(
    Object.fromEntries(names.map((name) => [name, version])) as never,
  );
});

test.skipIf(files.length === 0)("every page and script names the same Bun", () => {
  const named = files.flatMap((file) =>
    [...text(file).matchAll(/(?<![/\w])bun@\d+\.\d+\.\d+/g)].map(([name]) => ({ file, name })),
  );
  expect(named.filter(({ name }) => name !== manifest.packageManager)).toEqual([]);
});

test.skipIf(files.length === 0)(
  "every page that names an npm package of parley names the one with a scope",
  () => {
    const pages = files.filter((file) => file.endsWith(".md"));
    expect(text("docs/releasing.md")).toContain(`\`${PACKAGE}\``);
    for (const page of ["README.md", "docs/releasing.md"]) {
      expect(text(page)).toContain(`${SCOPE.slice(1)}-parley-*.tgz`);
    }
    for (const page of pages) {
      const scopes = [...text(page).matchAll(/@parley[\w-]*(?=\/)/g)].map(([name]) => name);
      expect(scopes.filter((name) => name !== SCOPE)).toEqual([]);
      expect(text(page)).not.toMatch(
        /npx (?:-y |--yes )?parley\b|npm (?:i|install) (?:-g |--global )?parley\b/,
      );
    }
  },
);
