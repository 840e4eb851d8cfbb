// Bytes for a terminal → the rows that it shows, with their colours.

import { Terminal, type IBufferCell, type IBufferLine } from "@xterm/headless";

/** Text that looks the same throughout. */
export interface Run {
  column: number;
  text: string;
  /** The number of a colour in the palette of 16; none: that of the terminal. */
  colour: number | undefined;
  isBold: boolean;
  isDim: boolean;
}

export interface Pane {
  columns: number;
  rows: Run[][];
}

const MAX_ROWS = 60;

/** What a terminal shows in the end: a command at a shell's prompt, and what it wrote (as latin-1, a character for each byte). */
export async function drawn(command: string, output: string, columns: number): Promise<Pane> {
  const terminal = new Terminal({ cols: columns, rows: MAX_ROWS, allowProposedApi: true });
  const bytes = Buffer.concat([Buffer.from(`\x1b[1m$\x1b[0m ${command}\r\n`), Buffer.from(output, "latin1")]);
  await new Promise<void>((resolve) => terminal.write(bytes, resolve));
  const rows: Run[][] = [];
  for (let row = 0; row < MAX_ROWS; row++) rows.push(runsOf(terminal.buffer.active.getLine(row), columns));
  while (rows.at(-1)?.length === 0) rows.pop();
  return { columns, rows };
}

function runsOf(line: IBufferLine | undefined, columns: number): Run[] {
  const runs: Run[] = [];
  for (let column = 0; column < columns; column++) {
    const cell = line?.getCell(column);
    if (cell === undefined || cell.getWidth() === 0) continue;
    const run = { column, text: cell.getChars() || " ", ...looksOf(cell) };
    const last = runs.at(-1);
    if (last !== undefined && looksAlike(last, run)) last.text += run.text;
    else runs.push(run);
  }
  const last = runs.at(-1);
  if (last !== undefined) last.text = last.text.trimEnd();
  return runs.filter(({ text }) => text.trim() !== "");
}

function looksOf(cell: IBufferCell): Omit<Run, "column" | "text"> {
  return {
    colour: cell.isFgPalette() ? cell.getFgColor() : undefined,
    isBold: cell.isBold() !== 0,
    isDim: cell.isDim() !== 0,
  };
}

function looksAlike(one: Run, other: Run): boolean {
  return one.colour === other.colour && one.isBold === other.isBold && one.isDim === other.isDim;
}
