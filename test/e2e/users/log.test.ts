// parley users log: who tried to get in, out of logs that the executable has written.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { MAX_LOG_REFUSALS } from "../../../src/base/limits.ts";
import { addUser, run, serve } from "../../support/executable.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";
import { Peer } from "../../support/peer.ts";

setDefaultTimeout(90_000);

let data: string;
let log: string;
let folder: TempFolder;
beforeEach(() => {
  folder = tempFolder();
  data = folder.path;
  log = join(data, "parley.log");
});
afterEach(() => folder[Symbol.dispose]());

const users = (...argv: string[]) => run(["users", "log", ...argv], { data });
const objects = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

async function guess(port: number, from: string, user: string, times: number): Promise<void> {
  for (let left = times; left > 0;) {
    using peer = await Peer.connect(port, from);
    await peer.message();
    for (; left > 0; left--) {
      peer.json({ type: "login", method: "password", user, password: "a wrong guess" });
      if ((await peer.message())["type"] === "error") break;
    }
  }
}

/** Serves for as long as `work` takes, and writes the log anew. */
async function serving(flags: string[], work: (port: number) => Promise<void>): Promise<void> {
  rmSync(log, { force: true });
  await using server = await serve(["--penalties", "off", "--max-attempts", "100", ...flags], { data });
  await work(server.port);
  await server.stop();
}

test("text, JSON, rotated and packed: each refusal counts, with those that were summed up", async () => {
  await addUser(data);
  const TIMES = 2 * MAX_LOG_REFUSALS + 5;
  await serving([], (port) => guess(port, "127.0.0.2", "ann", TIMES));
  const text = readFileSync(log, "utf8");
  expect(text.match(/ login-refused conn=/g)).toHaveLength(MAX_LOG_REFUSALS);
  writeFileSync(`${log}.2.gz`, gzipSync(text));
  await serving(["--log-format", "json"], (port) => guess(port, "127.0.0.2", "ANN", 1));
  renameSync(log, `${log}.1`);
  await serving([], (port) => guess(port, "127.0.0.3", "no\u202ebody\n", 2));
  const all = await users("--json");
  expect({ exitCode: all.exitCode, stderr: all.stderr }).toEqual({ exitCode: 0, stderr: "" });
  expect(objects(all.stdout)).toMatchObject([
    { address: "127.0.0.2", count: TIMES + 1, logins: TIMES + 1, keys: 0, penalised: 0, names: ["ann"] },
    { address: "127.0.0.3", count: 2, names: [] },
  ]);
  for (const row of objects(all.stdout)) expect(String(row["first"]) <= String(row["last"])).toBe(true);
  const table = await users();
  expect(table.stdout).toMatch(
    /^ADDRESS +COUNT +LOGINS +KEYS +PENALISED +FIRST +LAST +NAMES\n127\.0\.0\.2 +26 +26 +0 +0 +\S+Z +\S+Z +ann\n127\.0\.0\.3 +2 .* -\n$/,
  );
});

test("a server in between two rotations has no file yet: those beside it are read all the same", async () => {
  await addUser(data);
  await serving([], (port) => guess(port, "127.0.0.2", "ann", 1));
  renameSync(log, `${log}-20261126`);
  expect(objects((await users("--json")).stdout)).toMatchObject([{ address: "127.0.0.2", count: 1 }]);
});

test("lines that are cut, or none of its own, are counted and said; names are escaped", async () => {
  const at = "2026-11-26T10:00:00.000Z";
  const line = (fields: object) =>
    JSON.stringify({ time: at, level: "warn", event: "login-refused", ...fields });
  const good = line({ peer: "192.0.2.1:5", code: "bad_credentials", user: "a\u001b[2J\nforged" });
  const cut = line({ peer: "192.0.2.1:5" }).slice(0, -4);
  writeFileSync(log, `\u0000\nrubbish ${"x".repeat(3_000_000)}\n${good}\n${cut}`);
  const { exitCode, stdout, stderr } = await users();
  expect({ exitCode, stderr }).toEqual({
    exitCode: 0,
    stderr: "skipped 3 lines not written by parley\n",
  });
  expect(stdout).toMatch(/^ADDRESS.*\n192\.0\.2\.1 .*  a\^\[\[2J\\nforged\n$/);
  expect((await users("--json")).stdout).not.toContain("\u001b");
});

test("a packed file that is damaged, or packed otherwise, is said; the rest is counted", async () => {
  const line = '2026-11-26T10:00:00.000Z warn  key-refused conn=1 peer=192.0.2.1:5 reason="x"\n';
  writeFileSync(log, line);
  writeFileSync(`${log}.1.gz`, gzipSync(line.repeat(100_000)).subarray(0, -100));
  writeFileSync(`${log}.2.xz`, "");
  const { exitCode, stdout, stderr } = await users("--json");
  expect(exitCode).toBe(1);
  expect(objects(stdout)).toMatchObject([{ address: "192.0.2.1" }, { event: "error" }]);
  expect(stderr).toContain(`skipped ${log}.2.xz: only gzip is supported\n`);
  expect(stderr).toContain(`parley: error: cannot read ${log}.1.gz to its end: `);
});

test.each([
  ["no log", () => undefined, "there is no log LOG"],
  ["a folder", () => mkdirSync(log), "cannot read LOG: it is a folder"],
  ["no log of parley", () => writeFileSync(log, "a\nb\n"), "LOG is not a parley log"],
])("%s: a sentence and a hint", async (_, make, message) => {
  make();
  expect(await users()).toMatchObject({
    exitCode: 1,
    stdout: "",
    stderr: expect.stringMatching(
      new RegExp(`^parley: error: ${message.replace("LOG", log)}\nparley: hint: .*--log FILE.*\n$`),
    ),
  });
});

test("--log names another file; one that is not there is a usage error", async () => {
  const elsewhere = join(data, "elsewhere.log");
  expect(await users("--log", elsewhere)).toMatchObject({
    exitCode: 2,
    stderr: `parley: error: --log: there is no log ${elsewhere}\n`,
  });
  writeFileSync(elsewhere, "");
  expect(await users("--log", elsewhere)).toMatchObject({ exitCode: 0, stdout: "", stderr: "" });
});
