// Makes dist/parley, stamped with version and commit, and runs it once. scripts/release.ts compiles for other systems.
//
// The two no-autoload flags keep the executable from running a bunfig.toml or reading a .env that lies in the folder
// where it is started (measured: code of that folder ran before ours). --bytecode needs --format=esm, or the executable
// dies at its start while the build says nothing. --splitting keeps each command's code unread until it is used.

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { version } from "../package.json";
import { undoAtExit } from "./cleanup.ts";

const ROOT = join(import.meta.dir, "..");

export interface Compilation {
  /** The checkout that is compiled, with its packages installed. */
  root: string;
  outfile: string;
  /** The Bun that compiles. */
  compiler: string;
  /** For another system: its name in Bun, and its runtime. */
  target?: { bun: string; runtime: string };
  version: string;
  commit: string;
}

/** Compiles cli.ts. The result depends on nothing else than these files and values: not on folders, clocks or variables. */
export async function compile({
  root,
  outfile,
  compiler,
  target,
  version,
  commit,
}: Compilation): Promise<void> {
  const other =
    target === undefined ? [] : [`--target=${target.bun}`, `--compile-executable-path=${target.runtime}`];
  const { PATH, HOME, TMPDIR } = process.env; // and not $BUN_OPTIONS, for one
  await output(
    [
      compiler,
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
      ...other,
      "--define",
      `BUILD_VERSION=${JSON.stringify(version)}`,
      "--define",
      `BUILD_COMMIT=${JSON.stringify(commit)}`,
      join(root, "cli.ts"),
      "--outfile",
      outfile,
    ],
    root,
    { env: { PATH, HOME, TMPDIR } },
  );
}

/** The commit that is checked out, with a plus sign where files differ from it; empty where there is no repository. */
export async function currentCommit(): Promise<string> {
  const head = await output(["git", "rev-parse", "HEAD"], ROOT, { mayFail: true });
  const commit = head.slice(0, 10);
  if (commit === "") return "";
  const changes = await output(["git", "--no-optional-locks", "status", "--porcelain"], ROOT, {
    mayFail: true,
  });
  return changes === "" ? commit : `${commit}+`;
}

interface RunOptions {
  /** Its failure is an empty result. Otherwise it is ours. */
  mayFail?: boolean;
  /** Its variables, where they are not our own. */
  env?: Record<string, string | undefined>;
}

/** Runs a program in `cwd` and returns what it printed. A signal that ends this process ends the program and its children. */
export async function output(
  argv: string[],
  cwd: string,
  { mayFail = false, env }: RunOptions = {},
): Promise<string> {
  const own = env === undefined ? {} : { env };
  const stderr = mayFail ? "ignore" : "inherit";
  const child = Bun.spawn(argv, { cwd, stdin: "ignore", stdout: "pipe", stderr, detached: true, ...own });
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  const end = undoAtExit(() => isRunning() && process.kill(-child.pid, "SIGKILL"));
  const [text, exitCode] = await Promise.all([child.stdout.text(), child.exited]);
  end();
  if (exitCode === 0) return text.trim();
  if (mayFail) return "";
  throw new Error(`${argv.join(" ")} ended with ${exitCode}`);
}

async function build(): Promise<void> {
  const outfile = process.argv[2] ?? join(ROOT, "dist", "parley");
  mkdirSync(dirname(outfile), { recursive: true });
  if (process.argv[2] === undefined) removeMaps(dirname(outfile));
  const commit = await currentCommit();
  await compile({ root: ROOT, outfile, compiler: process.execPath, version, commit });
  const said = await output([outfile, "--version"], ROOT);
  if (!said.startsWith(`parley ${version}`)) throw new Error(`${outfile} says ${JSON.stringify(said)}`);
  process.stdout.write(`${outfile}: ${said}\n`);
}

/** Each build names its source maps anew. */
function removeMaps(folder: string): void {
  for (const name of readdirSync(folder)) if (name.endsWith(".map")) rmSync(join(folder, name));
}

if (import.meta.main) await build();
