// Panes of terminals → one SVG, in the colours that the reader's system asks for.

import type { Pane, Run } from "./terminal.ts";

const CELL = { width: 8.4, height: 19 };
const PADDING = 14;
const BAR = 26;
const GAP = 16;

/** Colours of the palette, by number, in light and in dark. */
const COLOURS: Readonly<Record<number, readonly [light: string, dark: string]>> = {
  1: ["#b3261e", "#ff7b72"],
  2: ["#1a7f37", "#56d364"],
  3: ["#8a6100", "#e3b341"],
  4: ["#0550ae", "#79c0ff"],
  5: ["#8250df", "#d2a8ff"],
  6: ["#0a6e78", "#76e3ea"],
};

const STYLE = `
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328; white-space: pre; }
.pane { fill: #ffffff; stroke: #d0d7de; }
.bar { fill: #d0d7de; }
.dim { fill: #59636e; }
.bold { font-weight: 600; }
${colours(0)}
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.pane { fill: #0d1117; stroke: #3d444d; }
.bar { fill: #3d444d; }
.dim { fill: #9198a1; }
${colours(1)}
}
`.trim();

/** One above the other. */
export function toSvg(panes: readonly Pane[]): string {
  const width = 2 * PADDING + CELL.width * Math.max(...panes.map(({ columns }) => columns));
  const parts: string[] = [];
  let top = 1;
  for (const pane of panes) {
    const height = BAR + 2 * PADDING + CELL.height * pane.rows.length;
    parts.push(paneOf(pane, top, width, height));
    top += height + GAP;
  }
  const box = `width="${round(width + 2)}" height="${round(top - GAP + 1)}" viewBox="0 0 ${round(width + 2)} ${round(top - GAP + 1)}"`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${box} role="img" xml:space="preserve">`,
    "<title>A parley server and a client in two terminals: the connection is lost, comes back, and no message is missing</title>",
    `<style>\n${STYLE}\n</style>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

function paneOf({ rows }: Pane, top: number, width: number, height: number): string {
  const lines = rows.map((runs, row) => {
    const y = top + BAR + PADDING + CELL.height * (row + 0.75);
    return runs.map((run) => textOf(run, y)).join("");
  });
  return [
    `<rect class="pane" x="1" y="${round(top)}" width="${round(width)}" height="${round(height)}" rx="8"/>`,
    ...[0, 1, 2].map((dot) => `<circle class="bar" cx="${18 + dot * 18}" cy="${round(top + 14)}" r="5"/>`),
    ...lines.filter((line) => line !== ""),
  ].join("\n");
}

function textOf({ column, text, colour, isBold, isDim }: Run, y: number): string {
  const known = colour !== undefined && colour in COLOURS ? `c${colour}` : "";
  const classes = [known, isBold ? "bold" : "", isDim ? "dim" : ""].filter(Boolean).join(" ");
  const style = classes === "" ? "" : ` class="${classes}"`;
  const x = round(1 + PADDING + CELL.width * column);
  const length = round(CELL.width * text.length); // the reader's font may be wider or narrower
  return `<text${style} x="${x}" y="${round(y)}" textLength="${length}">${Bun.escapeHTML(text)}</text>`;
}

function colours(scheme: 0 | 1): string {
  return Object.entries(COLOURS)
    .map(([number, pair]) => `.c${number} { fill: ${pair[scheme]}; }`)
    .join("\n");
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
