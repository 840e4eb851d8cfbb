// A configuration file: each key is as the flag of its name, the command line wins, and an error names the file, and the line or
// the key.

import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ParleyError } from "../../src/base/errors.ts";
import { Flags } from "../../src/cli/flags.ts";
import { about, parseCommand, type Arguments, type Command } from "../../src/cli/parse.ts";
import { serveFlags, serveRules } from "../../src/cli/serve/flags.ts";
import { planMetrics, planServer } from "../../src/cli/serve/plan.ts";
import { optionEntries } from "../../src/server/option-table.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";

const root: Command = { meta: { name: "parley" }, subCommands: { serve: { args: serveFlags } } };
/** The same with the rules of what cannot stand together. */
const ruled: Command = {
  meta: { name: "parley" },
  subCommands: {
    serve: { meta: about({ name: "serve", description: "", rules: serveRules }), args: serveFlags },
  },
};

let folder: TempFolder;
let file: string;
beforeEach(() => {
  folder = tempFolder();
  file = join(folder.path, "parley.toml");
});
afterEach(() => folder[Symbol.dispose]());

/** The arguments of `parley serve` with a configuration file. */
async function parse(toml: string, argv: string[] = []): Promise<Arguments> {
  writeFileSync(file, toml);
  return (await parseCommand(root, ["serve", "--config", file, ...argv])).args;
}

/** The arguments that are flags, but `--config`. */
const given = (args: Arguments): Arguments =>
  Object.fromEntries(Object.entries(args).filter(([name]) => name !== "config"));

/** The message and the hint of the usage error that `action` must end with. */
async function usageError(action: () => unknown): Promise<[message: string, hint: string | undefined]> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof ParleyError) || error.code !== "usage") throw error;
    return [error.message, error.hint];
  }
  throw new Error("nothing was thrown");
}

/** The error of a file, without the file's name. */
async function wrong(
  toml: string,
  argv: string[] = [],
): Promise<[message: string, hint: string | undefined]> {
  const [message, hint] = await usageError(() => parse(toml, argv));
  expect(message).toStartWith(file);
  return [message.slice(file.length), hint];
}

describe("a key is as the flag of its name:", () => {
  test.each<[string, string[]]>([
    ["port = 4000", ["--port", "4000"]],
    ['port = "4000"', ["--port", "4000"]],
    ['auth = "none"', ["--auth", "none"]],
    ["strict-port = true", ["--strict-port"]],
    ["strict-port = false", []],
    ["tls = true", ["--tls"]],
    ["tls = false", ["--no-tls"]],
    ["no-tls = false", []],
    ["penalties = false", ["--penalties", "off"]],
    ["penalties = true", ["--penalties", "on"]],
    ['penalties = "off"', ["--penalties", "off"]],
    ['allow = ["10.0.0.0/8", "::1"]', ["--allow", "10.0.0.0/8", "--allow", "::1"]],
    ['allow = "10.0.0.0/8"', ["--allow", "10.0.0.0/8"]],
    ['keepalive = "30s" # a comment\nmax-frame = 65536\n', ["--keepalive", "30s", "--max-frame", "65536"]],
    ['program = ["wc", "-l", 3, ""]', ["--", "wc", "-l", "3", ""]],
    ['program = "cat"', ["--", "cat"]],
    ["\ufeffjson = true\r\n", ["--json"]],
    ["", []],
  ])("%j", async (toml, argv) => {
    expect(given(await parse(toml))).toEqual(given((await parseCommand(root, ["serve", ...argv])).args));
  });

  test("whatever of them stands in the file, on the command line, or on both, which then wins", async () => {
    const text = fc.string({ unit: "grapheme", minLength: 1 }).filter((word) => !/\p{Cc}/u.test(word));
    const valueOf = (flag: (typeof serveFlags)[string]): fc.Arbitrary<string | true | string[]> =>
      flag.type === "boolean"
        ? fc.constant(true as const)
        : flag.type === "enum"
          ? fc.constantFrom(...(flag.options ?? []))
          : flag.type === "positional" || flag.multiple === true
            ? fc.array(text, { minLength: 1, maxLength: 3 })
            : // In a file, paths are relative to its folder.
              text.map((word) =>
                /FILE|DIR/.test(flag.valueHint ?? "") ? `/x${word.replaceAll("/", "")}x` : word,
              );
    const words = (name: string, value: string | true | string[]) =>
      value === true ? [`--${name}`] : [value].flat().map((one) => `--${name}=${one}`);
    const names = Object.keys(serveFlags).filter(
      (name) => !["config", "program", "tls", "no-tls"].includes(name),
    );
    const settings = fc.record(
      Object.fromEntries(
        names.map((name) => {
          const one = valueOf(serveFlags[name] ?? { type: "boolean", group: "" });
          return [name, fc.record({ inFile: fc.option(one), onLine: fc.option(one) })];
        }),
      ),
      { requiredKeys: [] },
    );
    const property = fc.asyncProperty(settings, async (chosen) => {
      const all = Object.entries(chosen).flatMap(([name, both]) =>
        both === undefined ? [] : [{ name, ...both }],
      );
      const toml = all
        .filter(({ inFile }) => inFile !== null)
        .map(({ name, inFile }) => `${name} = ${JSON.stringify(inFile)}\n`);
      const onLine = all.flatMap(({ name, onLine }) => (onLine === null ? [] : words(name, onLine)));
      const merged = all.flatMap(({ name, inFile, onLine }) => {
        const value = onLine ?? inFile;
        return value === null ? [] : words(name, value);
      });
      const { args } = await parseCommand(root, ["serve", ...merged]);
      expect(given(await parse(toml.join(""), onLine))).toEqual(given(args));
    });
    await fc.assert(property, { numRuns: 60 });
  });
});

