// The Pythons of this machine: each under ~/.pyenv, and the one on PATH.

import { homedir } from "node:os";

export interface Python {
  version: string;
  path: string;
  /** Does its multiprocessing.connection speak SHA-256 by itself? 3.12 and later. */
  isModern: boolean;
}

export function findPythons(): Python[] {
  const paths = [
    ...new Bun.Glob(".pyenv/versions/*/bin/python3").scanSync({ cwd: homedir(), absolute: true }),
  ];
  const onPath = Bun.which("python3", {
    PATH: (process.env["PATH"] ?? "").replaceAll(/[^:]*\.pyenv\/shims:?/g, ""),
  });
  if (onPath !== null) paths.push(onPath);
  return paths.sort().flatMap((path): Python[] => {
    const { stdout, exitCode } = Bun.spawnSync([path, "--version"], { stderr: "ignore" });
    const version = /^Python (3\.(\d+)\.\S+)/.exec(stdout.toString());
    if (exitCode !== 0 || version === null) return [];
    return [{ version: version[1] ?? "", path, isModern: Number(version[2]) >= 12 }];
  });
}
