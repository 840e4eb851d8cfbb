// The table of a server's options, beside what it has to agree with: the defaults in words, the pages, and the server,
// which has to do something with each.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BINDING_NAMES } from "../../src/base/bindings.ts";
import { MAX_BACKLOG_BYTES, MAX_FRAME_BYTES, MAX_PENDING, MAX_PER_USER } from "../../src/base/limits.ts";
import { completeOptions, optionEntries, SERVER_OPTIONS } from "../../src/server/option-table.ts";

const root = join(import.meta.dir, "../..");
const read = (path: string) => readFileSync(join(root, path), "utf8");

/** The rows of a page's limits that have a flag, by that flag. */
function limitsIn(page: string): Map<string, string[]> {
  const [section = ""] = read(page).split("\n## Limits\n")[1]?.split("\n## ") ?? [];
  const rows = section.split("\n").map((line) =>
    line
      .split("|")
      .map((cell) => cell.trim())
      .slice(1, -1),
  );
  const named = rows.filter(([, , flag = ""]) => flag.startsWith("`--"));
  return new Map(named.map((row) => [row[2] ?? "", row]));
}

describe("each option", () => {
  test("has a flag of its own", () => {
    const flags = optionEntries.map(([, { flag }]) => flag);
    expect([...new Set(flags)]).toEqual(flags);
  });

  test.each([...optionEntries])(
    "names its default in --help as its flag takes it: %s",
    (_, { flag, kind, default: byDefault, help }) => {
      const [, text] = /\(default ([^)]+)\)$/.exec(help) ?? [];
      if (text === undefined) expect(byDefault).toEqual([]);
      else if (text === "off" && kind.choices === undefined) expect(byDefault).toBeUndefined();
      else expect(kind.read(flag, text)).toEqual(byDefault);
    },
  );

  test("is passed on by the server, by its name", () => {
    const server = read("src/server/server.ts");
    const names = optionEntries.map(([name]) => name);
    expect(names.filter((name) => !new RegExp(`options\\.${name}\\b`).test(server))).toEqual([]);
  });

  test("has its row in docs/security.md, and no other flag has one", () => {
    const rows = optionEntries.map(([, { flag, row }]) => [
      row.what,
      row.byDefault,
      `\`--${flag}\``,
      row.asIn ?? "",
    ]);
    const byFlag = (all: Iterable<string[]>) =>
      [...all].toSorted(([, , a = ""], [, , b = ""]) => (a < b ? -1 : 1));
    expect(byFlag(limitsIn("docs/security.md").values())).toEqual(byFlag(rows));
  });
});

test("what is not given, or given as undefined, is the default", () => {
  const { maxFrame, maxPerUser, maxPending, penalties, idleTimeoutMs, maxBacklog } = completeOptions({
    maxFrame: 64,
    maxPerUser: undefined,
    penalties: false,
  });
  expect([maxFrame, penalties]).toEqual([64, false]);
  expect([maxPerUser, maxBacklog, idleTimeoutMs]).toEqual([MAX_PER_USER, MAX_BACKLOG_BYTES, undefined]);
  expect(maxPending).toEqual(MAX_PENDING);
  expect(completeOptions({}).maxFrame).toBe(MAX_FRAME_BYTES);
});

describe("--max-pending", () => {
  const { flag, kind } = SERVER_OPTIONS.maxPending;

  test.each([
    ["1", { start: 1, rate: 30, full: 1 }],
    ["9", { start: 5, rate: 30, full: 9 }],
    ["10:0:100", { start: 10, rate: 0, full: 100 }],
    ["7:100:7", { start: 7, rate: 100, full: 7 }],
  ])("%s is a limit", (text, limit) => expect(kind.read(flag, text)).toEqual(limit));

  test.each(["0", "0:30:9", "9:30:8", "1:101:9", "1:30", "1:30:9:9", "-1", "1000000", "many", ""])(
    "%j is none",
    (text) =>
      expect(() => kind.read(`--${flag}`, text)).toThrow(
        `--max-pending: invalid limit ${JSON.stringify(text)}`,
      ),
  );
});

describe("--bindings", () => {
  const { flag, kind } = SERVER_OPTIONS.bindings;
  const [exporter, endPoint] = BINDING_NAMES;

  test.each([
    [exporter, [exporter]],
    [endPoint, [endPoint]],
    [`${endPoint}, ${exporter}`, [exporter, endPoint]], // hello has the preferred one first
  ])("%s is a list", (text, names) => expect(kind.read(flag, text)).toEqual(names));

  test.each(["", ",", `${exporter},`, `${exporter},${exporter}`, "tls-unique", "TLS-EXPORTER"])(
    "%j is none",
    (text) =>
      expect(() => kind.read(`--${flag}`, text)).toThrow(`--bindings: invalid list ${JSON.stringify(text)}`),
  );
});
