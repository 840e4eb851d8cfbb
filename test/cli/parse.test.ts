// argv → command and flags, on a small tree of commands of every kind: what each line means, and that a mistake is a
// usage error which names it and says what to do. Then flags as values: durations, sizes, counts.

import { describe, expect, test } from "bun:test";
import { ParleyError } from "../../src/base/errors.ts";
import { count, duration, size } from "../../src/base/option-kinds.ts";
import { Flags, parseHost, parsePort } from "../../src/cli/flags.ts";
import { commonFlags, inGroup, parseCommand, type Command, type FlagsDef } from "../../src/cli/parse.ts";

const serveFlags = {
  ...inGroup("Flags", {
    port: { type: "string" },
    auth: { type: "enum", options: ["password", "ip", "none"] },
    bare: { type: "boolean" },
    send: { type: "string", multiple: true },
    null: { type: "boolean", alias: "0" },
  }),
  ...commonFlags,
} satisfies FlagsDef;

const serve: Command = { meta: { name: "serve" }, args: serveFlags };
const add: Command = {
  meta: { name: "add" },
  args: { name: { type: "positional" }, file: { type: "positional", required: false }, ...commonFlags },
};
const tag: Command = {
  meta: { name: "tag" },
  args: {
    name: { type: "positional" },
    tags: { type: "positional", required: false, multiple: true },
    ...commonFlags,
  } as FlagsDef,
};
const list: Command = { meta: { name: "list" }, args: { json: { type: "boolean" } } };
const hosts: Command = { meta: { name: "hosts" }, default: "list", subCommands: { list, forget: add } };
const tool: Command = {
  meta: { name: "tool" },
  subCommands: {
    serve: () => Promise.resolve(serve),
    users: { meta: { name: "users" }, subCommands: { add, tag, list, hosts } },
  },
};

const words = (line: string): string[] => line.split(" ").filter((word) => word !== "");

async function parse(argv: string[]): Promise<[path: string, wants: string, args: object]> {
  const { path, wants, args } = await parseCommand(tool, argv);
  return [path, wants, { ...args }];
}

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

describe("a line that is right", () => {
  test.each<[string, string, object]>([
    ["serve", "tool serve", {}],
    ["serve --port 80 --bare", "tool serve", { port: "80", bare: true }],
    ["serve --port=80 --auth=ip", "tool serve", { port: "80", auth: "ip" }],
    ["serve --port 80 -0", "tool serve", { port: "80", null: true }],
    ["serve --send a --send b --send=", "tool serve", { send: ["a", "b", ""] }],
    ["serve --port=--bare", "tool serve", { port: "--bare" }],
    ["serve --send=a=b --send=--help", "tool serve", { send: ["a=b", "--help"] }],
    ["users add ann", "tool users add", { name: "ann" }],
    ["users add --debug ann -", "tool users add", { name: "ann", file: "-", debug: true }],
    ["users add __proto__", "tool users add", { name: "__proto__" }],
    ["users tag ann", "tool users tag", { name: "ann" }],
    ["users tag ann a --debug b a", "tool users tag", { name: "ann", tags: ["a", "b", "a"], debug: true }],
    ["users hosts", "tool users hosts list", {}],
    ["users hosts --json", "tool users hosts list", { json: true }],
    ["users hosts forget x", "tool users hosts forget", { name: "x" }],
  ])("%s", async (line, path, args) => {
    expect(await parse(words(line))).toEqual([path, "run", args]);
  });
});

describe("help and version, at every level", () => {
  test.each([
    ["", "tool"],
    ["help", "tool"],
    ["--help", "tool"],
    ["-h", "tool"],
    ["help serve", "tool serve"],
    ["serve --help", "tool serve"],
    ["serve -h", "tool serve"],
    ["serve --no-such-flag --help", "tool serve"],
    ["serve --version --help", "tool serve"],
    ["users", "tool users"],
    ["users --help", "tool users"],
    ["help users add", "tool users add"],
    ["users add -h", "tool users add"],
    ["help users hosts", "tool users hosts"],
    ["users hosts list --help", "tool users hosts list"],
  ])("%s: help", async (line, path) => {
    expect(await parse(words(line))).toEqual([path, "help", {}]);
  });

  test.each(["users hosts --help", "users hosts -h"])(
    "%s: help of the group, not of its default",
    async (line) => {
      expect(await parse(words(line))).toEqual(["tool users hosts", "help", {}]);
    },
  );

  test.each([
    ["--version", "tool"],
    ["serve --version", "tool serve"],
    ["users --version", "tool users"],
    ["users add --version", "tool users add"],
  ])("%s: version", async (line, path) => {
    expect(await parse(words(line))).toEqual([path, "version", {}]);
  });
});

