// Computes where text ends on a terminal that wraps it. line-editor.ts counts with it the rows that a line takes.

/** Columns from one tab stop to the next: the default of terminals, and readline's number. */
const TAB_COLUMNS = 8;

/** A position on the screen; both numbers begin at 0. */
export interface Cell {
  row: number;
  column: number;
}

/**
 * The cell after `text`, which begins in the first column. After a text that fills its last row it is the first cell of the next
 * row, although a terminal goes there only with the next character.
 */
export function cellAfter(text: string, columns: number): Cell {
  let row = 0;
  let column = 0;
  for (const character of text) {
    const width = character === "\t" ? TAB_COLUMNS - (column % TAB_COLUMNS) : Bun.stringWidth(character);
    // A wide character does not fit into the last column; a tab ends with its row.
    if (column + width > columns) {
      row++;
      column = character === "\t" ? 0 : width;
    } else column += width;
    if (column < columns) continue;
    row++;
    column = 0;
  }
  return { row, column };
}
