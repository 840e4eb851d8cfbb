// The one function through which a peer's text reaches a terminal or a log.
//
// It makes visible everything that acts instead of being read: C0 and C1 controls, DEL, bidi overrides, zero-width
// characters, line separators, tags, unassigned code points and lone surrogates. It never drops anything, so that a
// reader can see what was sent.

/** Controls, formatting (bidi, zero-width, tags), line and paragraph separators, unassigned, lone surrogates. */
const ACTS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cn}\p{Cs}]/gu;

function visible(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (character === "\n") return "\\n";
  if (character === "\t") return "\\t";
  if (character === "\r") return "\\r";
  if (code < 0x20) return `^${String.fromCharCode(code + 0x40)}`;
  if (code === 0x7f) return "^?";
  return `\\u{${code.toString(16)}}`;
}

/** `text` on one line, with every character that acts made visible: `\n`, `^[`, `\u{202e}`. For logs and names. */
export function escapeLine(text: string): string {
  return text.replace(ACTS, visible);
}

/** As {@link escapeLine}, but line feeds and tabs stay: for a message shown on a terminal. */
export function escapeText(text: string): string {
  return text.replace(ACTS, (character) =>
    character === "\n" || character === "\t" ? character : visible(character),
  );
}

/** `value` as JSON on one line, every character that acts as `\u…`: the same value to a program, harmless to a terminal. */
export function escapeJson(value: unknown): string {
  return JSON.stringify(value).replace(ACTS, (character) =>
    Array.from({ length: character.length }, (_, index) => {
      return `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`;
    }).join(""),
  );
}
