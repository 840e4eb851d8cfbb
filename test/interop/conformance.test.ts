// Every client against the cases of clients/conformance; and the cases against clients that do one thing wrong.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { PARTS, readCases } from "../../clients/conformance/case.ts";
import { runAll, type Outcome } from "../../clients/conformance/run.ts";
import { ROOT } from "../docs/markdown.ts";
import { EXECUTABLE } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { findNode, stripTypes } from "../support/node.ts";
import { findPythons } from "../support/pythons.ts";

setDefaultTimeout(180_000);

const CASES = join(ROOT, "clients/conformance");
const TYPESCRIPT = ["lines.ts", "../typescript/parley.ts", "../typescript/conformance.ts"].map((name) =>
  join("clients/conformance", name),
);
const PYTHON = join(ROOT, "clients/python/conformance.py");

async function outcomesOf(argv: string[], only?: string): Promise<Outcome[]> {
  return Array.fromAsync(runAll(argv, only));
}

/** Runs every case with a client that has all parts. */
async function expectAllToPass(argv: string[]): Promise<void> {
  const outcomes = await outcomesOf(argv);
  expect(outcomes.filter(({ flaw, lacks }) => flaw !== undefined || lacks !== undefined)).toEqual([]);
  expect(outcomes.length).toBe(2 * [...readCases(CASES).values()].flat().length);
}

describe("every case is passed by", () => {
  test("parley connect", () => expectAllToPass([process.execPath, join(CASES, "connect.ts"), EXECUTABLE]));

  const typescript = join(ROOT, "clients/typescript/conformance.ts");
  test("parley.ts with Bun", () => expectAllToPass([process.execPath, typescript]));

  const node = findNode();
  test.skipIf(node === undefined)("parley.ts with Node", async () => {
    using folder = tempFolder();
    stripTypes(folder.path, TYPESCRIPT);
    await expectAllToPass([node ?? "", join(folder.path, "clients/typescript/conformance.mjs")]);
  });

  test("parley.ts, bound to the certificate", async () => {
    const outcomes = await outcomesOf([process.execPath, typescript, "tls-server-end-point"], "tls: ");
    expect(outcomes.filter(({ flaw }) => flaw !== undefined)).toEqual([]);
    expect(outcomes.length).toBeGreaterThan(10);
  });

  const minor = ({ version }: { version: string }) => Number(version.split(".")[1]);
  const pythons = existsSync(PYTHON) ? findPythons().toSorted((a, b) => minor(a) - minor(b)) : [];
  const ends = pythons.filter((_, index) => index === 0 || index === pythons.length - 1);
  test.each(ends)("parley.py with Python $version", ({ path }) => expectAllToPass([path, PYTHON]));

  // The modules that differ most from one Python to the next.
  test.each(pythons.filter((python) => !ends.includes(python)))(
    "parley.py with Python $version, over TLS, and with a thousand messages at once",
    async ({ path }) => {
      const outcomes = await outcomesOf([path, PYTHON], "tls: ");
      const many = await outcomesOf([path, PYTHON], "many messages in one segment");
      expect([...outcomes, ...many].filter(({ flaw }) => flaw !== undefined)).toEqual([]);
      expect(outcomes.length).toBeGreaterThan(10);
      expect(many).toHaveLength(2);
    },
  );
});

describe("a client fails that", () => {
  const source = readFileSync(join(ROOT, "clients/typescript/parley.ts"), "utf8");
  const faults: [name: string, right: string, wrong: string, only: string][] = [
    ["takes a wrong length for a header", "isEscape ? 12 : 4", "isEscape ? 11 : 4", "the escape of CPython"],
    ["acknowledges too much", "received: this.#processed }", "received: 9 }", "one message is acknowledged"],
    ["sends more than a window", "WINDOW_MESSAGES = 1024", "WINDOW_MESSAGES = 2048", "a window of messages"],
    ["sends again what has arrived", "this.#unacked.slice(again)", "this.#unacked", "resume: after a loss"],
    ["proves a token as a session", '"parley/1 token"', '"parley/1 resume"', "the proof of a token"],
    ["takes any bye for a good end", 'code !== "done"', 'code === ""', "bye: revoked"],
    ["takes unconfirmed messages for processed", "count > 0\n", "count > 9\n", "that was not processed"],
    [
      "takes a FIN for the end of the answers",
      "if (this.#control) throw",
      "if (false) throw",
      "bye, after end",
    ],
    ["believes a server without the key", "if (!isRight)", "if (false)", "key: a wrong response"],
  ];
  test.each(faults)("%s", async (_, right, wrong, only) => {
    using folder = tempFolder();
    for (const name of TYPESCRIPT) {
      const path = join(folder.path, name);
      mkdirSync(join(path, ".."), { recursive: true });
      const text = readFileSync(join(ROOT, name), "utf8");
      expect(source).toContain(right);
      writeFileSync(path, text === source ? text.replace(right, wrong) : text);
    }
    const argv = [process.execPath, join(folder.path, "clients/typescript/conformance.ts")];
    const [outcomes, asItIs] = await Promise.all([
      outcomesOf(argv, only),
      outcomesOf([process.execPath, join(ROOT, "clients/typescript/conformance.ts")], only),
    ]);
    expect(asItIs.map(({ flaw }) => flaw)).toEqual(asItIs.map(() => undefined));
    expect(outcomes.some(({ flaw }) => flaw !== undefined)).toBe(true);
  });
});

test("the runner takes its flags in any order, and traces each end once", () => {
  const only = ["--only", "control: an end without bye, after end"];
  const traces = [
    ["--trace", ...only],
    [...only, "--trace"],
  ].map((flags) => {
    const argv = [
      join(CASES, "run.ts"),
      ...flags,
      "--",
      process.execPath,
      join(ROOT, "clients/typescript/conformance.ts"),
    ];
    const { stdout, exitCode } = Bun.spawnSync([process.execPath, ...argv]);
    expect(exitCode).toBe(0);
    return stdout.toString();
  });
  for (const text of traces) {
    expect(text).toEndWith("2 passed, 0 failed, 0 skipped\n");
    expect(text.match(/^ {2}server {3}ends its side$/gm)).toHaveLength(2);
    expect(text.match(/^ {2}client {3}ends its side$/gm)).toHaveLength(2);
  }
});

test("every part has a case, and every case a name and a rule of its own", () => {
  const cases = [...readCases(CASES)].flatMap(([file, all]) => all.map((one) => ({ file, ...one })));
  const used = new Set(cases.flatMap(({ parts }) => parts));
  expect(PARTS.filter((part) => !used.has(part))).toEqual([]);
  const names = cases.map(({ file, name }) => `${file}: ${name}`);
  expect(new Set(names).size).toBe(names.length);
  expect(cases.filter(({ rule }) => !/^[A-Z`].*\.$/.test(rule)).map(({ rule }) => rule)).toEqual([]);
});
