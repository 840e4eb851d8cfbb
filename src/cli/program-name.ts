// How the user calls this program, for commands that can be copied from its output.

import { existsSync, realpathSync } from "node:fs";
import { isAbsolute, relative } from "node:path";
import { shellQuote } from "../base/shell-quote.ts";

/** `parley` where the shell finds this program by that name, otherwise its path. */
export function programName(): string {
  const { argv0, execPath } = process;
  // In a checkout the executable is bun itself.
  if (!/parley[^/]*$/.test(execPath)) return "parley";
  // The launcher of the npm package gives its own path, in place of that of the executable.
  const program = isAbsolute(argv0) && existsSync(argv0) ? argv0 : execPath;
  if (isSameFile(Bun.which("parley"), program)) return "parley";
  const path = relative(process.cwd(), program);
  if (path.startsWith("..")) return shellQuote(program);
  return shellQuote(path.includes("/") ? path : `./${path}`);
}

function isSameFile(one: string | null, other: string): boolean {
  return one !== null && existsSync(other) && realpathSync(one) === realpathSync(other);
}
