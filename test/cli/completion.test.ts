// What may stand at the cursor is what the tables of the commands say, for every command and every flag.

import { describe, expect, test } from "bun:test";
import { findPlace, type Place } from "../../src/cli/completion/place.ts";
import { isMultiple } from "../../src/cli/parse.ts";
import { parley } from "../../src/cli/root.ts";
import { allCommands, leafCommands } from "../support/commands.ts";

const commands = await allCommands();
const leaves = await leafCommands();

/** What may stand behind `line`, whose last word is begun. */
function placeOf(line: string): Promise<Place> {
  const words = line.split(" ").slice(1);
  return findPlace(parley, words, words.pop() ?? "");
}

async function valuesOf(line: string): Promise<string[]> {
  const place = await placeOf(line);
  return place.kind === "words" ? place.candidates.map(({ value }) => value) : [`(${place.kind})`];
}

describe.each(leaves)("$path", ({ path, definitions }) => {
  const flags = definitions.filter(([, { type }]) => type !== "positional");

  test("takes every flag of its table, with its line of --help, and no other", async () => {
    const place = await placeOf(`${path} -`);
    if (place.kind !== "words") throw new Error(place.kind);
    const told = place.candidates.map(({ value, about }) => [value, about]);
    expect(told.slice(0, -2)).toEqual(
      flags.map(([name, { description }]) => [`--${name}`, description ?? ""]),
    );
    expect(told.slice(-2).map(([value]) => value)).toEqual(["--help", "--version"]);
  });

  test("takes a flag once, unless it may be repeated", async () => {
    for (const [name, flag] of flags) {
      const given = flag.type === "boolean" ? `--${name}` : `--${name}=1`;
      expect([name, (await valuesOf(`${path} ${given} -`)).includes(`--${name}`)]).toEqual([
        name,
        isMultiple(flag),
      ]);
    }
  });

  test("takes the values of a flag in the next word and behind =", async () => {
    for (const [name, flag] of flags.filter(([, { type }]) => type !== "boolean")) {
      const { kind, ...rest } = await placeOf(`${path} --${name} `);
      const behind = await placeOf(`${path} --${name}=`);
      expect([name, behind.kind]).toEqual([name, kind]);
      if (flag.type === "enum") {
        expect(await valuesOf(`${path} --${name} `)).toEqual(flag.options ?? []);
        expect(await valuesOf(`${path} --${name}=`)).toEqual(
          (flag.options ?? []).map((one) => `--${name}=${one}`),
        );
      } else if (flag.completes !== undefined) {
        expect(rest).toMatchObject({ known: flag.completes, prefix: "" });
        expect(behind).toMatchObject({ known: flag.completes, prefix: `--${name}=` });
      } else {
        const kinds = new Map([
          ["FILE", "files"],
          ["DIR", "folders"],
        ]);
        expect([name, kind]).toEqual([name, kinds.get(flag.valueHint ?? "") ?? "words"]);
      }
    }
  });
});

test("a group takes the names of its commands", async () => {
  for (const { path, command } of commands.filter(({ command }) => command.subCommands !== undefined)) {
    const names = Object.keys(command.subCommands ?? {});
    expect((await valuesOf(`${path} `)).slice(0, names.length)).toEqual(names);
  }
});

test("every command of users that takes the name of an account completes it", async () => {
  const takes = leaves.filter(({ definitions }) =>
    definitions.some(([, { valueHint }]) => valueHint === "NAME"),
  );
  const completing = await Promise.all(
    takes.map(async ({ path }) => [path, await placeOf(`${path} a`)] as const),
  );
  const names = completing.flatMap(([path, place]) =>
    place.kind === "known" && place.known === "user" ? [path] : [],
  );
  expect(names).toEqual(
    ["passwd", "remove", "disable", "enable", "tag", "sessions"].map((name) => `parley users ${name}`),
  );
});

test.each([
  ["parley ", ["serve", "connect", "users", "help"]],
  ["parley help ", ["serve", "connect", "users", "completion"]],
  ["parley users hosts ", ["list", "name", "forget"]],
  ["parley serve -- ", ["(command)"]],
  ["parley serve -- cat --", ["(command)"]],
  ["parley connect -- ", []],
  ["parley serve --port ", []],
  ["parley serve --no-such-flag=", []],
  ["parley serve --tls=", []],
  ["parley users import ", ["(files)"]],
  ["parley help users list ", []],
])("%s", async (line, values) => {
  expect(await valuesOf(line)).toEqual(values);
});

test("a place that may be repeated goes on", async () => {
  expect(await placeOf("parley users tag ann a b c")).toMatchObject({ kind: "known", known: "tag" });
  expect(await placeOf("parley connect --send x --send y 127")).toMatchObject({
    kind: "known",
    known: "server",
  });
});
