// The log: one event a line whatever its fields hold, nothing swallowed, nothing lost.

import { describe, expect, spyOn, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
} from "node:fs";
import { systemCode } from "../../src/base/errors.ts";
import { openLog, type LogFile, type LogFileOptions } from "../../src/log/log.ts";
import { tempFolder } from "../support/folder.ts";

function withLog(options: Partial<LogFileOptions>, write: (log: LogFile, path: string) => void): string[] {
  using folder = tempFolder();
  const path = `${folder.path}/parley.log`;
  const log = openLog({ path, level: "info", format: "text", ...options });
  write(log, path);
  log.close();
  return readFileSync(path, "utf8").split("\n").slice(0, -1);
}

const HOSTILE = 'ann\n2026-01-01T00:00:00.000Z error forged\r\u001b]52;c;\u0007\u009b2J\u202e\u2028"=';

describe("text", () => {
  test("time, level, event, fields in order; undefined ones left out", () => {
    const [line] = withLog({}, (log) =>
      log.info("logged-in", { conn: 7, peer: "127.0.0.1:50122", user: "ann", token: undefined, known: true }),
    );
    expect(line).toMatch(
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info  logged-in conn=7 peer=127\.0\.0\.1:50122 user=ann known=true$/,
    );
  });

  test.each([
    ["a b", '"a b"'],
    ["a\nb", '"a\\nb"'],
    ['1 | a("\t");\n    ^', '"1 | a(\\"\\t\\");\\n    ^"'],
    ["C:\\new", "C:\\new"],
    ["C:\\new folder", '"C:\\\\new folder"'],
    ["", '""'],
  ])("%j is written as %s: escaped once", (reason, written) => {
    const [line] = withLog({}, (log) => log.error("handler-failed", { reason }));
    expect(line).toEndWith(` handler-failed reason=${written}`);
  });

  test("a value can forge neither a line nor a field, nor act on a terminal", () => {
    const lines = withLog({}, (log) => log.warn("refused", { user: HOSTILE, reason: "a b=c" }));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^[\x20-\x7e]+$/);
    expect(lines[0]).toContain('reason="a b=c"');
  });
});

test("json: one object a line, with the same fields, hostile ones escaped", () => {
  const lines = withLog({ format: "json" }, (log) => log.info("greeted", { user: HOSTILE, conn: 1 }));
  expect(lines).toHaveLength(1);
  const { time, ...event } = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
  expect(Date.parse(String(time))).toBeGreaterThan(0);
  expect(event).toMatchObject({ level: "info", event: "greeted", conn: 1 });
  expect(String(event["user"])).toMatch(/^[\x20-\x7e]+$/);
});

test("identical events are all written", () => {
  expect(withLog({}, (log) => Array.from({ length: 40 }, () => log.info("connected")))).toHaveLength(40);
});

test("levels below the one asked for are left out", () => {
  const lines = withLog({ level: "warn" }, (log) => {
    log.debug("users-changed");
    log.info("connected");
    log.warn("refused");
    log.error("service-failed");
  });
  expect(lines.map((line) => line.split(/\s+/)[1])).toEqual(["warn", "error"]);
});

test("environment variables change nothing", () => {
  const names = ["CONSOLA_LEVEL", "DEBUG", "CI", "TEST"];
  const before = names.map((name) => process.env[name]);
  for (const name of names) process.env[name] = "0";
  expect(withLog({}, (log) => log.info("connected"))).toHaveLength(1);
  for (const [index, name] of names.entries()) {
    if (before[index] === undefined) delete process.env[name];
    else process.env[name] = before[index];
  }
});

test("after a rename, reopen goes on in a new file, and no line is lost between the two", () => {
  let moved = "";
  const lines = withLog({}, (log, path) => {
    for (let count = 0; count < 10; count++) log.info("connected", { conn: count });
    renameSync(path, `${path}.1`);
    log.info("connected", { conn: 10 });
    log.reopen();
    log.info("connected", { conn: 11 });
    moved = readFileSync(`${path}.1`, "utf8");
  });
  expect(moved.split("\n")).toHaveLength(12);
  expect(lines).toHaveLength(1);
});

test("a disk that does not confirm the old file keeps nothing out of the new one", () => {
  using folder = tempFolder();
  const path = `${folder.path}/parley.log`;
  const losses: string[] = [];
  const log = openLog({ path, level: "info", format: "text", onLoss: (reason) => losses.push(reason) });
  const closed = spyOn(fs, "closeSync");
  const failing = spyOn(fs, "fsyncSync").mockImplementation(() => {
    throw Object.assign(new Error("input/output error"), { code: "EIO" });
  });
  try {
    log.reopen();
    expect(losses).toEqual(["EIO"]);
    expect(closed).toHaveBeenCalledTimes(1);
  } finally {
    failing.mockRestore();
    closed.mockRestore();
  }
  log.info("stopped");
  log.close();
  expect(readFileSync(path, "utf8")).toEndWith("info  stopped\n");
});

