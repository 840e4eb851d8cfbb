// The rules for names: letters and digits of any script, so that a log, a prompt and a chat can show a name unescaped.

/** 32 characters, as Debian's adduser; a letter or digit first, so that no name looks like a flag. */
const NAME = /^[\p{L}\p{N}][\p{L}\p{M}\p{N}._-]{0,31}$/u;
/** Invisible letters and marks: with them, two names could look the same, or be blank. */
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/u;

/** The rule for names, for errors and hints. */
export const NAME_RULE =
  "a name has 1 to 32 letters, digits, dots, dashes or underscores, and begins with a letter or digit";

/** The one form of a user's name (NFKC, case folded), or undefined when the text is not a name. */
export function normalizeName(name: string): string | undefined {
  // Folded before the second normalisation too: some characters decompose only once folded.
  const normal = name.normalize("NFKC").toLowerCase().normalize("NFKC");
  return NAME.test(normal) && !hasInvisible(normal) ? normal : undefined;
}

/** A name to be shown as it was given (`--auth ip`), or undefined when the text is not a name. */
export function displayName(name: string): string | undefined {
  const normal = name.normalize("NFKC");
  return NAME.test(normal) && !hasInvisible(normal) ? normal : undefined;
}

/** True for a text in which a character is not to be seen. */
export function hasInvisible(text: string): boolean {
  return INVISIBLE.test(text);
}