describe("the command line", () => {
  test.each<[string, string[], Arguments]>([
    ["port = 1", ["--port", "2"], { port: "2" }],
    ['allow = ["::1", "::2"]', ["--allow", "::3"], { allow: ["::3"] }],
    ['program = ["wc", "-l"]', ["--", "cat"], { program: ["cat"] }],
    ["tls = true", ["--no-tls"], { "no-tls": true }],
    ["tls = false", ["--tls"], { tls: true }],
    ["no-tls = true", ["--tls"], { tls: true }],
  ])("wins over %j", async (toml, argv, args) => expect(given(await parse(toml, argv))).toEqual(args));

  test.each<[string, string[], string]>([
    ['tls-cert = "c"\ntls-key = "k"', ["--no-tls"], "--no-tls and FILE: tls-cert"],
    ["bare = true", ["--auth", "none"], "FILE: bare and --auth"],
    ["tls = true\nno-tls = true", [], "FILE: no-tls and FILE: tls"],
  ])("and %j cannot be used together as flags do", async (toml, argv, words) => {
    await parse(toml);
    const [message] = await usageError(() => parseCommand(ruled, ["serve", "--config", file, ...argv]));
    expect(message).toBe(`${words.replaceAll("FILE", file)} cannot be used together`);
  });
});

