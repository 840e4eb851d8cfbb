// How to call this program again, for a command that can be copied.

import { relative } from "node:path";
import { shellQuote } from "../base/shell-quote.ts";

/** `parley` when that is what the shell would find, otherwise the way to the executable from here. */
export function programName(): string {
  const { execPath } = process;
  // In a checkout the executable is bun itself.
  if (Bun.which("parley") === execPath || !/parley[^/]*$/.test(execPath)) return "parley";
  const path = relative(process.cwd(), execPath);
  if (path.startsWith("..")) return shellQuote(execPath);
  return shellQuote(path.includes("/") ? path : `./${path}`);
}
