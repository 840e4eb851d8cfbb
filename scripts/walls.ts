// Which room may touch what. Each wall is a search: text that may stand in a few files only. Part of the test run.
//
//     bun scripts/walls.ts        says what breaks through, exit 1

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";

export interface Wall {
  /** What stands behind the wall. */
  name: string;
  pattern: RegExp;
  /** Files, or folders with a slash at the end, where it may stand. */
  rooms: readonly string[];
}

export interface Breach {
  wall: string;
  file: string;
  line: number;
}

export const WALLS: readonly Wall[] = [
  { name: "Bun.listen", pattern: /\bBun\.listen\b/, rooms: ["src/net/port.ts"] },
  { name: "Bun.connect", pattern: /\bBun\.connect\b/, rooms: ["src/net/dial.ts"] },
  { name: "HTTP", pattern: /\bBun\.serve\b|\("node:http"\)/, rooms: ["src/metrics.ts"] },
  { name: "Bun.password", pattern: /\bBun\.password\b/, rooms: ["src/auth/password.ts"] },
  { name: "Bun.spawn", pattern: /\bBun\.spawn|node:child_process/, rooms: ["src/services/program-run.ts"] },
  { name: "bun:ffi", pattern: /from "bun:ffi"/, rooms: ["src/os/"] },
  { name: "consola", pattern: /from "consola/, rooms: ["src/log.ts"] },
  { name: "@inquirer", pattern: /(?:from |import\()"@inquirer/, rooms: ["src/terminal.ts"] },
  { name: "node:readline", pattern: /from "node:readline/, rooms: ["src/talk/line-editor.ts"] },
  { name: "citty", pattern: /from "citty"/, rooms: ["cli.ts", "src/commands/"] },
  { name: "process.argv", pattern: /\bprocess\.argv\b/, rooms: ["cli.ts", "src/commands/"] },
  {
    name: "signals",
    pattern: /"SIG[A-Z]+"/,
    rooms: [
      "cli.ts",
      "src/commands/",
      "src/os/",
      "src/terminal/",
      "src/talk/",
      "src/services/program-run.ts",
    ],
  },
  // Nothing may be cut off by leaving: cli.ts does it once, when everything is written.
  { name: "process.exit", pattern: /\bprocess\.exit\(/, rooms: ["cli.ts"] },
  { name: "console", pattern: /\bconsole\./, rooms: [] },
  {
    name: "I/O, clock or randomness on the wire",
    pattern:
      /^(?!.*\/\/).*(?:from "(?:node:(?:fs|net|crypto)|\.\.\/(?:net|auth|log)|bun)|Date\.now|new Date|performance\.|random|Bun\.)/,
    rooms: [
      "src/net/",
      "src/auth/",
      "src/talk/",
      "src/commands/",
      "src/services/",
      "src/handshake/",
      "src/files/",
      "src/os/",
      "src/terminal/",
      "src/*.ts",
      "cli.ts",
    ],
  },
  {
    name: "wire or net behind auth",
    pattern: /from "\.\.\/(?:wire|net)\//,
    rooms: ["src/net/", "src/wire/", "src/handshake/", "src/talk/", "src/commands/", "src/services/"],
  },
  {
    name: "connection, credential or store behind a service",
    pattern: /from "\.\.\/(?:net|auth|wire|session|dialogue|hooks|server)/,
    rooms: [
      "src/net/",
      "src/wire/",
      "src/auth/",
      "src/handshake/",
      "src/talk/",
      "src/commands/",
      "src/services/program-io.ts", // frames are pure
    ],
  },
  { name: "any", pattern: /(?::|\bas|<) any\b/, rooms: [] },
];

/** Where `files` (by path, with their text) break through `walls`. */
export function findBreaches(files: ReadonlyMap<string, string>, walls: readonly Wall[] = WALLS): Breach[] {
  const breaches: Breach[] = [];
  for (const [file, text] of files) {
    const lines = text.split("\n");
    for (const { name, pattern, rooms } of walls) {
      if (rooms.some((room) => isWithin(file, room))) continue;
      for (const [index, line] of lines.entries()) {
        if (/^\s*(?:\/\/|\*|\/\*)/.test(line)) continue; // a comment may speak of it
        if (pattern.test(line)) breaches.push({ wall: name, file, line: index + 1 });
      }
    }
  }
  return breaches;
}

function isWithin(file: string, room: string): boolean {
  if (room.endsWith("/")) return file.startsWith(room);
  if (room === "src/*.ts") return /^src\/[^/]+\.ts$/.test(file);
  return file === room;
}

/** The program's own source, by path. */
export function readSource(root: string): Map<string, string> {
  const paths = ["cli.ts", ...new Glob("src/**/*.ts").scanSync(root)];
  return new Map(paths.sort().map((path) => [path, readFileSync(join(root, path), "utf8")]));
}

if (import.meta.main) {
  const breaches = findBreaches(readSource(join(import.meta.dir, "..")));
  for (const { wall, file, line } of breaches) process.stdout.write(`${file}:${line}: ${wall}\n`);
  process.exitCode = breaches.length === 0 ? 0 : 1;
}
