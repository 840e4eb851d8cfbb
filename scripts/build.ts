// Makes dist/parley, stamped with version and commit, and runs it once.
//
// The two no-autoload flags keep the executable from running a bunfig.toml or reading a .env that lies in the folder
// where it is started (measured: code of that folder ran before ours). --bytecode needs --format=esm, or the executable
// dies at its start while the build says nothing. --splitting keeps each command's code unread until it is used.

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { version } from "../package.json";

const root = join(import.meta.dir, "..");

/** Runs a program in the project's folder and returns what it printed; its failure is ours. */
function output(argv: string[], mayFail = false): string {
  const run = Bun.spawnSync(argv, { cwd: root, stderr: mayFail ? "ignore" : "inherit" });
  if (run.exitCode === 0) return run.stdout.toString().trim();
  if (mayFail) return "";
  throw new Error(`${argv.join(" ")} ended with ${run.exitCode}`);
}

const commit = output(["git", "rev-parse", "--short=10", "HEAD"], true);
const dirty = output(["git", "status", "--porcelain"], true) === "" ? "" : "+";
const outfile = process.argv[2] ?? join(root, "dist", "parley");

// Each build names its source maps anew.
if (process.argv[2] === undefined) rmSync(join(root, "dist"), { recursive: true, force: true });
mkdirSync(join(root, "dist"), { recursive: true });
output([
  process.execPath,
  "build",
  "--compile",
  "--production",
  "--minify",
  "--bytecode",
  "--format=esm",
  "--splitting",
  "--sourcemap",
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
  "--define",
  `BUILD_VERSION=${JSON.stringify(version)}`,
  "--define",
  `BUILD_COMMIT=${JSON.stringify(commit === "" ? "" : commit + dirty)}`,
  join(root, "cli.ts"),
  "--outfile",
  outfile,
]);

const said = output([outfile, "--version"]);
if (!said.startsWith(`parley ${version}`)) throw new Error(`${outfile} says ${JSON.stringify(said)}`);
process.stdout.write(`${outfile}: ${said}\n`);
