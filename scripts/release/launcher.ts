#!/usr/bin/env node
// Runs the executable of this platform, which is in a package of its own. It is as if the executable had been started instead:
// standard streams, arguments, signals and the exit status are its own.
//
// Node 22.15 and later can replace its process. An older one waits for the executable and passes signals on. A terminal sends
// them to both: parley takes the same signal within half a second for one.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2"] as const;

interface Manifest {
  name: string;
  optionalDependencies: Record<string, string>;
}

/** The executable of the package for this platform; undefined when none is installed. */
function findExecutable({ name, optionalDependencies }: Manifest): string | undefined {
  const scope = name.slice(0, name.indexOf("/"));
  const platform = `${scope}/${process.platform}-${process.arch}`;
  const found = [platform, `${platform}-musl`].filter((one) => one in optionalDependencies).flatMap(resolve);
  // A package manager that does not know `libc` installs both.
  return found.length > 1 && isMusl() ? found[1] : found[0];
}

function resolve(name: string): string[] {
  try {
    return [createRequire(import.meta.url).resolve(`${name}/bin/parley`)];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND") return [];
    throw error;
  }
}

function isMusl(): boolean {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime === undefined;
}

function run(executable: string): void {
  const argv = process.argv.slice(2);
  const argv0 = process.argv[1]!; // by it the executable knows the name that it was called by
  if (process.execve !== undefined)
    process.execve(executable, [argv0, ...argv], process.env as Record<string, string>);
  const child = spawn(executable, argv, { stdio: "inherit", argv0 });
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => fail(`cannot start ${executable}: ${error.message}`));
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

function fail(message: string): never {
  process.stderr.write(`parley: ${message}\n`);
  process.exit(1);
}

const manifest = JSON.parse(
  readFileSync(fileURLToPath(new URL("../package.json", import.meta.url)), "utf8"),
) as Manifest;
const executable = findExecutable(manifest);
if (executable === undefined) {
  const platform = `${process.platform}-${process.arch}`;
  fail(
    Object.keys(manifest.optionalDependencies).some((name) => name.includes(`/${platform}`))
      ? `the package for ${platform} is not installed: install ${manifest.name} again, with optional dependencies`
      : `there is no executable for ${platform}: use Linux (on Windows: WSL) or macOS on arm64`,
  );
}
run(executable);
