// Figures → a bar chart as SVG: a small multiple for each workload, shorter is better, parley in colour. It follows the
// reader's light or dark scheme, and says each value as text.

import type { Contender } from "./contenders.ts";
import { say, typical, type Measured } from "./results.ts";

const COLUMNS = 2;
const PANEL = { width: 440, gap: 28 };
const LABEL = 178;
const VALUE = 66;
const ROW = 18;
const BAR = 11;
const HEAD = 30;
/** A bar over so many times the middle one is cut, so that the others can be told apart. */
const LONGEST = 3;

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .label { text-anchor: end; }
  .bar { fill: #9aa4af; }
  .parley { fill: #1f6feb; }
  .cut { fill: #ffffff; }
  .ground { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .bar { fill: #6e7781; }
    .parley { fill: #58a6ff; }
    .cut, .ground { fill: #0d1117; }
  }`;

interface Bar {
  label: string;
  value: number;
  isParley: boolean;
}
interface Panel {
  title: string;
  unit: string;
  bars: Bar[];
}

export function chart(all: readonly Measured[], contenders: readonly Contender[]): string {
  const shown = all.filter(
    ({ group, name }) => ["message", "connection"].includes(group) || name === "start",
  );
  const panels = [false, true].flatMap((tls) => shown.map((measured) => panelOf(measured, contenders, tls)));
  const drawn = panels.filter(({ bars }) => bars.length > 0);
  const body: string[] = [];
  let top = 0;
  for (let first = 0; first < drawn.length; first += COLUMNS) {
    const row = drawn.slice(first, first + COLUMNS);
    for (const [column, panel] of row.entries()) {
      body.push(draw(panel, column * (PANEL.width + PANEL.gap), top));
    }
    top += HEAD + ROW * Math.max(...row.map(({ bars }) => bars.length)) + PANEL.gap;
  }
  const width = COLUMNS * (PANEL.width + PANEL.gap) + PANEL.gap;
  const height = top + PANEL.gap;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${-PANEL.gap} ${-PANEL.gap} ${width} ${height}" role="img">
<title>What parley costs beside other servers; shorter is better</title>
<style>${STYLE}
</style>
<rect class="ground" x="${-PANEL.gap}" y="${-PANEL.gap}" width="${width}" height="${height}"/>
${body.join("\n")}
</svg>
`;
}

function panelOf(measured: Measured, contenders: readonly Contender[], tls: boolean): Panel {
  const bars = contenders.flatMap((contender): Bar[] => {
    const value = contender.tls === tls ? typical(measured, contender.name) : undefined;
    if (value === undefined) return [];
    const label = contender.title.replaceAll("`", "").replace(", TLS", "");
    return [{ label, value: Math.max(0, value), isParley: contender.isParley }];
  });
  return { title: `${measured.title}${tls ? ", TLS" : ""}`, unit: measured.unit, bars };
}

function draw({ title, unit, bars }: Panel, left: number, top: number): string {
  const sorted = bars.map(({ value }) => value).toSorted((a, b) => a - b);
  const middle = sorted[sorted.length >> 1]!;
  const longest = Math.min(sorted.at(-1)!, LONGEST * middle);
  const room = PANEL.width - LABEL - VALUE;
  const lines = bars.map(({ label, value, isParley }, index) => {
    const y = HEAD + index * ROW;
    const isCut = value > longest;
    const width = longest === 0 ? 0 : (room * Math.min(value, longest)) / longest;
    const base = y + BAR - 1;
    const gap = isCut
      ? `<rect class="cut" x="${round(LABEL + width - 14)}" y="${y}" width="4" height="${BAR}"/>`
      : "";
    return (
      `<text class="label" x="${LABEL - 8}" y="${base}">${escape(label)}</text>` +
      `<rect class="bar${isParley ? " parley" : ""}" x="${LABEL}" y="${y}" width="${round(Math.max(1, width))}" height="${BAR}" rx="2"/>` +
      `${gap}<text x="${round(LABEL + width + 6)}" y="${base}">${say(value)} ${unit}</text>`
    );
  });
  const head = `<text class="title" x="${LABEL}" y="12">${escape(title)}</text>`;
  return `<g transform="translate(${left} ${top})">${head}\n${lines.join("\n")}\n</g>`;
}

const round = (value: number) => Math.round(value * 10) / 10;

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
