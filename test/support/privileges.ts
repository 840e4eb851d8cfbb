// What the executable is started by: as another user, in namespaces of its own, under a tracer that lets system calls fail.
// Most of it needs root, and tools that are on every Linux but strace: `lacks` says what is missing, and a test that needs
// it is skipped.

export const IS_ROOT = process.geteuid?.() === 0;

/** Does a test that needs root and `tools` have to be skipped? What is missing is said once. */
export function lacks(...tools: string[]): boolean {
  const lacksRoot = !IS_ROOT && sayMissing("root");
  return lacksTools(...tools) || lacksRoot;
}

/** Does a test that needs `tools` have to be skipped? What is missing is said once. */
export function lacksTools(...tools: string[]): boolean {
  const missing = tools.filter((tool) => Bun.which(tool) === null);
  for (const tool of missing) sayMissing(tool);
  return missing.length > 0;
}

/** Does a test that asks git about the checkout have to be skipped? What is missing is said once. */
export function lacksRepository(): boolean {
  if (lacksTools("git")) return true;
  const { exitCode } = Bun.spawnSync(["git", "rev-parse", "HEAD"], {
    cwd: import.meta.dir,
    stderr: "ignore",
  });
  return exitCode !== 0 && sayMissing("a git repository");
}

/** Does a test that downloads packages have to be skipped, because there is no registry? That is said once. */
export function lacksRegistry(): boolean {
  const argv = [process.execPath, "info", "bun", "version"];
  const { exitCode } = Bun.spawnSync(argv, { stdout: "ignore", stderr: "ignore", timeout: 10_000 });
  return exitCode !== 0 && sayMissing("the npm registry");
}

function sayMissing(what: string): true {
  if (!said.has(what)) console.log(`skipped: tests that need ${what}`);
  said.add(what);
  return true;
}
const said = new Set<string>();

export interface Person {
  uid: number;
  gid: number;
  groups?: readonly number[];
}

/** A service's user, who is in no file of this machine. */
export const SERVICE: Person = { uid: 64_001, gid: 64_001 };

/** The words before a command that make it `person`'s. */
export function asPerson({ uid, gid, groups = [] }: Person): string[] {
  const rest = groups.length === 0 ? ["--clear-groups"] : [`--groups=${groups.join(",")}`];
  return ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, ...rest];
}

/**
 * The words before a command that make system calls of it fail, as strace(1) has it: `flock:error=ENOLCK`.
 *
 * @param path only those that have to do with this file or folder. (`when=2` counts for each thread.)
 */
export function withFault(injection: string, path?: string): string[] {
  const [name = ""] = injection.split(":");
  const only = path === undefined ? [] : ["-P", path];
  return [
    "strace",
    "-f",
    "-qqq",
    "-o",
    "/dev/null",
    ...only,
    "-e",
    `trace=${name}`,
    "-e",
    `inject=${injection}`,
  ];
}