describe("it is an error that names the file and", () => {
  test.each<[string, string, string | undefined]>([
    ["prot = 1", ": unknown key prot", "did you mean port?"],
    ["strict_port = true", ": unknown key strict_port", "did you mean strict-port?"],
    ["xyzzy = 1", ": unknown key xyzzy", "run parley serve --help"],
    ["__proto__ = 1", ": unknown key __proto__", "run parley serve --help"],
    ["[serve]\nport = 1", ": unknown key serve", "write all keys at the top level, without tables"],
    ['config = "other.toml"', ": a configuration file cannot name another one", undefined],
    ["port = true", ": port: expected a string or a number", undefined],
    ["port = [1]", ": port: expected a string or a number", undefined],
    ["port.x = 1", ": port: expected a string or a number", undefined],
    ["port = 2026-01-02", ": port: expected a string or a number", undefined],
    ['port = ""', ": port: needs a value", undefined],
    ['json = "yes"', ": json: expected true or false", undefined],
    ["json = 1", ": json: expected true or false", undefined],
    ["allow = []", ": allow: needs at least one value", undefined],
    ["program = []", ": program: needs at least one value", undefined],
    ["allow = [true]", ": allow: expected a string or a number", undefined],
    ['log = "a\\u0000b"', ": log: the string contains a NUL character", undefined],
    ['data = "~/x"', ': data: "~/x" starts with ~', "write the whole path: only a shell expands ~"],
    ['auth = "pasword"', ': auth: invalid value "pasword"', "use one of password, ip, none"],
  ])("the key: %j", async (toml, message, hint) => expect(await wrong(toml)).toEqual([message, hint]));

  test.each<[string, number, RegExp]>([
    ["port = yes", 1, /quoted/],
    ['# x\nport = 1\nauth = "none\n', 3, /string/i],
    ["port = 1\n\nport = 2\n", 3, /redefine/],
    ["allow = [\n1,\n2\n", 3, /array/],
    ["a b", 1, /=/],
  ])("the line: %j", async (toml, line, reason) => {
    const [message, hint] = await wrong(toml);
    expect(message).toStartWith(`:${line}: `);
    expect(message).toMatch(reason);
    expect(hint).toContain("TOML");
  });

  test("the key of each option whose value its own check refuses", async () => {
    for (const [, { flag }] of optionEntries) {
      const toml = `${flag} = "?"`;
      const [message] = await wrong(toml).catch(async () => usageErrorOfPlan(await parse(toml)));
      expect(message).toStartWith(`: ${flag}: `);
    }
    for (const toml of ['host = "?"', 'port = "?"', 'metrics = "?"']) {
      const [message] = await usageErrorOfPlan(await parse(toml));
      expect(message).toStartWith(`: ${toml.split(" ", 1)[0]}: `);
    }
  });

  test("not the key, where the value is of the command line", async () => {
    const args = await parse("keepalive = 7", ["--keepalive", "?"]);
    expect(() => planServer(new Flags(args), undefined)).toThrow(/^--keepalive: /);
  });

  async function usageErrorOfPlan(args: Arguments): Promise<[string, string | undefined]> {
    const [message, hint] = await usageError(() => {
      planServer(new Flags(args), undefined);
      planMetrics(new Flags(args), 1);
    });
    expect(message).toStartWith(file);
    return [message.slice(file.length), hint];
  }
});

describe("a path in the file", () => {
  test("is relative to its folder, also through a link", async () => {
    const toml = `log = "x.log"\ndata = "../d"\ntls-key = "/k"\nhandler = "h.ts"\nprogram = ["bin/p", "x/y"]\n`;
    expect(given(await parse(toml))).toEqual({
      log: join(folder.path, "x.log"),
      data: join(folder.path, "../d"),
      "tls-key": "/k",
      handler: join(folder.path, "h.ts"),
      program: [join(folder.path, "bin/p"), "x/y"],
    });
    const other = join(folder.path, "other");
    mkdirSync(other);
    symlinkSync(file, join(other, "parley.toml"));
    const { args } = await parseCommand(root, ["serve", "--config", join(other, "parley.toml")]);
    expect(args["log"]).toBe(join(other, "x.log"));
  });

  test("is as it is for a program that is found by its name", async () => {
    expect((await parse('program = ["python3", "a.py"]'))["program"]).toEqual(["python3", "a.py"]);
  });
});

describe("it is a usage error when the file", () => {
  test("does not exist, or is none", async () => {
    const read = (path: string) => usageError(() => parseCommand(root, ["serve", "--config", path]));
    expect((await read(file))[0]).toBe(`--config: cannot read ${file}: there is no such file`);
    for (const path of [folder.path, "/dev/null"]) {
      expect((await read(path))[0]).toStartWith(`--config: ${path} is not a regular file`);
    }
  });

  test("is too long to be one", async () => {
    const [message] = await usageError(() => parse(`# ${"x".repeat(64 * 1024)}\n`));
    expect(message).toBe(`--config: ${file} is longer than 64 KiB`);
    expect(given(await parse(`#${"x".repeat(64 * 1024 - 1)}`))).toEqual({});
  });

  test("is not UTF-8", async () => {
    writeFileSync(file, new Uint8Array([0x23, 0xff, 0x0a]));
    const [message] = await usageError(() => parseCommand(root, ["serve", "--config", file]));
    expect(message).toContain("not UTF-8");
  });

  test("is named twice", async () => {
    const [message] = await usageError(() => parse("", ["--config", file]));
    expect(message).toBe("--config is given 2 times");
  });
});
