// Where text ends on a terminal that wraps it: whoever takes rows back must know how many there are.

/** From tab stop to tab stop, in columns; as terminals have it when nobody has set them, and as readline counts. */
const TAB_COLUMNS = 8;

/** Counted from 0. */
export interface Cell {
  row: number;
  column: number;
}

/**
 * The cell after `text`, shown from the first column on. Where the text fills its last row, that is the first cell of
 * the next one, although a terminal goes there only with the next character.
 */
export function cellAfter(text: string, columns: number): Cell {
  let row = 0;
  let column = 0;
  for (const character of text) {
    const width = character === "\t" ? TAB_COLUMNS - (column % TAB_COLUMNS) : Bun.stringWidth(character);
    // A wide character is never cut in two; a tab ends with its row.
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
