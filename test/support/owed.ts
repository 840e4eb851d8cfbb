// What a store owes to writers (writer.ts) that were killed: the users whose addition they have acknowledged, and none of those whose
// removal they have.

/** How many users of one writer are in the store. It removes an earlier one with each change, so that the store stays small. */
export const KEPT = 20;

/** The users that must be there, and those that must not. @param names those that writers have acknowledged. */
export function owed(names: Iterable<string>): { there: string[]; gone: string[] } {
  const last = new Map<string, number>();
  for (const name of names) {
    const [writer, n] = partsOf(name);
    last.set(writer, Math.max(last.get(writer) ?? 0, n));
  }
  const [there, gone]: [string[], string[]] = [[], []];
  for (const [writer, most] of last) {
    // The change after the last acknowledged one may have been made, and have removed one more.
    for (let n = Math.max(0, most - KEPT + 2); n <= most; n++) there.push(`${writer}-${n}`);
    for (let n = 0; n <= most - KEPT; n++) gone.push(`${writer}-${n}`);
  }
  return { there, gone };
}

function partsOf(name: string): [string, number] {
  const [writer = "", n = ""] = name.split("-");
  return [writer, Number(n)];
}
