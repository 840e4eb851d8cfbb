// Numbers with their noun, for a sentence.

/** `1 message`, `2 messages`. With `verbs`, the words after the noun too, for one and for more: `1 message was`, `2 messages were`. */
export function plural(count: number, noun: string, verbs?: readonly [one: string, more: string]): string {
  const isOne = count === 1;
  const verb = verbs === undefined ? "" : ` ${verbs[isOne ? 0 : 1]}`;
  return `${count} ${noun}${isOne ? "" : "s"}${verb}`;
}
