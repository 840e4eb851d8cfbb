// Which arguments of a command cannot stand together, since one of them would have no effect. Each command has its rules in its
// definition, and parse.ts checks them before the command runs. What depends on the content of a value is checked where it is read.

import { usageError } from "../base/errors.ts";

export interface FlagRules {
  /** A flag that makes the command do something else, and what has a meaning beside it, but for the flags of every command. */
  alone?: Readonly<Record<string, readonly string[]>>;
  /** A flag, or a flag with one value as in `auth none`, and those that have no effect beside it. */
  apart?: Readonly<Record<string, readonly string[]>>;
  /** A flag, the one that it has no effect without, and a hint. */
  needs?: Readonly<Record<string, readonly [other: string, hint?: string]>>;
  /** How an error names what is no flag. */
  names?: Readonly<Record<string, string>>;
}

/** One pair of arguments that is refused, for tests. `value`: only with this value of `flag`. */
export interface Conflict {
  flag: string;
  value: string | undefined;
  other: string;
}

/** Every pair that `rules` refuses. @param names the arguments of the command, but for those of every command. */
export function conflictsOf({ alone = {}, apart = {} }: FlagRules, names: readonly string[]): Conflict[] {
  const pairs = (flag: string, others: readonly string[]) =>
    others.map((other): Conflict => ({ flag, value: undefined, other }));
  return [
    ...Object.entries(alone).flatMap(([flag, beside]) =>
      pairs(
        flag,
        names.filter((name) => name !== flag && !beside.includes(name)),
      ),
    ),
    ...Object.entries(apart).flatMap(([words, others]) => {
      const [flag = "", value] = words.split(" ");
      return pairs(flag, others).map((pair) => ({ ...pair, value }));
    }),
  ];
}

/**
 * Checks the arguments of a command.
 *
 * @param names as for {@link conflictsOf}. @param label how an error names a flag.
 * @throws {ParleyError} `usage` for the first rule that is broken.
 */
export function checkTogether(
  args: Readonly<Record<string, unknown>>,
  names: readonly string[],
  rules: FlagRules,
  label: (name: string) => string,
): void {
  const say = (name: string) => rules.names?.[name] ?? label(name);
  const given = (name: string, value?: string) =>
    args[name] !== undefined && (value === undefined || args[name] === value);
  const broken = conflictsOf(rules, names).find(
    ({ flag, value, other }) => given(flag, value) && given(other),
  );
  if (broken !== undefined) {
    const { flag, value, other } = broken;
    const first = value === undefined ? say(flag) : `${say(flag)} ${value}`;
    throw usageError(`${first} and ${say(other)} cannot be used together`);
  }
  for (const [flag, [other, hint]] of Object.entries(rules.needs ?? {})) {
    if (given(flag) && !given(other)) throw usageError(`${say(flag)} requires ${say(other)}`, hint);
  }
}
