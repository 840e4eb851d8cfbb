// Escapes the text of peers. Each text of a peer passes one of these functions on its way to a terminal or a log.
//
// They show every character that acts on the terminal as an escape: C0 and C1 controls, DEL, bidi overrides, zero-width
// characters, line separators, tags, unassigned code points and lone surrogates. They drop no character, so that a reader sees the
// whole text. A joiner stays where it is part of the writing: see JOINS.

/** Controls, formatting (bidi, zero-width, tags), line and paragraph separators, unassigned, lone surrogates. */
const ACTS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cn}\p{Cs}]/gu;

/** Scripts whose letters change with their neighbours: there a non-joiner is spelling, as in Persian. */
const CURSIVE = String.raw`[[\p{sc=Arab}\p{sc=Syrc}\p{sc=Mand}\p{sc=Nkoo}\p{sc=Adlm}\p{sc=Rohg}\p{sc=Mong}]&&\p{L}]`;
const INDIC = String.raw`[[\p{sc=Deva}\p{sc=Beng}\p{sc=Guru}\p{sc=Gujr}\p{sc=Orya}\p{sc=Taml}\p{sc=Telu}\p{sc=Knda}\p{sc=Mlym}\p{sc=Sinh}]&&\p{L}]`;
/** Signs that take the vowel from an Indic letter, so that it may join the next one. */
const VIRAMA = "[\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d\u0dca]";
const EMOJI = String.raw`[\p{Extended_Pictographic}--\p{Cn}]`;

/** A joiner (U+200D) or non-joiner (U+200C) where it belongs to the writing: between emoji, and by the rules of RFC 5892, appendix A. */
const JOINS = new RegExp(
  [
    String.raw`(?<=${EMOJI}[\ufe0f\p{Emoji_Modifier}]?)\u200d(?=${EMOJI})`,
    String.raw`(?<=${CURSIVE}\p{Mn}*)\u200c(?=\p{Mn}*${CURSIVE})`,
    String.raw`(?<=${INDIC}\p{M}*${VIRAMA})[\u200c\u200d](?![\u200c\u200d])`,
    String.raw`(?<=${INDIC})\u200d(?=${VIRAMA}${INDIC})`, // Bengali ya-phalaa, Sinhala letters that touch
  ].join("|"),
  "vy",
);

function shown(character: string, at: number, text: string): string {
  JOINS.lastIndex = at;
  return JOINS.test(text) ? character : visible(character);
}

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
  return text.replace(ACTS, shown);
}

/** As {@link escapeLine}, but line feeds and tabs stay: for a message shown on a terminal. */
export function escapeText(text: string): string {
  return text.replace(ACTS, (character, at: number) =>
    character === "\n" || character === "\t" ? character : shown(character, at, text),
  );
}

/** `value` as JSON on one line, with every character that acts as `\u…`: the same value for a program, harmless on a terminal. */
export function escapeJson(value: unknown): string {
  return JSON.stringify(value).replace(ACTS, (character) =>
    Array.from({ length: character.length }, (_, index) => {
      return `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`;
    }).join(""),
  );
}

/** `bytes` as Python shows them: printable ASCII as it is, every other byte, quotes and backslashes included, as `\x…`. */
export function escapeBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => {
    const isPlain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
    return isPlain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
  }).join("");
}
