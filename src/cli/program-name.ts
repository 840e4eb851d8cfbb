// How the user calls this program, for commands that can be copied from its output.

import { relative } from "node:path";
import { shellQuote } from "../base/shell-quote.ts";

/** `parley` where the shell finds this executable by that name, otherwise its path. */
export function programName(): string {
  const { execPath } = process;
  // In a checkout the executable is bun itself.
  if (Bun.which("parley") === execPath || !/parley[^/]*$/.test(execPath)) return "parley";
  const path = relative(process.cwd(), execPath);
  if (path.startsWith("..")) return shellQuote(execPath);
  return shellQuote(path.includes("/") ? path : `./${path}`);
}
