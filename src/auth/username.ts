// What a name may be: letters and digits of any script, so that it can stand in a log, a prompt and a chat unescaped.

/** 32 characters, as Debian's adduser; a letter or digit first, so that no name looks like a flag. */
const NAME = /^[\p{L}\p{N}][\p{L}\p{M}\p{N}._-]{0,31}$/u;
/** Letters and marks that show nothing: two names could look the same, or be blank. */
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/u;

/** What a name must be, for an error's hint. */
export const NAME_RULE =
  "a name has 1 to 32 letters, digits, dots, dashes or underscores, and begins with a letter or digit";

/** The one form of a user's name (NFKC, case folded), or undefined when it is no name. */
export function normalizeName(name: string): string | undefined {
  // Folded before the second normalisation too: some characters decompose only once folded.
  const normal = name.normalize("NFKC").toLowerCase().normalize("NFKC");
  return NAME.test(normal) && !INVISIBLE.test(normal) ? normal : undefined;
}

/** A name to be shown as it was given (`--auth ip`), or undefined when it is no name. */
export function displayName(name: string): string | undefined {
  const normal = name.normalize("NFKC");
  return NAME.test(normal) && !INVISIBLE.test(normal) ? normal : undefined;
}
