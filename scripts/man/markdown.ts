// Markdown → mdoc, as far as docs/protocol.md and the texts of the pages use it: headings, paragraphs, lists, tables, fenced blocks,
// code, bold and links. Anything else is an error, so that no page says less than its source.
//
// A table becomes a list of its first column, since a terminal has no room for its width.

import { join } from "node:path";
import { bold, escape, flow, literal } from "./mdoc.ts";

/** Where the pages are that links lead from. */
const FOLDER = "docs";

/** The lines of `markdown` as mdoc. `#` is left out, since the page has a name; `##` is a section, `###` one within it. */
export function toMdoc(markdown: string): string[] {
  const lines = markdown.split("\n");
  const out: string[] = [];
  for (let at = 0; at < lines.length;) {
    const [made, next] = convert(lines, at);
    out.push(...made);
    at = next;
  }
  // A paragraph needs no mark where a section begins.
  return out.filter((line, index) => line !== ".Pp" || !/^(\.S[hs] .*|)$/.test(out[index - 1] ?? ""));
}

/** The mdoc of the block that begins at a line, and where the next one begins. */
function convert(lines: readonly string[], at: number): [made: string[], next: number] {
  const line = lines[at] ?? "";
  if (line.trim() === "") return [[], at + 1];
  const [, marks, title = ""] = /^(#{1,3}) (.+)$/.exec(line) ?? [];
  if (marks === "#") return [[], at + 1];
  if (marks === "##") return [[`.Sh ${inline(title.toUpperCase())}`], at + 1];
  if (marks === "###") return [[`.Ss ${inline(title)}`], at + 1];
  if (line.startsWith("```")) {
    const end = lines.indexOf("```", at + 1);
    if (end === -1) throw wrong(line, at);
    return [literal(lines.slice(at + 1, end).join("\n")), end + 1];
  }
  const isOther = (text: string) => text.trim() === "" || /^(#|```|\||- )/.test(text);
  if (line.startsWith("|")) {
    const end = endOf(lines, at, (text) => !text.startsWith("|"));
    return [table(lines.slice(at, end)), end];
  }
  if (line.startsWith("- ")) return list(lines, at);
  if (/^(\s|>|\d+\. |\* |<|!\[|---|#)/.test(line)) throw wrong(line, at);
  const end = endOf(lines, at + 1, isOther);
  return [[".Pp", ...flow(inline(lines.slice(at, end).join(" ")))], end];
}

/** A list, with the lines that go on below each item. */
function list(lines: readonly string[], at: number): [made: string[], next: number] {
  const end = endOf(lines, at, (text) => !/^(- | {2}\S)/.test(text));
  const items = lines.slice(at, end).join("\n").split(/^- /m).slice(1);
  const made = items.flatMap((item) => {
    if (/^\s*(- |\||```|\d+\. )/m.test(item)) throw wrong(item, at);
    return [".It", ...flow(inline(item.replaceAll(/\s*\n\s*/g, " ").trim()))];
  });
  return [[".Bl -bullet", ...made, ".El"], end];
}

function table(rows: readonly string[]): string[] {
  const [head = [], rule = [], ...body] = rows.map((row) =>
    row
      .replace(/^\||\|$/g, "")
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim().replaceAll("\\|", "|")),
  );
  if (!rule.every((cell) => /^:?-+:?$/.test(cell)))
    throw new Error(`a table without a head: ${rows[0] ?? ""}`);
  const [first = "", ...others] = head;
  const isPair = others.length === 1;
  const top = isPair && first !== "" ? [`.It ${italic(first)}`, ...flow(italic(others[0] ?? ""))] : [];
  const items = body.flatMap(([name = "", ...cells]) => [
    `.It ${isPair ? "" : label(first)}${inline(name)}`,
    ...cellLines(isPair ? [] : others, cells),
  ]);
  return [".Bl -tag -width Ds", ...top, ...items, ".El"];
}

/** Cells below each other; in a table of more than two columns each says of which column it is. */
function cellLines(titles: readonly string[], cells: readonly string[]): string[] {
  const texts = cells.flatMap((cell, index) =>
    cell === "" ? [] : [label(titles[index] ?? "") + inline(cell)],
  );
  return texts.flatMap((text, index) => [...(index === 0 ? [] : [".br"]), ...flow(text)]);
}

function label(title: string): string {
  return title === "" ? "" : `${italic(title)}: `;
}

function italic(text: string): string {
  return text === "" ? "" : `\\fI${escape(text.replaceAll("`", ""))}\\fP`;
}

/** Code, bold text and links, in escaped text. A link within the page is its text; another one also says where it leads. */
export function inline(text: string): string {
  const parts = /`([^`]+)`|\*\*(.+?)\*\*|\[([^\]]+)\]\(([^)]+)\)/g;
  let out = "";
  let last = 0;
  for (const match of text.matchAll(parts)) {
    const [whole, code, strong, label, target] = match;
    out += plain(text.slice(last, match.index));
    if (code !== undefined) out += bold(code);
    else if (strong !== undefined) out += `\\fB${inline(strong)}\\fP`;
    else out += link(label ?? "", target ?? "");
    last = match.index + whole.length;
  }
  return out + plain(text.slice(last));
}

function link(label: string, target: string): string {
  const [file = ""] = target.split("#");
  const path = file === "" ? "" : join(FOLDER, file);
  if (path.endsWith(label)) return bold(path);
  return inline(label) + (path === "" ? "" : ` (${bold(path)})`);
}

function plain(text: string): string {
  if (/[`*]|\]\(|<\w/.test(text)) throw new Error(`this markdown is not known here: ${text}`);
  return escape(text);
}

function endOf(lines: readonly string[], at: number, isEnd: (line: string) => boolean): number {
  const length = lines.slice(at).findIndex(isEnd);
  return length === -1 ? lines.length : at + length;
}

function wrong(line: string, at: number): Error {
  return new Error(`line ${at + 1}: this markdown is not known here: ${line}`);
}
