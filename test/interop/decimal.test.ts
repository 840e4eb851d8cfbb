// The Python programs of docs/classroom.md with ten digits before each text, as a student copies them, and parley at the other end:
// under each Python of this machine.

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readPages } from "../docs/markdown.ts";
import { portForLater, run, serve, type Serving } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { findPythons } from "../support/pythons.ts";

setDefaultTimeout(90_000);

const FRAMING = ["--bare", "--framing", "decimal:10"];
const pythons = findPythons();
if (pythons.length === 0) {
  test.skip("there is no Python 3 on this machine: its tests are left out", () => {});
}

/** A program of the page. */
function program(name: string): string {
  const blocks = readPages().flatMap((page) => page.blocks);
  const text = blocks.find((block) => block.text.startsWith(`# ${name}\n`))?.text;
  if (text === undefined) throw new Error(`no page has ${name}`);
  return text;
}

const folder = tempFolder();
let upper: Serving;
beforeAll(async () => {
  upper = await serve(["--service", "upper", ...FRAMING]);
});
afterAll(async () => {
  await upper.stop();
  folder[Symbol.dispose]();
});

describe.each(pythons)("Python $version", ({ version, path: python }) => {
  const write = async (name: string, change: (text: string) => string) => {
    const path = join(folder.path, `${version}-${name}`);
    await Bun.write(path, change(program(name)));
    return path;
  };
  const options = { env: { ...process.env, LC_ALL: "C.UTF-8" }, timeout: 80_000 };

  test("a student's server is talked to by connect, from one text to a thousand", async () => {
    const port = portForLater();
    const path = await write("server10.py", (text) => text.replace("port = 4000", `port = ${port}`));
    const child = Bun.spawn([python, path], {
      ...options,
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    try {
      const connect = ["connect", `127.0.0.1:${port}`, ...FRAMING];
      const one = await run([...connect, "--wait", "20s", "--send", "hello"]);
      expect([one.exitCode, one.stdout, one.stderr]).toEqual([0, "HELLO\n", ""]);
      const lines = ["привет, мир", "", "ß ŉ", "你好", "x".repeat(300_000)];
      const many = [...lines, ...Array.from({ length: 1000 }, (_, at) => `line ${at}`)];
      const all = await run(connect, { stdin: `${many.join("\n")}\n` });
      expect([all.exitCode, all.stderr]).toEqual([0, ""]);
      expect(all.stdout).toBe(`${many.map((line) => line.toUpperCase()).join("\n")}\n`);
    } finally {
      child.kill();
      await child.exited;
    }
  });

  test("a student's client talks to serve", async () => {
    const path = await write("client10.py", (text) => text.replace("13131", `${upper.port}`));
    const texts = ["hello", "", "привет", "ß", "你好", "y".repeat(100_000)];
    const child = Bun.spawn([python, path, ...texts], { ...options, stdout: "pipe", stderr: "pipe" });
    const [stdout, stderr, code] = await Promise.all([
      child.stdout.text(),
      child.stderr.text(),
      child.exited,
    ]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toBe(`${texts.map((text) => text.toUpperCase()).join("\n")}\n`);
  });
});