describe("a command that does not exist", () => {
  test.each([
    ["serv", "unknown command tool serv", "did you mean serve?"],
    ["Serve", "unknown command tool Serve", "did you mean serve?"],
    ["xyzzy", "unknown command tool xyzzy", "run tool --help"],
    ["help serv", "unknown command tool serv", "did you mean serve?"],
    ["users lst", "unknown command tool users lst", "did you mean list?"],
    ["users hosts froget", "unknown command tool users hosts froget", "did you mean forget?"],
    ["--port 1 serve", "--port needs a command", "run tool --help"],
  ])("%s", async (line, message, hint) => {
    expect(await usageError(() => parse(words(line)))).toEqual([message, hint]);
  });

  test.each(["constructor", "__proto__", "toString", "hasOwnProperty", "valueOf"])(
    "%s, at any level",
    async (name) => {
      for (const above of ["", "users ", "users hosts ", "help "]) {
        const [message] = await usageError(() => parse(words(above + name)));
        expect(message).toBe(`unknown command tool ${above.replace("help ", "")}${name}`);
      }
    },
  );
});

describe("a flag or argument that is wrong", () => {
  const help = "run tool serve --help";
  test.each([
    ["serve --prot 80", "unknown flag --prot", "did you mean --port?"],
    ["serve --prot=80", "unknown flag --prot", "did you mean --port?"],
    ["serve --xyzzyxyzzy", "unknown flag --xyzzyxyzzy", help],
    ["serve --constructor", "unknown flag --constructor", help],
    ["serve --__proto__=1", "unknown flag --__proto__", help],
    ["serve --no-bare", "unknown flag --no-bare", undefined],
    ["serve -x", "unknown flag -x", help],
    ["serve -ann", "unknown flag -ann", help],
    ["serve -x…", "unknown flag -x…", help],
    ["serve -0x", "unknown flag -0x", help],
    ["serve -é", "unknown flag -é", help],
    ["serve -port 80", "unknown flag -port", "did you mean --port?"],
    ["serve -port=80", "unknown flag -port=80", "did you mean --port?"],
    ["serve --=x", "unknown flag --=x", help],
    ["serve --port", "--port needs a value", help],
    ["serve --port=", "--port needs a value", help],
    ["serve --port --bare", "--port needs a value", help],
    ["serve --port -1", "--port needs a value, and -1 looks like a flag", "write it as --port=-1"],
    ["serve 8080", `unexpected argument "8080"`, "for a port: --port 8080"],
    ["serve --bare=yes", "--bare takes no value", help],
    ["serve --port 1 --port 1", "--port is given 2 times", "give it once"],
    ["serve -0 --null", "--null is given 2 times", "give it once"],
    ["serve --bare --bare --bare", "--bare is given 3 times", "give it once"],
    ["serve --auth pasword", `--auth: invalid value "pasword"`, "use one of password, ip, none"],
    [
      "serve --color=always --auth toString",
      `--auth: invalid value "toString"`,
      "use one of password, ip, none",
    ],
    ["serve extra", `unexpected argument "extra"`, help],
    ["serve help", `unexpected argument "help"`, help],
    ["serve -- cat", "tool serve takes no arguments after --", help],
    ["serve -- --help", "tool serve takes no arguments after --", help],
    ["users add", "missing argument NAME", "run tool users add --help"],
    ["users add a b c", `unexpected argument "c"`, "run tool users add --help"],
  ])("%s", async (line, message, hint) => {
    const [said, next] = await usageError(() => parse(words(line)));
    expect(said).toBe(message);
    if (hint !== undefined) expect(next).toBe(hint);
  });

  test("an empty value is none, and an empty word is one too many", async () => {
    expect(await usageError(() => parse(["serve", "--port", ""]))).toEqual(["--port needs a value", help]);
    expect(await usageError(() => parse(["serve", ""]))).toEqual([`unexpected argument ""`, help]);
  });

  test("of a command without flags", async () => {
    const bare: Command = { meta: { name: "bare" } };
    const [message] = await usageError(() => parseCommand(bare, ["--x"]));
    expect(message).toBe("unknown flag --x");
  });
});

