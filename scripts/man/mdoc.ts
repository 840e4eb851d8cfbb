// mdoc(7), the language of manual pages: text that it shows as it is, and the few macros that the pages use.

const MAX_LINE = 79;

/** Characters that mdoc would change or obey. */
const SPECIAL: ReadonlyMap<string, string> = new Map([
  ["\\", "\\(rs"],
  ["-", "\\-"],
  ["'", "\\(aq"],
  ["`", "\\(ga"],
  ["^", "\\(ha"],
  ["~", "\\(ti"],
  ['"', "\\(dq"],
]);

/** `text` as it is shown, on any terminal that has its characters. */
export function escape(text: string): string {
  return Array.from(text, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0x7f) return SPECIAL.get(character) ?? character;
    return `\\[u${code.toString(16).toUpperCase().padStart(4, "0")}]`;
  }).join("");
}

/** `text` as one argument of a macro. */
export function argument(text: string): string {
  return `"\\&${escape(text)}"`;
}

export function bold(text: string): string {
  return `\\fB${escape(text)}\\fP`;
}

/** Running text, already escaped, in lines: each sentence begins a line, as mandoc wants it. */
export function flow(escaped: string): string[] {
  const sentences = escaped.replaceAll(/([.!?](?:[)\]]|\\\(dq|\\f[PRBI])*) +/g, "$1\n").split("\n");
  return sentences
    .flatMap(wrap)
    .filter((line) => line !== "")
    .map(protect);
}

/** Lines that are shown as they are. */
export function literal(text: string): string[] {
  const lines = text.split("\n").map((line) => protect(escape(line)));
  return [".Bd -literal -offset indent", ...lines, ".Ed"];
}

function wrap(sentence: string): string[] {
  const lines: string[] = [];
  for (const word of sentence.trim().split(/ +/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= MAX_LINE)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** A line that begins with a dot is no macro. (`'` is escaped everywhere.) */
function protect(line: string): string {
  return line.startsWith(".") ? `\\&${line}` : line;
}
