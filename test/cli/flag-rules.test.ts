// Arguments that cannot stand together: the rules of every command, one pair after the other.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import connect from "../../src/cli/connect/command.ts";
import { conflictsOf, type Conflict, type FlagRules } from "../../src/cli/flag-rules.ts";
import { metaOf, ownNames, parseCommand, resolve, type Command, type FlagsDef } from "../../src/cli/parse.ts";
import serve from "../../src/cli/serve/command.ts";
import users from "../../src/cli/users/command.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";

const root: Command = { meta: { name: "parley" }, subCommands: { serve, connect, users } as never };

interface Ruled {
  words: string[];
  definitions: FlagsDef;
  rules: FlagRules;
}

async function ruledIn(command: Command, words: string[] = []): Promise<Ruled[]> {
  const { rules } = await metaOf(command);
  const definitions = (await resolve(command.args ?? {})) as FlagsDef;
  const below = Object.entries((await resolve(command.subCommands)) ?? {});
  const all = await Promise.all(
    below.map(async ([name, one]) => ruledIn((await resolve(one)) as Command, [...words, name])),
  );
  return [...(rules === undefined ? [] : [{ words, definitions, rules }]), ...all.flat()];
}

const ruled = await ruledIn(root);

let folder: TempFolder;
let config: string;
beforeAll(() => {
  folder = tempFolder();
  config = join(folder.path, "empty.toml");
  writeFileSync(config, "");
});
afterAll(() => folder[Symbol.dispose]());

/** The words by which a person gives `names`; what has a value gets some. */
function argv({ words, definitions }: Ruled, names: readonly string[], values: Record<string, string> = {}) {
  const flags: string[] = [];
  const rest: string[] = [];
  const required = Object.entries(definitions).filter(([, { type, ...one }]) => {
    return type === "positional" && "required" in one === false;
  });
  for (const name of new Set([...required.map(([one]) => one), ...names])) {
    const definition = definitions[name]!;
    const value =
      values[name] ?? (name === "config" ? config : "options" in definition ? definition.options![0]! : "1");
    if (definition.type === "positional") {
      if ("rest" in definition && definition.rest === true) rest.push("--", value);
      else flags.push(value);
    } else flags.push(definition.type === "boolean" ? `--${name}` : `--${name}=${value}`);
  }
  return [...words, ...flags, ...rest];
}

async function errorOf(words: string[]): Promise<string | undefined> {
  try {
    await parseCommand(root, words);
    return undefined;
  } catch (error) {
    expect(error).toMatchObject({ code: "usage" });
    return (error as Error).message;
  }
}

const label = ({ rules }: Ruled, name: string) => rules.names?.[name] ?? `--${name}`;

test("the commands with several tasks or services have rules", () => {
  const found = ruled.map(({ words }) => words.join(" "));
  expect(found).toEqual(["serve", "connect", "users add", "users passwd", "users log", "users import"]);
});

describe.each(ruled.map((one) => [one.words.join(" "), one] as const))("parley %s:", (_, command) => {
  const { rules, definitions } = command;
  const names = ownNames(definitions);
  const conflicts = conflictsOf(rules, names);

  test("every name in the rules is one of its arguments", () => {
    const used = [
      ...Object.entries({ ...rules.alone, ...rules.apart }).flatMap(([flag, others]) => [
        flag.split(" ")[0],
        ...others,
      ]),
      ...Object.entries(rules.needs ?? {}).flatMap(([flag, [other]]) => [flag, other]),
      ...Object.keys(rules.names ?? {}),
    ];
    expect(used.filter((name) => !Object.hasOwn(definitions, name!))).toEqual([]);
  });

  test("each pair that is refused is refused, in either order, and the error names both", async () => {
    for (const { flag, value, other } of conflicts) {
      const values = value === undefined ? {} : { [flag]: value };
      for (const pair of [
        [flag, other],
        [other, flag],
      ]) {
        const message = await errorOf(argv(command, pair, values));
        const named = [flag, other].map((name) => message?.includes(label(command, name)));
        expect([pair, message, ...named]).toEqual([pair, expect.any(String), true, true]);
        expect(message).toMatch(/ cannot be used together$/);
      }
    }
  });

  test("each flag that needs another is refused without it, and goes with it", async () => {
    for (const [flag, [other]] of Object.entries(rules.needs ?? {})) {
      const needed = rules.needs?.[other]?.[0];
      expect(await errorOf(argv(command, [flag]))).toStartWith(`${label(command, flag)} requires `);
      expect(await errorOf(argv(command, [flag, other, ...(needed === undefined ? [] : [needed])]))).toBe(
        undefined,
      );
    }
  });

  test("every other pair is taken", async () => {
    const isRefused = (a: string, b: string) => conflicts.some((one) => isPair(one, a, b));
    for (const [index, a] of names.entries()) {
      for (const b of names.slice(index + 1)) {
        if (isRefused(a, b)) continue;
        const message = await errorOf(argv(command, [a, b]));
        // One of them may need a third.
        if (message !== undefined)
          expect([a, b, message]).toEqual([a, b, expect.stringContaining(" requires ")]);
      }
    }
  });
});

function isPair({ flag, other }: Conflict, a: string, b: string): boolean {
  return (flag === a && other === b) || (flag === b && other === a);
}

test("a flag of every command goes with each flag, but for one that it would replace", async () => {
  const command = ruled.find(({ words }) => words[0] === "connect")!;
  expect(await errorOf(argv(command, ["sessions", "debug", "no-input", "data"]))).toBe(undefined);
});

test("what a configuration file sets is named as it stands there", async () => {
  const file = join(folder.path, "parley.toml");
  writeFileSync(file, "watch = true\nservice = 'echo'\n");
  expect(await errorOf(["serve", "--config", file])).toBe(`${file}: watch requires --handler`);
  writeFileSync(file, "send-proxy = true\nto = '127.0.0.1:1'\n");
  expect(await errorOf(["serve", "--config", file, "--handler", "x.ts"])).toBe(
    `--handler and ${file}: to cannot be used together`,
  );
});