describe("a flag's value", () => {
  const of = (value: string | boolean | string[] | undefined) => new Flags<"x">({ x: value });

  test.each([
    ["0", 0],
    ["65535", 65535],
    ["0080", 80],
  ])("%j is a count", (text, value) => expect(of(text).read("x", count(0, 65535))).toBe(value));

  test.each(["-1", "65536", "1.5", "1e3", "0x10", " 1", "", "one", "9".repeat(400)])(
    "%j is no count",
    async (text) => {
      const message = `--x: invalid number ${JSON.stringify(text)}`;
      expect(await usageError(() => of(text).read("x", count(0, 65535)))).toEqual([
        message,
        "use a whole number from 0 to 65535",
      ]);
    },
  );

  test("is a duration that a timer can count, or the error shows how to write one", async () => {
    expect(of("1.5s").read("x", duration())).toBe(1500);
    expect(of("2147483647ms").read("x", duration())).toBe(2 ** 31 - 1);
    for (const text of ["2147483648ms", "25d", "30", "soon", "-1s"]) {
      const [message, hint] = await usageError(() => of(text).read("x", duration()));
      expect(message).toBe(`--x: invalid duration "${text}"`);
      expect(hint).toBe("use a duration such as 500ms, 30s, 5m, 2h or 7d");
    }
  });

  test("is a size within its bounds, or the error shows how to write one", async () => {
    expect(of("1kb").read("x", size(1024, 2048))).toBe(1024);
    expect(of("2048").read("x", size(1024, 2048))).toBe(2048);
    const wrong = [`--x: invalid size "1k"`, "use a number of bytes, or a size such as 64kb or 1mb"] as const;
    expect(await usageError(() => of("1k").read("x", size(1024, 2048)))).toEqual([...wrong]);
    for (const text of ["1023", "2049", "0"]) {
      const [message] = await usageError(() => of(text).read("x", size(1024, 2048)));
      expect(message).toBe(`--x: ${text} is out of range (1024 to 2048 bytes)`);
    }
  });

  test("is undefined, empty or the default when the flag is not given", () => {
    const none = of(undefined);
    const read = [
      none.text("x"),
      none.read("x", count(0, 1)),
      none.read("x", duration()),
      none.read("x", size(0, 1)),
    ];
    expect(read).toEqual(Array.from(read, () => undefined));
    expect([none.has("x"), none.texts("x"), none.choice("x", ["a", "b"], "b")]).toEqual([false, [], "b"]);
    expect([of(true).has("x"), of(["a"]).texts("x"), of("a").choice("x", ["a", "b"], "b")]).toEqual([
      true,
      ["a"],
      "a",
    ]);
  });

  test.each(["1", "80", "65535"])("%s is a port", (text) => expect(parsePort(text)).toBe(Number(text)));
  test.each(["0", "65536", "-1", "80 ", "8e1", "http", ""])("%j is no port", (text) => {
    expect(parsePort(text)).toBeUndefined();
  });

  test.each([
    ["localhost", "localhost"],
    ["example.org.", "example.org."],
    ["::1", "::1"],
    ["[::1]", "::1"],
    ["fe80::1%eth0", "fe80::1%eth0"],
  ])("%s is a host", (text, host) => expect(parseHost(text)).toBe(host));
  test.each(["", "a b", "-a", "a/b", "[localhost]", "::g", "a:80", "a\n", "a".repeat(254)])(
    "%j is no host",
    (text) => {
      expect(parseHost(text)).toBeUndefined();
    },
  );
});
