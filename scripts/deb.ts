// Makes a Debian package of an executable, without root. The same commit, executable, gzip and dpkg-deb give the same bytes.
//
//     bun scripts/deb.ts                       of dist/parley, into dist/
//     bun scripts/deb.ts --executable FILE     of another one, for amd64 or arm64
//     bun scripts/deb.ts --out FOLDER          into another folder
//     bun scripts/deb.ts --level 0             fast, and a larger file; 6 is the default, as in xz(1)
//
// It needs git or SOURCE_DATE_EPOCH, gzip and dpkg-deb. scripts/debian/ has the files of the package that are not made.

import {
  cpSync,
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { version } from "../package.json";
import { output } from "./build.ts";
import { control, copyright, debianChangelog, REVISION } from "./debian/texts.ts";
import { filesIn, pathsIn, scratchFolder } from "./release/folder.ts";
import { notice, NOTICE } from "./release/notice.ts";
import { epoch } from "./release/stage.ts";

const ROOT = join(import.meta.dir, "..");
const DEBIAN = join(import.meta.dir, "debian");

/** Path in the package → file of scripts/debian. */
const FILES: Readonly<Record<string, string>> = {
  "etc/parley/parley.toml": "parley.toml",
  "etc/logrotate.d/parley": "logrotate",
  "etc/fail2ban/filter.d/parley.conf": "fail2ban-filter.conf",
  "usr/lib/systemd/system/parley.service": "parley.service",
  "usr/lib/systemd/system/parley.socket": "parley.socket",
  "usr/share/doc/parley/examples/fail2ban-jail.conf": "fail2ban-jail.conf",
  "usr/share/lintian/overrides/parley": "lintian-overrides",
};
/** Path in the package → file of src/cli/completion. */
const COMPLETIONS: Readonly<Record<string, string>> = {
  "usr/share/bash-completion/completions/parley": "parley.bash",
  "usr/share/zsh/vendor-completions/_parley": "parley.zsh",
  "usr/share/fish/vendor_completions.d/parley.fish": "parley.fish",
};
const MAINTAINER_SCRIPTS = ["postinst", "prerm", "postrm"];

export interface DebOptions {
  executable: string;
  /** The folder that gets the package. */
  out: string;
  version: string;
  /** As in xz(1). */
  level: number;
  /** The time of all files, in seconds since 1970. */
  epoch: number;
}

/** Makes the package. @returns its path */
export async function makeDeb({ executable, out, version, level, epoch }: DebOptions): Promise<string> {
  const env = { ...process.env, SOURCE_DATE_EPOCH: String(epoch) };
  const architecture = architectureOf(executable);
  using scratch = scratchFolder("deb");
  const root = join(scratch.path, "root");
  copy(executable, join(root, "usr/bin/parley"), 0o755);
  for (const [path, file] of Object.entries(FILES)) copy(join(DEBIAN, file), join(root, path));
  for (const [path, file] of Object.entries(COMPLETIONS))
    copy(join(ROOT, "src/cli/completion", file), join(root, path));
  await makePages(join(root, "usr/share/man"), env);
  await makeDocuments(join(root, "usr/share/doc/parley"), version);
  makeControl(root, version, architecture);
  for (const path of [...pathsIn(root), "."]) settle(join(root, path), epoch);
  mkdirSync(out, { recursive: true });
  const path = join(out, `parley_${version}-${REVISION}_${architecture}.deb`);
  await output(["dpkg-deb", "--root-owner-group", "-Zxz", `-z${level}`, "--build", root, path], ROOT, {
    env,
  });
  return path;
}

/** The name that Debian has for the processor: from the header of the ELF file. */
function architectureOf(executable: string): string {
  const header = Buffer.alloc(20);
  const file = openSync(executable, "r");
  try {
    readSync(file, header);
  } finally {
    closeSync(file);
  }
  const isElf64 = header.toString("latin1", 0, 5) === "\x7fELF\x02";
  const name = isElf64 ? { 62: "amd64", 183: "arm64" }[header.readUInt16LE(18)] : undefined;
  if (name === undefined) throw new Error(`${executable} is no executable of Linux for x64 or arm64`);
  return name;
}

async function makePages(folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  await output([process.execPath, "scripts/man.ts", folder], ROOT, { env });
  for (const page of filesIn(folder)) await gzip(join(folder, page));
}

async function makeDocuments(folder: string, version: string): Promise<void> {
  const changes = readFileSync(join(ROOT, "CHANGELOG.md"), "utf8");
  write(join(folder, "changelog"), changes);
  write(join(folder, "changelog.Debian"), debianChangelog(changes, version));
  write(join(folder, "copyright"), await copyright(ROOT));
  write(join(folder, NOTICE), await notice(ROOT));
  for (const name of ["changelog", "changelog.Debian", NOTICE]) await gzip(join(folder, name));
}

function makeControl(root: string, version: string, architecture: string): void {
  const files = filesIn(root);
  const kibibytes = files.reduce((sum, path) => sum + Math.ceil(statSync(join(root, path)).size / 1024), 0);
  const sums = files.map((path) => `${md5(join(root, path))}  ${path}\n`).join("");
  const conffiles = files.filter((path) => path.startsWith("etc/")).map((path) => `/${path}\n`);
  const folder = join(root, "DEBIAN");
  write(join(folder, "control"), control(version, architecture, kibibytes));
  write(join(folder, "md5sums"), sums);
  write(join(folder, "conffiles"), conffiles.join(""));
  for (const name of MAINTAINER_SCRIPTS) copy(join(DEBIAN, name), join(folder, name), 0o755);
}

/** The mode and the time that a file or folder has in every package: those of the checkout depend on its umask. */
function settle(path: string, epoch: number): void {
  chmodSync(path, (statSync(path).mode & 0o100) === 0 ? 0o644 : 0o755);
  utimesSync(path, epoch, epoch);
}

function copy(from: string, to: string, mode = 0o644): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
  chmodSync(to, mode);
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** As Debian wants it: without name and time, as small as possible. */
async function gzip(path: string): Promise<void> {
  await output(["gzip", "-9n", path], ROOT);
}

function md5(path: string): string {
  return new Bun.CryptoHasher("md5").update(readFileSync(path)).digest("hex");
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      executable: { type: "string", default: join(ROOT, "dist/parley") },
      out: { type: "string", default: join(ROOT, "dist") },
      level: { type: "string", default: "6" },
    },
  });
  const { executable, out, level } = values;
  const path = await makeDeb({
    executable: resolve(executable),
    out: resolve(out),
    version,
    level: Number(level),
    epoch: await epoch(),
  });
  process.stdout.write(`${path}\n`);
}

if (import.meta.main) await main();
