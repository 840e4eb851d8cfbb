// What parley does beside the tools that people use for the same, on loopback, in under two minutes.
//
//     bun scripts/build.ts && bun scripts/compare.ts [--write]
//
// A Markdown table on stdout, progress on stderr; `--write` also renews docs/compare.md. Who is not installed is left out.

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { bytes, denied, late, lines, noInput, writeInputs, wrongPassword } from "./compare/delivery.ts";
import { python, writeHandMade } from "./compare/hand-made.ts";
import { costs, crowd, endless, leftBehind, type Costs } from "./compare/holding.ts";
import { peers, type Peer } from "./compare/peers.ts";
import type { Folder } from "./compare/processes.ts";
import { cell, commands, rewrite, table, type Cell, type Row } from "./compare/report.ts";

const root = join(import.meta.dir, "..");
const parley = process.env["PARLEY_EXECUTABLE"] ?? join(root, "dist", "parley");
if (!existsSync(parley)) throw new Error(`no ${parley}: run bun scripts/build.ts first`);
const say = (text: string) => process.stderr.write(`${text}\n`);

const path = mkdtempSync(join(tmpdir(), "parley-compare-"));
using cleanup = new DisposableStack();
cleanup.defer(() => rmSync(path, { recursive: true, force: true }));
const folder: Folder = {
  path,
  env: { PATH: process.env["PATH"] ?? "", HOME: path, PARLEY_DATA: join(path, "data") },
};
writeHandMade(path);
writeInputs(folder);
if (Bun.which("tcprules") !== null) {
  Bun.spawnSync(["tcprules", "deny.cdb", "deny.tmp"], { cwd: path, stdin: Buffer.from(":deny\n") });
}

const all = peers(parley);
const present = all.filter(({ executable }) => Bun.which(executable) !== null);
const missing = all
  .filter((peer) => !present.includes(peer))
  .map(({ name }) => `${name} is not installed: left out\n`);

function output(argv: string[]): string {
  return Bun.spawnSync(argv, { env: folder.env, stderr: "ignore" }).stdout.toString().trim();
}

function versionOf({ package: name, executable }: Peer): string {
  if (name !== undefined && Bun.which("dpkg-query") !== null) {
    const version = output(["dpkg-query", "-W", "-f", "${Version}", name]);
    if (version !== "") return version.replace(/^\d+:/, "").replace(/[-+].*/, "");
  }
  return /\d+(\.\d+)+/.exec(output([executable, "--version"]))?.[0] ?? "";
}

/** A measurement that fails is a cell that says so. */
async function measured(peer: Peer, measure: (peer: Peer, folder: Folder) => Promise<Cell>): Promise<Cell> {
  try {
    return await measure(peer, folder);
  } catch (error) {
    return cell(`not measured: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function oneByOne(title: string, measure: (peer: Peer, folder: Folder) => Promise<Cell>): Promise<Row> {
  say(title);
  const cells: Cell[] = [];
  for (const peer of present) cells.push(await measured(peer, measure));
  return { title, cells };
}

/** For what is mostly waiting. */
async function together(title: string, measure: (peer: Peer, folder: Folder) => Promise<Cell>): Promise<Row> {
  say(title);
  return { title, cells: await Promise.all(present.map((peer) => measured(peer, measure))) };
}

async function ofAll(measure: (peer: Peer, folder: Folder) => Promise<Costs>): Promise<Row[]> {
  say("what it takes");
  const found: Costs[] = [];
  for (const peer of present) found.push(await measure(peer, folder));
  const row = (title: string, key: keyof Costs): Row => ({
    title,
    cells: found.map((costs) => cell(costs[key])),
  });
  return [
    row("size of the executable", "size"),
    row("start until it listens", "ready"),
    row("memory of the server, idle (RSS)", "idle"),
    row("memory for each conversation, program included (PSS)", "each"),
  ];
}

const began = performance.now();
const costRows = await ofAll(costs);
const times: string[] = [];
const lineRow = await oneByOne("1. 20 one-line pipes: replies, exit codes", async (peer) => {
  const { medianMs, ...rest } = await lines(peer, folder);
  times.push(medianMs === undefined ? "never ends" : `${medianMs.toFixed(0)} ms`);
  return rest;
});
const byteRow = await oneByOne("2. 5,000,000 bytes there and back", bytes);
const endlessRow = await together(
  "8. a client never reads, the program never stops: server's memory after 5 s",
  endless,
);
const crowdRow = together("5. beside 100 others and a silent one: an answer?", crowd);
const lateRow = await together("3. an answer 3 s after the end of the input", late);
const passwordRow = await oneByOne("4. a wrong password", wrongPassword);
const deniedRow = await together("4. an address that is not allowed", denied);
const leftRow = await together("6. SIGTERM, program ignores it: left after 5 s", async (peer) => {
  if (peer.name !== "parley") return leftBehind(peer, folder);
  const [usual, short] = await Promise.all([
    leftBehind(peer, folder),
    leftBehind(peer, folder, "--drain", "1s"),
  ]);
  return { ...usual, text: `${usual.text}<br>\`--drain 1s\`: ${short.text}` };
});
const inputRow = await together("7. client with `</dev/null` / with no stdin", noInput);
const rows = [
  lineRow,
  byteRow,
  lateRow,
  passwordRow,
  deniedRow,
  await crowdRow,
  leftRow,
  inputRow,
  endlessRow,
];
const timeRow: Row = { title: "one line there and back, client's start included", cells: times.map(cell) };
const everything = [...rows, ...costRows.slice(0, 2), timeRow, ...costRows.slice(2)];

const names = present.map((peer) => `${peer.name} ${versionOf(peer)}`.trim());
const result = table(names, everything) + missing.map((line) => `\n${line}`).join("");
process.stdout.write(result);
say(`${((performance.now() - began) / 1000).toFixed(0)} s`);

if (process.argv.includes("--write")) {
  const shorten = (text: string) =>
    text
      .replaceAll(parley, "parley")
      .replaceAll(python.command, "python3")
      .replaceAll(process.execPath, "bun");
  const machine = `${process.platform} ${process.arch}, ${cpus().length} cores (${cpus()[0]?.model ?? "unknown"})`;
  const when = new Date().toISOString().slice(0, 10);
  rewrite(
    join(root, "docs", "compare.md"),
    `Measured on ${when}, ${machine}, loopback.\n\n${result}\n## Commands\n\n${commands(rows, shorten)}`,
  );
}
