// The npm packages that an executable contains: those with files that the bundler reads. bun.lock and their folders say the rest.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { output } from "../build.ts";
import { scratchFolder } from "./folder.ts";
import { readJson } from "./stage.ts";

/** [name@version, registry, what it says of itself, hash], as in bun.lock */
export type Locked = [string, string, { dependencies?: Record<string, string> }, string];
export interface Lock {
  packages: Record<string, Locked>;
}
export interface Package {
  /** https://github.com/package-url/purl-spec */
  purl: string;
  name: string;
  version: string;
  folder: string;
  locked: Locked;
  /** What package.json says: the name of a licence, or an expression with several. */
  license: string;
  /** The purls of those that it depends on. */
  dependsOn: string[];
}

/** The packages in the executables of the checkout `root`, sorted. @param bun bundles them */
export async function packagesOf(root: string, bun = process.execPath): Promise<Package[]> {
  const lock = readLock(root);
  const paths = new Set((await bundledFiles(root, bun)).map(pathOf).filter((path) => path !== ""));
  const packages = new Map<string, Package>();
  for (const path of paths) {
    const one = packageAt(root, lock, path, paths);
    packages.set(one.purl, one); // the same one can be in several places
  }
  return [...packages.values()].sort((a, b) => (a.purl < b.purl ? -1 : 1));
}

async function bundledFiles(root: string, bun: string): Promise<string[]> {
  using folder = scratchFolder("bundle");
  const metafile = join(folder.path, "metafile.json");
  const to = ["--outdir", folder.path, `--metafile=${metafile}`];
  await output([bun, "build", "--target=bun", "--production", join(root, "cli.ts"), ...to], root);
  return Object.keys(readJson(metafile)["inputs"] as Record<string, unknown>);
}

/** The package that a file belongs to, as bun.lock names it: `b`, or `a/b` for a copy that `a` has. Empty for our own files. */
function pathOf(file: string): string {
  const [, ...parts] = file.split("node_modules/");
  return parts.map((part) => /^(?:@[^/]+\/)?[^/]+/.exec(part)![0]).join("/");
}

function packageAt(root: string, lock: Lock, path: string, contained: ReadonlySet<string>): Package {
  const locked = lock.packages[path];
  if (locked === undefined) throw new Error(`bun.lock has no ${path}`);
  const [name, version] = nameAndVersion(locked);
  const folder = join(root, "node_modules", namesIn(path).join("/node_modules/"));
  const needed = Object.keys(locked[2].dependencies ?? {}).map((one) => find(lock, path, one));
  const dependsOn = needed.filter((one) => contained.has(one)).map((one) => purlOf(lock.packages[one]!));
  const { license } = readJson(join(folder, "package.json"));
  if (typeof license !== "string") throw new Error(`${folder}/package.json names no licence`);
  return { purl: purlOf(locked), name, version, folder, locked, license, dependsOn };
}

/** The path of what `name` means in the package at `path`: its own copy, or one of the packages around it. */
function find(lock: Lock, path: string, name: string): string {
  for (let names = namesIn(path); names.length > 0; names = names.slice(0, -1)) {
    const own = [...names, name].join("/");
    if (own in lock.packages) return own;
  }
  return name;
}

/** `a/@b/c` → `a`, `@b/c` */
function namesIn(path: string): string[] {
  return path.match(/(?:@[^/]+\/)?[^/]+/g) ?? [];
}

/** Of the lock file in `folder`. */
export function readLock(folder: string): Lock {
  return Bun.JSONC.parse(readFileSync(join(folder, "bun.lock"), "utf8")) as Lock;
}

export function nameAndVersion([id]: Locked): [name: string, version: string] {
  const at = id.lastIndexOf("@");
  return [id.slice(0, at), id.slice(at + 1)];
}

export function purlOf([id]: Locked): string {
  return `pkg:npm/${id.replace(/^@/, "%40")}`;
}
