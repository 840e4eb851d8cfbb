// Which file may use what. Part of the test run.
//
//     bun scripts/walls.ts        says what breaks through, exit 1
//
// A folder of `src/` is a floor, and imports go down; some floors do not see others at all; no files import each other in a
// circle. And a few names may stand in a few files only: that is a search in their text.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
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

/** The folders of `src/`, from the top down: a file imports from its own folder, or from one that stands below it. */
export const FLOORS = [
  "cli", // argv → one call
  "server", // accept → login → session, and the end
  "client", // connect, converse, come back
  "session", // a session's life after the login, on the server
  "handshake", // both halves of key exchange and login
  "auth", // who is it
  "net", // sockets, TLS, who may connect
  "delivery", // what is not acknowledged yet
  "services", // the contract, and what answers
  "log",
  "terminal",
  "engine", // the connection to a Redis or Valkey server that stores accounts
  "files", // files that several processes change, private files
  "wire", // frames and messages
  "os", // what only the system's library knows
  "base", // errors, limits, text
] as const;

/** Floors that may not see some of those below them. */
const BLIND: Readonly<Record<string, readonly string[]>> = {
  services: ["net", "auth", "session"],
  auth: ["net", "wire"],
};

export const WALLS: readonly Wall[] = [
  { name: "Bun.listen", pattern: /\bBun\.listen\b/, rooms: ["src/net/bind.ts"] },
  {
    name: "Bun.connect",
    pattern: /\bBun\.connect\b/,
    rooms: ["src/net/dial.ts", "src/net/stream.ts", "src/engine/raw-connection.ts"],
  },
  { name: "Bun's Redis client", pattern: /\bRedisClient\b/, rooms: ["src/engine/connection.ts"] },
  { name: "HTTP", pattern: /\bBun\.serve\b|"node:http"/, rooms: [] },
  { name: "Bun.password", pattern: /\bBun\.password\b/, rooms: ["src/auth/password.ts"] },
  {
    name: "Bun.spawn",
    pattern: /\bBun\.spawn|node:child_process/,
    rooms: ["src/services/program/pipes.ts", "src/services/program/pty.ts"],
  },
  { name: "bun:ffi", pattern: /from "bun:ffi"/, rooms: ["src/os/"] },
  { name: "consola", pattern: /from "consola/, rooms: ["src/log/log.ts"] },
  { name: "@inquirer", pattern: /(?:from |import\()"@inquirer/, rooms: ["src/terminal/prompts.ts"] },
  { name: "node:readline", pattern: /from "node:readline/, rooms: ["src/terminal/line-editor.ts"] },
  { name: "citty", pattern: /from "citty"/, rooms: ["cli.ts", "src/cli/"] },
  { name: "process.argv", pattern: /\bprocess\.argv\b/, rooms: ["cli.ts", "src/cli/"] },
  {
    name: "signals",
    pattern: /"SIG[A-Z]+"/,
    rooms: ["cli.ts", "src/cli/", "src/os/", "src/terminal/", "src/services/program/"],
  },
  // Nothing may be cut off by leaving: cli.ts does it once, when everything is written.
  { name: "process.exit", pattern: /\bprocess\.exit\(/, rooms: ["cli.ts"] },
  { name: "console", pattern: /\bconsole\./, rooms: [] },
  {
    name: "I/O, clock or randomness on the wire",
    pattern:
      /^(?!.*\/\/).*(?:from "(?:node:(?:fs|net|crypto)|bun)|Date\.now|new Date|performance\.|random|Bun\.)/,
    rooms: ["cli.ts", ...FLOORS.filter((floor) => floor !== "wire").map((floor) => `src/${floor}/`)],
  },
  { name: "any", pattern: /(?::|\bas|<) any\b/, rooms: [] },
];

/** Where `files` (by path, with their text) break through `walls`. */
export function findBreaches(files: ReadonlyMap<string, string>, walls: readonly Wall[] = WALLS): Breach[] {
  const breaches: Breach[] = [];
  for (const [file, text] of files) {
    const lines = text.split("\n");
    for (const [index, line] of lines.entries()) {
      if (/^\s*(?:\/\/|\*|\/\*)/.test(line)) continue; // a comment may speak of it
      const found = walls.filter(
        ({ pattern, rooms }) => !rooms.some((room) => isWithin(file, room)) && pattern.test(line),
      );
      for (const { name } of found) breaches.push({ wall: name, file, line: index + 1 });
    }
    for (const { target, line } of importsOf(file, text)) {
      const wall = whyNot(file, target);
      if (wall !== undefined) breaches.push({ wall, file, line });
    }
  }
  return breaches;
}

/** What `file` imports of `src/`, with the lines where it does. */
function importsOf(file: string, text: string): { target: string; line: number }[] {
  return [...text.matchAll(/(?:\bfrom\s+|\bimport\(\s*)"(\.[^"]+)"/g)].map((match) => ({
    target: join(dirname(file), match[1] ?? ""),
    line: text.slice(0, match.index).split("\n").length,
  }));
}

/** Why `file` may not import `target`; undefined where it may. */
function whyNot(file: string, target: string): string | undefined {
  const [from, to] = [file, target].map((path) => /^src\/([^/]+)\//.exec(path)?.[1]);
  if (from === undefined || from === to) return undefined;
  if (to === undefined) return "an import from outside src/";
  const [height, other] = [from, to].map((floor) => FLOORS.indexOf(floor as (typeof FLOORS)[number]));
  if (height === -1 || other === -1) return "a folder that is no floor";
  if (height! > other!) return "an import from a floor above";
  return BLIND[from]?.includes(to) === true ? `${to} behind ${from}` : undefined;
}

/** Files that import each other in a circle, each circle once: Tarjan's strongly connected components. */
export function findCircles(files: ReadonlyMap<string, string>): string[][] {
  const circles: string[][] = [];
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const open: string[] = [];
  const visit = (file: string): void => {
    order.set(file, order.size);
    lowest.set(file, order.size - 1);
    open.push(file);
    for (const { target } of importsOf(file, files.get(file) ?? "")) {
      if (!order.has(target)) visit(target);
      if (open.includes(target)) {
        lowest.set(file, Math.min(lowest.get(file) ?? 0, lowest.get(target) ?? 0));
      }
    }
    if (lowest.get(file) !== order.get(file)) return;
    const circle = open.splice(open.indexOf(file));
    if (circle.length > 1) circles.push(circle.toSorted());
  };
  for (const file of files.keys()) if (!order.has(file)) visit(file);
  return circles;
}

function isWithin(file: string, room: string): boolean {
  if (room.endsWith("/")) return file.startsWith(room);
  return file === room;
}

/** The program's own source, by path. */
export function readSource(root: string): Map<string, string> {
  const paths = ["cli.ts", ...new Glob("src/**/*.ts").scanSync(root)];
  return new Map(paths.sort().map((path) => [path, readFileSync(join(root, path), "utf8")]));
}

if (import.meta.main) {
  const source = readSource(join(import.meta.dir, ".."));
  const breaches = findBreaches(source);
  const circles = findCircles(source);
  for (const { wall, file, line } of breaches) process.stdout.write(`${file}:${line}: ${wall}\n`);
  for (const circle of circles) process.stdout.write(`a circle: ${circle.join(" ")}\n`);
  process.stdout.write(`${source.size} files, ${breaches.length} breaches, ${circles.length} circles\n`);
  process.exitCode = breaches.length + circles.length === 0 ? 0 : 1;
}
