// Figures → Markdown: a table for each group, a line for each contender; and the page that keeps them.

import { readFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import type { Contender } from "./contenders.ts";
import { figures, median, percent, ratio, say, spread, type Measured } from "./results.ts";
import { ROOM } from "./server.ts";
import { GROUPS, type Group } from "./workloads.ts";

const BEGIN = "<!-- measured -->";
const END = "<!-- /measured -->";
/** In these all stand beside one another, and no yardstick says anything. */
const WITHOUT_RATIOS: readonly Group[] = ["memory", "crowd", "users", "instructions"];

/** Whom a contender's figures are compared with. */
export function yardstickOf({ tls, toAll }: Contender): string {
  if (toAll === true) return "to-all";
  return tls ? "bare-tls" : "bare";
}

export function tables(all: readonly Measured[], contenders: readonly Contender[]): string {
  const parts = (Object.keys(GROUPS) as Group[]).flatMap((group) => {
    const columns = all.filter((measured) => measured.group === group);
    const rows = contenders.filter(({ name }) => columns.some((column) => figures(column, name).length > 0));
    if (rows.length === 0) return [];
    const lines = [
      ["", ...columns.map(({ title }) => title)],
      ["---", ...columns.map(() => "---:")],
      ...rows.map((row) => [row.title, ...columns.map((column) => cell(column, row, group))]),
    ];
    return `${GROUPS[group]}:\n\n${lines.map((line) => `| ${line.join(" | ")} |\n`).join("")}`;
  });
  return parts.join("\n");
}

function cell(column: Measured, contender: Contender, group: Group): string {
  const found = figures(column, contender.name);
  if (found.length === 0) return "";
  const value = `${say(median(found))} ${column.unit}`;
  const doubt = found.length > 1 ? ` ±${percent(spread(found))}` : "";
  const yardstick = yardstickOf(contender);
  const times = WITHOUT_RATIOS.includes(group) ? undefined : ratio(column, contender.name, yardstick);
  if (times === undefined || yardstick === contender.name || !(times > 0)) return value + doubt;
  return `${value}${doubt}, ${times.toFixed(2)} ×`;
}

/** In words: what a figure depends on. */
export function machine(): string {
  const model = cpus()[0]?.model ?? "an unknown processor";
  return `${cpus().length} cores (${model}), Linux ${release().split("-")[0]}, Bun ${Bun.version}`;
}

/** In words: how parley runs, and what of it is not the default. */
export function configuration(): string {
  return `parley runs as it does by default, with its log of each connection in a file. What differs: it takes more connections
(\`${ROOM.join(" ")}\`), since one user at one address has all of them.`;
}

export interface Page {
  began: Date;
  rounds: number;
  measured: string;
  picture: string;
  reasons: readonly string[];
}

/** Replaces what stands between the marks of performance.md in `folder`, and the chart beside it. */
export async function writePage(folder: string, page: Page): Promise<void> {
  const path = join(folder, "performance.md");
  const text = readFileSync(path, "utf8");
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from === -1 || to < from) throw new Error(`${path} has no ${BEGIN} … ${END}`);
  const day = page.began.toISOString().slice(0, 10);
  const about = `Measured on ${day}: ${machine()}; rounds: ${page.rounds}. A cell is the median, half the spread between
rounds, and how many times the bare \`Bun.listen\` of the same kind, compared within each round.

${configuration()}`;
  const many = page.reasons.length;
  const busy =
    many === 0
      ? ""
      : `
The machine was not at rest (${many} doubts): trust what has a small ±.
`;
  const generated = `${about}\n${busy}\n![bar chart of the figures below](performance.svg)\n\n${page.measured}\n`;
  await Bun.write(path, `${text.slice(0, from)}${BEGIN}\n\n${generated}${text.slice(to)}`);
  Bun.spawnSync([process.execPath, "fmt", path], { stdout: "ignore", stderr: "inherit" });
  await Bun.write(join(folder, "performance.svg"), page.picture);
}
