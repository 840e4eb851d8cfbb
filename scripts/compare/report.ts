// The table, and the page that keeps it together with the commands that made it.

import { readFileSync, writeFileSync } from "node:fs";

export interface Cell {
  text: string;
  /** How the server was started and the clients were run; empty where nothing was. */
  server: readonly string[];
  clients: readonly string[];
}

export interface Row {
  title: string;
  cells: readonly Cell[];
}

const BEGIN = "<!-- measured -->";
const END = "<!-- /measured -->";

export const cell = (text: string): Cell => ({ text, server: [], clients: [] });

export function table(names: readonly string[], rows: readonly Row[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  return (
    line(["", ...names]) +
    line(["---", ...names.map(() => "---")]) +
    rows.map(({ title, cells }) => line([title, ...cells.map(({ text }) => text)])).join("")
  );
}

/** What was run for each row, with the run's own paths as if one stood in its folder. */
export function commands(rows: readonly Row[], shorten: (text: string) => string): string {
  return rows
    .filter(({ cells }) => cells.some(({ server }) => server.length > 0))
    .map(({ title, cells }) => {
      const lines = cells
        .filter(({ server }) => server.length > 0)
        .map(({ server, clients }) =>
          shorten([server.join(" "), ...clients.map((c) => `    ${c}`)].join("\n")),
        );
      return `**${title}**\n\n\`\`\`sh\n${lines.join("\n")}\n\`\`\`\n`;
    })
    .join("\n");
}

/** Replaces what stands between the marks. */
export function rewrite(page: string, measured: string): void {
  const text = readFileSync(page, "utf8");
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from === -1 || to < from) throw new Error(`${page} has no ${BEGIN} … ${END}`);
  writeFileSync(page, `${text.slice(0, from)}${BEGIN}\n\n${measured}\n${text.slice(to)}`);
}
