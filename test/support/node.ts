// Node as a runtime of TypeScript: the types are stripped first, since Node 20 does not do it.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ROOT } from "../docs/markdown.ts";

/** Node 20 or later; undefined where there is none. */
export function findNode(): string | undefined {
  const path = Bun.which("node");
  if (path === null) return undefined;
  const version = Bun.spawnSync([path, "--version"]).stdout.toString();
  return Number(/^v(\d+)/.exec(version)?.[1]) >= 20 ? path : undefined;
}

/** Writes these files of the project to `folder`, without their types. */
export function stripTypes(folder: string, files: readonly string[]): void {
  const transpiler = new Bun.Transpiler({ loader: "ts", target: "node" });
  for (const file of files) {
    const path = join(folder, file.replace(/\.ts$/, ".mjs"));
    mkdirSync(dirname(path), { recursive: true });
    const code = transpiler.transformSync(readFileSync(join(ROOT, file), "utf8"));
    writeFileSync(path, code.replaceAll(/(from\s*"\.[^"]*)\.ts"/g, '$1.mjs"'));
  }
}