test("a file that could not be opened anew for a moment is opened anew with a later line", async () => {
  using folder = tempFolder();
  const logs = `${folder.path}/logs`;
  mkdirSync(logs);
  const path = `${logs}/parley.log`;
  const log = openLog({ path, level: "info", format: "text" });
  const say = async (conn: number) => {
    log.info("connected", { conn });
    await new Promise((resolve) => setImmediate(resolve)); // the lines of a turn are written after it
  };
  await say(1);
  renameSync(logs, `${logs}.1`); // as when what it is on is mounted anew
  expect(() => log.reopen()).toThrow("cannot write the log");
  await say(2);
  mkdirSync(logs);
  const later = performance.now() + 1001;
  const clock = spyOn(performance, "now").mockReturnValue(later);
  try {
    await say(3);
  } finally {
    clock.mockRestore();
  }
  log.close();
  const connectionsIn = (file: string) =>
    [...readFileSync(file, "utf8").matchAll(/conn=(\d)/g)].map(([, conn]) => conn);
  expect([connectionsIn(`${logs}.1/parley.log`), connectionsIn(path)]).toEqual([["1", "2"], ["3"]]);
});

test("the file is its owner's alone", () => {
  withLog({}, (_, path) => expect(statSync(path).mode & 0o777).toBe(0o600));
});

test("a log that cannot be written says so once and stops nothing", () => {
  const losses: string[] = [];
  const log = openLog({
    path: "/dev/full",
    level: "info",
    format: "text",
    onLoss: (reason) => losses.push(reason),
  });
  log.info("connected");
  log.reopen();
  log.info("connected");
  log.close();
  expect(losses).toEqual(["ENOSPC"]);
});

test("a log that cannot be opened says where, and what to do", () => {
  expect(() => openLog({ path: "/nowhere/parley.log", level: "info", format: "text" })).toThrow(
    "cannot write the log /nowhere/parley.log: ENOENT",
  );
});

describe("a pipe", () => {
  /** Bytes; a pipe holds 64 KiB (pipe(7)), and the log what is as much again sixteen times. */
  const MORE_THAN_A_PIPE = 128 * 1024;
  const MORE_THAN_IS_KEPT = 2 * 1024 * 1024;
  const open = (path: string, losses: string[] = []) =>
    openLog({ path, level: "info", format: "text", onLoss: (reason) => losses.push(reason) });
  const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

  /** A log that is one, what it says of losses, and what can be read of it now. */
  function pipe(folder: string) {
    const path = `${folder}/pipe`;
    execFileSync("mkfifo", [path]);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const losses: string[] = [];
    const bytes = Buffer.alloc(MORE_THAN_A_PIPE);
    const read = () => {
      try {
        return bytes.toString("utf8", 0, readSync(reader, bytes));
      } catch (error) {
        if (systemCode(error) === "EAGAIN") return ""; // nothing for now
        throw error;
      }
    };
    return { log: open(path, losses), losses, read, reader };
  }

  /** Reads until there is `text`, and all until then. */
  async function readUntil(text: string, read: () => string): Promise<string> {
    let all = read();
    while (!all.includes(text)) {
      await nextTurn();
      all += read();
    }
    return all;
  }

  test("without a reader is refused, not waited for, also where it takes the place of a log", () => {
    using folder = tempFolder();
    const path = `${folder.path}/parley.log`;
    const log = open(path);
    renameSync(path, `${path}.1`);
    execFileSync("mkfifo", [path]);
    const reason = `cannot write the log ${path}: it is a socket, or a pipe without a reader`;
    expect(() => open(path)).toThrow(reason);
    expect(() => log.reopen()).toThrow(reason);
    log.info("connected");
    log.close();
    expect(readFileSync(`${path}.1`, "utf8")).toContain("connected");
  });

  test("whose reader is behind for a while costs nothing, and nobody's time", async () => {
    using folder = tempFolder();
    const { log, losses, read } = pipe(folder.path);
    log.info("connected", { reason: "x".repeat(MORE_THAN_A_PIPE) });
    await nextTurn();
    log.info("connected", { reason: "two" });
    const text = await readUntil("reason=two\n", read);
    expect(text).toMatch(/^\S+ info  connected reason=x{131072}\n\S+ info  connected reason=two\n$/);
    log.close();
    expect(losses).toEqual([]);
  });

  test("whose reader is far behind costs lines, which are counted", async () => {
    using folder = tempFolder();
    const { log, losses, read } = pipe(folder.path);
    log.info("connected", { reason: "x".repeat(MORE_THAN_IS_KEPT) });
    await nextTurn();
    for (const reason of ["two", "three"]) {
      log.info("connected", { reason });
      await nextTurn();
    }
    expect(losses).toEqual(["EAGAIN"]);
    const first = await readUntil("x\n", read);
    expect(first).toHaveLength(MORE_THAN_IS_KEPT + first.indexOf("x") + 1);
    log.info("connected", { reason: "four" });
    const next = await readUntil("four\n", read);
    expect(next).toMatch(/^\S+ warn  log-lost lines=2\n\S+ info  connected reason=four\n$/);
    log.close();
    expect(losses).toEqual(["EAGAIN"]);
  });

  test("whose reader is gone is told of once", async () => {
    using folder = tempFolder();
    const { log, losses, reader } = pipe(folder.path);
    closeSync(reader);
    for (let i = 0; i < 3; i++) {
      log.info("connected");
      await nextTurn();
    }
    log.close();
    expect(losses).toEqual(["EPIPE"]);
  });
});
