// README.md and the pages in docs/: their fenced blocks, the commands in them, their headings and links.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const ROOT = join(import.meta.dir, "../..");

export interface Block {
  page: string;
  /** Of the opening fence. */
  line: number;
  language: string;
  /** The anchor of the heading above. */
  section: string;
  text: string;
}

/** A command of a `sh` or `console` block. */
export interface Command {
  block: Block;
  text: string;
  /** What a `console` block shows below it. */
  output?: string[];
}

export interface Page {
  path: string;
  blocks: Block[];
  anchors: Set<string>;
  links: { line: number; target: string }[];
  /** Flags in the code of its sentences and tables. */
  flags: { line: number; flag: string }[];
}

export function readPages(): Page[] {
  const docs = readdirSync(join(ROOT, "docs")).filter((name) => name.endsWith(".md"));
  return ["README.md", ...docs.toSorted().map((name) => `docs/${name}`)].map(readPage);
}

export function readPage(path: string): Page {
  const page: Page = { path, blocks: [], anchors: new Set(), links: [], flags: [] };
  let open: (Block & { indent: number; lines: string[] }) | undefined;
  let section = "";
  for (const [at, line] of readFileSync(join(ROOT, path), "utf8").split("\n").entries()) {
    const fence = /^( *)```(\S*)/.exec(line);
    if (open !== undefined && fence?.[2] === "") {
      page.blocks.push({ ...open, text: open.lines.join("\n") });
      open = undefined;
    } else if (open !== undefined) {
      open.lines.push(line.slice(open.indent));
    } else if (fence !== null) {
      const [, indent = "", language = ""] = fence;
      open = { page: path, line: at + 1, language, section, text: "", indent: indent.length, lines: [] };
    } else {
      const heading = /^#+ (.*)/.exec(line)?.[1];
      if (heading !== undefined) page.anchors.add((section = anchorOf(heading, page.anchors)));
      for (const [, target = ""] of line.matchAll(/(?:\]\(|(?:href|src|srcset)=")([^)"\s]+)[)"\s]/g)) {
        page.links.push({ line: at + 1, target });
      }
      for (const [, code = ""] of line.matchAll(/`([^`]+)`/g)) {
        for (const [flag] of code.matchAll(/(?<=^|\s)--[a-z][\w-]*/g))
          page.flags.push({ line: at + 1, flag });
      }
    }
  }
  if (open !== undefined) throw new Error(`${path}:${open.line}: a fence is not closed`);
  return page;
}

/** As GitHub makes it. */
function anchorOf(heading: string, taken: Set<string>): string {
  const plain = heading.replaceAll(/\]\([^)]*\)/g, "").toLowerCase();
  const anchor = plain.replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(" ", "-");
  let count = 0;
  while (taken.has(count === 0 ? anchor : `${anchor}-${count}`)) count++;
  return count === 0 ? anchor : `${anchor}-${count}`;
}

/** The name in the first line of a block that is a file: `// greet.ts`, `# upper.py`. */
export function fileNameOf({ text }: Block): string | undefined {
  return /^(?:\/\/|#|;|<!--) (\/etc\/\S+|\S*\w\.\w+)(?: -->)?\n/.exec(text)?.[1];
}

export function commandsOf(block: Block): Command[] {
  return block.language === "console" ? consoleCommands(block) : shellCommands(block);
}

function shellCommands(block: Block): Command[] {
  const commands: Command[] = [];
  let text = "";
  for (const line of block.text.split("\n")) {
    if (text === "" && /^\s*(?:#|$)/.test(line)) continue;
    text += text === "" ? line : `\n${line}`;
    if (!isComplete(text)) continue;
    commands.push({ block, text });
    text = "";
  }
  if (text !== "") throw new Error(`${where(block)}: the shell would wait for more after: ${text}`);
  return commands;
}

function consoleCommands(block: Block): Command[] {
  const commands: (Command & { output: string[] })[] = [];
  for (const line of block.text.split("\n")) {
    const last = commands.at(-1);
    if (line.startsWith("$ ")) commands.push({ block, text: line.slice(2), output: [] });
    else if (last?.output.length === 0 && !isComplete(last.text)) last.text += `\n${line.replace(/^> /, "")}`;
    else last?.output.push(line);
  }
  return commands;
}

/** Would a shell run this as it is? One that is wrong and one that goes on in the next line are the same to it. */
function isComplete(text: string): boolean {
  const { exitCode, stderr } = Bun.spawnSync(["bash", "-n", "-c", text]);
  return exitCode === 0 && stderr.length === 0 && !text.endsWith("\\");
}

export function where({ page, line }: Block): string {
  return `${page}:${line}`;
}

/** The flags that a command gives to parley, with the subcommand that has to know them. */
export function flagsOf(text: string): { subcommand: string; flag: string }[] {
  const bare = text.replaceAll(/(^|\s)#.*$/gm, "").replaceAll("\\\n", " ");
  return bare.split(/[|;&\n()`]/).flatMap((part) => {
    const [, subcommand = "", rest = ""] =
      /(?:^|[\s/])parley (serve|connect|users hosts(?: forget| name)?|users \w+)(.*)/.exec(
        part.split(" -- ")[0] ?? "",
      ) ?? [];
    const flags = [...rest.matchAll(/(?<=\s)(?:--[a-z][\w-]*|-[0a-z])\b/g)];
    return flags.map(([flag]) => ({ subcommand: subcommand.replace(/hosts$/, "hosts list"), flag }));
  });
}
