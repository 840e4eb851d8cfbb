// Makes a release in dist/release, from the files of the commit: executables for all systems in archives, npm and Debian packages, a bill
// of materials, and the list of their hashes. The same commit, tar and xz give the same bytes.
//
//     bun scripts/release.ts                       everything
//     bun scripts/release.ts --twice               twice, in two folders; fails unless all bytes are the same
//     bun scripts/release.ts --sign KEY            signs the list: a private key of ssh or minisign
//     bun scripts/release.ts --only linux-x64      some targets, separated by commas
//     bun scripts/release.ts --dirty               although files differ from the commit: to try something
//     bun scripts/release.ts --level 0             fast, and larger files; 6 is the default
//     bun scripts/release.ts --out FOLDER          in a new folder
//
// It needs git, GNU tar, xz, readelf, gzip and dpkg-deb, and downloads packages of the lock files from the npm registry. docs/releasing.md has more.

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { undoAtExit } from "./cleanup.ts";
import { compile, output } from "./build.ts";
import { makeArchive } from "./release/archive.ts";
import { filesIn } from "./release/folder.ts";
import { inspect, type Build } from "./release/inspect.ts";
import { NOTICE } from "./release/notice.ts";
import { makePackages } from "./release/npm.ts";
import { billOfMaterials } from "./release/sbom.ts";
import { sign } from "./release/sign.ts";
import { openStage, runtimeOf, type Stage } from "./release/stage.ts";
import { writeSums } from "./release/sums.ts";
import { TARGETS, targetsNamed, type Target } from "./release/targets.ts";

const OUT = join(import.meta.dir, "..", "dist", "release");

interface Options {
  targets: readonly Target[];
  mayDiffer: boolean;
  level: number;
}

interface Release {
  version: string;
  /** The content of SHA256SUMS and of BUILDS.txt. */
  sums: string;
  builds: string;
}

/** Makes a release in `out`. */
async function release(out: string, { targets, mayDiffer, level }: Options): Promise<Release> {
  process.umask(0o022); // packages keep the modes of files
  using stage = await openStage(targets, mayDiffer);
  mkdirSync(out, { recursive: true });
  await runScript(stage, "scripts/release/notice.ts");
  await runScript(stage, "scripts/man.ts");
  const builds = [];
  for (const target of targets) builds.push(await build(stage, target));
  for (const one of builds) await archive(stage, one, out, level);
  const debian = ["--out", out, "--level", String(level)];
  for (const { target, path } of builds)
    if (target.libc === "glibc") await runScript(stage, "scripts/deb.ts", "--executable", path, ...debian);
  await makePackages(stage, builds, join(out, "npm"), level);
  const bill = JSON.stringify(await billOfMaterials(stage, builds), undefined, 2);
  writeFileSync(join(out, `parley-${stage.version}.cdx.json`), `${bill}\n`);
  const made = { version: stage.version, sums: writeSums(out), builds: table(builds) };
  writeFileSync(join(out, "BUILDS.txt"), made.builds);
  return made;
}

/** Makes the release again, and keeps it only if it is another one. @throws {Error} in that case. */
async function compare(out: string, sums: string, options: Options): Promise<void> {
  const again = mkdtempSync(`${out}-again-`);
  let isWanted = false;
  const remove = undoAtExit(() => {
    if (!isWanted) rmSync(again, { recursive: true });
  });
  isWanted = (await release(again, options)).sums !== sums;
  if (isWanted) throw new Error(`two runs gave different bytes: compare ${out} and ${again}`);
  remove();
}

async function build(stage: Stage, target: Target): Promise<Build> {
  const outfile = join(stage.root, "build", target.name, "parley");
  const { root, bun, version, commit } = stage;
  const runtime = runtimeOf(root, target);
  await compile({ root, outfile, compiler: bun, target: { bun: target.bun, runtime }, version, commit });
  return inspect(target, outfile, version);
}

/** Runs a script of the stage, which gives its files the time of the commit. */
async function runScript({ root, bun, epoch }: Stage, ...argv: string[]): Promise<void> {
  const { PATH, HOME } = process.env;
  await output([bun, ...argv], root, { env: { PATH, HOME, TMPDIR: root, SOURCE_DATE_EPOCH: String(epoch) } });
}

async function archive(stage: Stage, { target, path }: Build, out: string, level: number): Promise<void> {
  const { root, version, epoch } = stage;
  const files = new Map([
    ["parley", path],
    [NOTICE, join(root, "dist", NOTICE)],
  ]);
  for (const name of ["README.md", "LICENSE", "CHANGELOG.md"]) files.set(name, join(root, name));
  for (const name of filesIn(join(root, MAN_PAGES))) files.set(`man/${name}`, join(root, MAN_PAGES, name));
  for (const [name, file] of COMPLETIONS) files.set(`completions/${name}`, join(root, file));
  const to = join(out, `parley-${version}-${target.name}.tar.xz`);
  await makeArchive({ path: to, files, epoch, scratch: join(root, "archives"), cpu: target.cpu, level });
}

const MAN_PAGES = "dist/man";
/** The names that bash, zsh and fish look for. */
const COMPLETIONS = [
  ["parley", "src/cli/completion/parley.bash"],
  ["_parley", "src/cli/completion/parley.zsh"],
  ["parley.fish", "src/cli/completion/parley.fish"],
] as const;

/** What was built, and what this machine could start. It is not in SHA256SUMS: another machine can start others. */
function table(builds: readonly Build[]): string {
  const rows = builds.map(({ target, bytes, needs, started, sha256 }) =>
    [
      target.name.padEnd(17),
      `${(bytes / 1e6).toFixed(1)} MB`.padEnd(9),
      needs.padEnd(38),
      started.padEnd(40),
      sha256,
    ].join(" "),
  );
  return `${rows.join("\n")}\n`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      out: { type: "string" },
      level: { type: "string", default: "6" },
      sign: { type: "string" },
      dirty: { type: "boolean", default: false },
      twice: { type: "boolean", default: false },
    },
  });
  const { only, level, sign: key } = values;
  const targets = only === undefined ? TARGETS : targetsNamed(only.split(","));
  const options = { targets, mayDiffer: values.dirty, level: Number(level) };
  const out = values.out === undefined ? OUT : resolve(values.out);
  if (values.out !== undefined && existsSync(out)) throw new Error(`there is a ${out} already`);
  rmSync(out, { recursive: true, force: true });
  const { version, sums, builds } = await release(out, options);
  process.stdout.write(`${sums}\n${builds}`);
  if (values.twice) {
    await compare(out, sums, options);
    process.stdout.write("two runs gave the same bytes\n");
  }
  if (key !== undefined) process.stdout.write(`signed: ${sign(out, key, version)}\n`);
}

if (import.meta.main) await main();
