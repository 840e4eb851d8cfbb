// The lines of earlier conversations: kept for several clients at once, bounded, and nobody else's to read.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { History, MAX_HISTORY_LINES } from "../../../src/cli/connect/history.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";
import { holdLock } from "../../support/lock.ts";

let folder: TempFolder;
let path: string;
let failures: string[];
beforeEach(() => {
  folder = tempFolder();
  path = join(folder.path, "history");
  failures = [];
});
afterEach(() => folder[Symbol.dispose]());

const open = () => new History(path, (message) => failures.push(message));

test("lines of two conversations at once are all kept, the latest first when read", async () => {
  const [one, other] = [open(), open()];
  const lock = holdLock(path);
  for (const line of ["a", "b"]) one.add(line);
  for (const line of ["c", "d"]) other.add(line);
  lock[Symbol.dispose]();
  await Promise.all([one.written(), other.written()]);
  one.add("e");
  await one.written();
  const lines = open().read();
  expect(lines[0]).toBe("e");
  expect(lines.sort()).toEqual(["a", "b", "c", "d", "e"]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(failures).toEqual([]);
});

test("only the last ones are kept", async () => {
  const history = open();
  for (let n = 1; n <= MAX_HISTORY_LINES + 7; n++) history.add(`line ${n}`);
  await history.written();
  const lines = open().read();
  expect([lines.length, lines[0], lines.at(-1)]).toEqual([
    MAX_HISTORY_LINES,
    `line ${MAX_HISTORY_LINES + 7}`,
    "line 8",
  ]);
});

test("one that others could read is neither read nor written, and that is said", async () => {
  writeFileSync(path, "secret\n");
  chmodSync(path, 0o644);
  const history = open();
  expect(history.read()).toEqual([]);
  history.add("more");
  await history.written();
  expect(readFileSync(path, "utf8")).toBe("secret\n");
  expect(failures).toEqual([
    expect.stringContaining("history not loaded: "),
    expect.stringContaining("history not saved: "),
  ]);
});
