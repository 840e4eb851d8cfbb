// The tags of a user: the words by which a service asks for a role, such as `teacher`.

import { MAX_TAGS } from "../base/limits.ts";
import { hasInvisible } from "./username.ts";

/** As a name without dots. PARLEY_TAGS separates tags by spaces, and a tag must not look like a flag. */
const TAG = /^[\p{L}\p{N}][\p{L}\p{M}\p{N}_-]{0,31}$/u;

/** The rule for tags, for errors and hints. */
export const TAG_RULE =
  "a tag has 1 to 32 letters, digits, dashes or underscores, and begins with a letter or digit";

/** The one form of a tag (NFKC; upper and lower case differ), or undefined when the text is not a tag. */
export function normalizeTag(text: string): string | undefined {
  const normal = text.normalize("NFKC");
  return TAG.test(normal) && !hasInvisible(normal) ? normal : undefined;
}

/** True for a list of tags as a user's record may have it. */
export function areTags(value: unknown): value is string[] {
  return (
    Array.isArray(value) &&
    value.length <= MAX_TAGS &&
    new Set(value).size === value.length &&
    value.every((tag) => typeof tag === "string" && normalizeTag(tag) === tag)
  );
}
