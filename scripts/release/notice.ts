// THIRD-PARTY.md: what an executable contains beside parley, under which licences, and where its source is. It goes wherever the
// executable goes.
//
//     bun scripts/release/notice.ts       writes dist/THIRD-PARTY.md
//
// The packages are those that the bundler reads, with the licences in their folders. What Bun contains, Bun says itself: in its
// documentation, which is a package of bun.lock, and in `process.versions`.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packagesOf, type Package } from "./packages.ts";

export const NOTICE = "THIRD-PARTY.md";
const ROOT = join(import.meta.dir, "..", "..");
const ABOUT_BUN = "node_modules/bun-types/docs/project/license.mdx";
/** The licences that ask for a copy of themselves, and that no package has. */
const FULL_TEXTS = {
  "GNU Library General Public License, version 2": "LGPL-2.0.txt",
  "GNU Lesser General Public License, version 2.1": "LGPL-2.1.txt",
};

export interface Licence {
  /** As package.json names it. */
  id: string;
  text: string;
  packages: Package[];
}

/** The licences of the packages in the executables of `root`: one for each text. @throws {Error} for a package without one. */
export async function licencesOf(root: string): Promise<Licence[]> {
  const byText = Map.groupBy(await packagesOf(root), textOf);
  return [...byText].map(([text, packages]) => ({ id: packages[0]!.license, text, packages }));
}

function textOf({ folder }: Package): string {
  const files = readdirSync(folder).filter((name) => /^(?:licen[cs]e|copying|copyright|notice)/i.test(name));
  const texts = files
    .sort()
    .map((name) => readFileSync(join(folder, name), "utf8").replaceAll("\r", "").trim());
  const hasLicence = files.some(
    (name, index) => /^(?:licen[cs]e|copying)/i.test(name) && texts[index] !== "",
  );
  if (!hasLicence) throw new Error(`${folder} has no licence`);
  return texts.join("\n\n");
}

/** Name → address of the source of Bun, and of the libraries in it whose licence asks for that. */
export function sourcesOfBun(): [name: string, url: string][] {
  const { bun, webkit, tinycc } = process.versions;
  return [
    ["Bun", `https://github.com/oven-sh/bun/tree/bun-v${bun}`],
    ["WebKit with JavaScriptCore", `https://github.com/oven-sh/WebKit/tree/${webkit}`],
    ["TinyCC", `https://github.com/oven-sh/tinycc/tree/${tinycc}`],
  ];
}

/** The text of the file. */
export async function notice(root: string): Promise<string> {
  const licences = await licencesOf(root);
  const parts = [
    "# What the executable of parley contains",
    "Its own code is under the licence in `LICENSE`. It is compiled with packages of the npm registry, and contains the runtime Bun.",
    "## Packages of the npm registry",
    ...licences.flatMap(({ id, text, packages }) => [
      `### ${id}: ${packages.map(({ name, version }) => `${name} ${version}`).join(", ")}`,
      fenced(text),
    ]),
    `## Bun ${process.versions.bun}`,
    "The source of Bun, and of the parts of it that are under an LGPL:",
    sourcesOfBun()
      .map(([name, url]) => `- ${name}: <${url}>`)
      .join("\n"),
    "To link parley with other versions of them, build Bun as it says below. In a checkout of parley the new Bun then makes the executable:",
    fenced("path/to/bun install --frozen-lockfile\npath/to/bun scripts/build.ts"),
    "Bun says of its licence, and of what is in it:",
    aboutBun(root),
    ...Object.entries(FULL_TEXTS).flatMap(([name, file]) => [
      `## ${name}`,
      fenced(readFileSync(join(import.meta.dir, "licences", file), "utf8").trimEnd()),
    ]),
  ];
  return `${parts.join("\n\n")}\n`;
}

/** Bun's page without its head, below our heading. */
function aboutBun(root: string): string {
  const page = readFileSync(join(root, ABOUT_BUN), "utf8");
  return page
    .replace(/^---\n[^]*?\n---\n/, "")
    .replaceAll(/^## /gm, "### ")
    .trim();
}

/** As it is: no line of it is Markdown. */
function fenced(text: string): string {
  return `~~~~text\n${text}\n~~~~`;
}

if (import.meta.main) {
  mkdirSync(join(ROOT, "dist"), { recursive: true });
  writeFileSync(join(ROOT, "dist", NOTICE), await notice(ROOT));
}
