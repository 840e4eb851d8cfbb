// A user file with a journal, as the executable uses it: a server and commands beside it, a disk that fails, and a stop.

import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, setDefaultTimeout, test } from "bun:test";
import { until, within } from "../../support/attack.ts";
import { PASSWORD, run, serve, start } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { many } from "../../support/many.ts";
import { lacks, withFault } from "../../support/privileges.ts";

setDefaultTimeout(90_000);

test("a command's change is a line, which ends a conversation, and the server's stop folds it", async () => {
  using folder = tempFolder();
  const { path, journal } = await many(folder.path);
  await using server = await serve([], { data: folder.path });
  await using ann = start(["connect", `ann@${server.address}`], { env: { PARLEY_PASSWORD: PASSWORD } });
  ann.write("hello\n");
  await ann.stdout.see("hello\n");
  const before = readFileSync(path, "utf8");
  expect(
    (await run(["users", "disable", "ann", "--reason", "on holiday"], { data: folder.path })).exitCode,
  ).toBe(0);
  expect(await within("the end of ann", ann.exited)).toBe(5);
  expect(ann.stderr.text).toContain("on holiday");
  expect(readFileSync(path, "utf8")).toBe(before);
  await server.stop();
  expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({
    users: { ann: { disabled: { reason: "on holiday" } } },
  });
  expect(readFileSync(journal, "utf8").split("\n")).toHaveLength(2);
});

test("a journal that others could read is refused", async () => {
  using folder = tempFolder();
  const { journal } = await many(folder.path);
  chmodSync(journal, 0o644);
  const { exitCode, stderr } = await run(["users", "list"], { data: folder.path });
  expect([exitCode, stderr]).toEqual([1, expect.stringContaining(journal)]);
});

test("a link leads to a file with the journal that stands beside that file", async () => {
  using folder = tempFolder();
  using other = tempFolder();
  await many(other.path);
  symlinkSync(join(other.path, "users.json"), join(folder.path, "users.json"));
  expect((await run(["users", "disable", "user-1"], { data: folder.path })).exitCode).toBe(0);
  expect(readFileSync(join(other.path, "users.journal"), "utf8")).toContain("user-1");
  const { stdout } = await run(["users", "list", "--json"], { data: folder.path });
  expect(stdout).toContain('"ann"');
});

test.skipIf(lacks("strace"))("a full disk changes nothing", async () => {
  using folder = tempFolder();
  const data = folder.path;
  const { journal, isDisabled } = await many(data);
  const before = readFileSync(journal, "utf8");
  const prefix = withFault("pwrite64:error=ENOSPC:when=1");
  const { exitCode, stderr } = await run(["users", "disable", "ann"], { data, prefix });
  expect([exitCode, stderr]).toEqual([
    1,
    expect.stringContaining(`cannot write ${journal}: the disk is full`),
  ]);
  expect([readFileSync(journal, "utf8"), isDisabled("ann")]).toEqual([before, false]);
  expect((await run(["users", "disable", "ann"], { data })).exitCode).toBe(0);
  expect(isDisabled("ann")).toBe(true);
});

test.skipIf(lacks("strace"))("a disk that does not confirm a line is said to have not", async () => {
  using folder = tempFolder();
  const data = folder.path;
  const { journal } = await many(data);
  const prefix = withFault("fsync:error=EIO:when=1");
  const { exitCode, stderr } = await run(["users", "disable", "ann"], { data, prefix });
  expect([exitCode, stderr]).toEqual([
    1,
    expect.stringContaining(`${journal} was changed, but the disk did not confirm the change`),
  ]);
  expect((await run(["users", "enable", "ann"], { data })).exitCode).toBe(0);
});

/** Changes the user file as an editor does. */
function edit(
  path: string,
  change: (users: Record<string, Record<string, unknown> | undefined>) => void,
): void {
  const file = JSON.parse(readFileSync(path, "utf8")) as { users: Record<string, Record<string, unknown>> };
  change(file.users);
  writeFileSync(`${path}.edited`, JSON.stringify(file), { mode: 0o600 });
  renameSync(`${path}.edited`, path);
}

/** Disables user-1 in the file, where the journal has another change of that user. */
async function disableByHand(data: string, path: string): Promise<void> {
  expect((await run(["users", "disable", "user-1"], { data })).exitCode).toBe(0);
  expect((await run(["users", "enable", "user-1"], { data })).exitCode).toBe(0);
  edit(path, (users) => Object.assign(users["user-1"]!, { disabled: { since: "2026-01-02T03:04:05Z" } }));
}

test("an edit by hand beside a running server wins, is folded at once, and is in the log", async () => {
  using folder = tempFolder();
  const data = folder.path;
  const { path, journal, isDisabled } = await many(data);
  await using server = await serve([], { data });
  await using ann = start(["connect", `ann@${server.address}`], { env: { PARLEY_PASSWORD: PASSWORD } });
  ann.write("hello\n");
  await ann.stdout.see("hello\n");
  await disableByHand(data, path);
  const log = () => readFileSync(join(data, "parley.log"), "utf8");
  await until("folded", 2, () => readFileSync(journal, "utf8").split("\n").length);
  expect(log().match(/^.* warn {2}users-edited kept=1$/gm)).toHaveLength(1);
  expect(isDisabled("user-1")).toBe(true);
  ann.write("still here\n"); // her login is in the journal alone
  await ann.stdout.see("still here\n");
  expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ users: { ann: { disabled: null } } });
  await server.stop();
  expect(isDisabled("user-1")).toBe(true);
});

test("an edit by hand without a server is said by a command and by a start, and holds", async () => {
  using folder = tempFolder();
  const data = folder.path;
  const { path, isDisabled } = await many(data);
  await disableByHand(data, path);
  const words = `${path} was edited by hand while its journal had changes: 1 record kept from the edit`;
  const list = await run(["users", "list"], { data });
  expect([list.exitCode, list.stderr]).toEqual([0, expect.stringContaining(words)]);
  await using server = await serve([], { data });
  await until("in the log", true, () =>
    readFileSync(join(data, "parley.log"), "utf8").includes("users-edited kept=1"),
  );
  await server.stop();
  expect(isDisabled("user-1")).toBe(true);
  expect(await run(["users", "list"], { data })).toMatchObject({ exitCode: 0, stderr: "" });
});

test("a damaged journal is named with its line, is left alone, and costs nothing but changes", async () => {
  using folder = tempFolder();
  const data = folder.path;
  const { journal } = await many(data);
  await using server = await serve([], { data });
  const whole = readFileSync(journal);
  appendFileSync(journal, "{}\n");
  const damaged = readFileSync(journal);
  const words = `${journal} is damaged: line 3: it should have revision 2`;
  await until("noticed", true, () => readFileSync(join(data, "parley.log"), "utf8").includes(words));
  for (const argv of [
    ["users", "list"],
    ["users", "disable", "ann"],
    ["serve", "--check", "--port", "0"],
  ]) {
    const { exitCode, stderr } = await run(argv, { data });
    expect([argv, exitCode, stderr]).toEqual([argv, 1, expect.stringContaining(words)]);
  }
  const env = { PARLEY_PASSWORD: PASSWORD };
  const connect = () => run(["connect", `ann@${server.address}`, "--send", "x"], { env });
  expect(await connect()).toMatchObject({ exitCode: 0, stdout: "x\n" });
  expect(readFileSync(journal)).toEqual(damaged);
  writeFileSync(journal, whole);
  expect((await run(["users", "disable", "ann"], { data })).exitCode).toBe(0);
  await until("taken", 5, async () => (await connect()).exitCode);
  await server.stop();
});

test.skipIf(lacks("strace", "flock"))(
  "a change waits for a process that was stopped while it holds the lock",
  async () => {
    using folder = tempFolder();
    const data = folder.path;
    const { isDisabled } = await many(data);
    const lock = join(data, ".users.json.lock");
    const holder = Bun.spawn(["flock", lock, "sh", "-c", "echo held; exec cat"], {
      stdin: "pipe",
      stdout: "pipe",
    });
    for await (const _ of holder.stdout) break;
    holder.kill("SIGSTOP");
    const trace = join(data, "trace");
    const prefix = ["strace", "-f", "-qqq", "-o", trace, "-e", "trace=flock"];
    const waiting = run(["users", "disable", "ann"], { data, prefix });
    await until(
      "at the lock",
      true,
      () => existsSync(trace) && readFileSync(trace, "utf8").includes("EAGAIN"),
    );
    expect(isDisabled("ann")).toBe(false);
    holder.kill("SIGCONT");
    void holder.stdin.end();
    await holder.exited;
    expect((await waiting).exitCode).toBe(0);
    expect(isDisabled("ann")).toBe(true);
  },
);

const MOUNT = ["unshare", "--mount"];

test.skipIf(lacks("unshare") || Bun.spawnSync([...MOUNT, "true"]).exitCode !== 0)(
  "no journal is made beside a file that is mounted alone, since it would not be where the file is",
  async () => {
    using folder = tempFolder();
    const [outside, data] = [join(folder.path, "outside"), join(folder.path, "data")];
    for (const made of [outside, data]) mkdirSync(made, { mode: 0o700 });
    const { path, journal } = await many(outside);
    await using server = await serve([], { data: outside });
    await server.stop(); // folded
    rmSync(journal);
    writeFileSync(join(data, "users.json"), "", { mode: 0o600 });
    const script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"';
    const prefix = [...MOUNT, "sh", "-c", script, "sh", path, join(data, "users.json")];
    const { exitCode, stderr } = await run(["users", "disable", "ann"], { data, prefix });
    expect([exitCode, stderr]).toEqual([
      1,
      expect.stringContaining("users.json: it is mounted as a single file"),
    ]);
    expect(stderr).toContain("mount its folder instead");
    expect(Array.from(new Bun.Glob("*").scanSync(data))).toEqual(["users.json"]);
    // A journal that is mounted alone takes lines; it cannot be replaced by a fold.
    writeFileSync(join(data, "users.json"), readFileSync(path), { mode: 0o600 });
    expect((await run(["users", "disable", "user-1"], { data })).exitCode).toBe(0);
    const own = join(data, "users.journal");
    const alone = [...MOUNT, "sh", "-c", script, "sh", own, own];
    expect((await run(["users", "disable", "user-2"], { data, prefix: alone })).exitCode).toBe(0);
    const check = await run(["serve", "--check", "--port", "0"], { data, prefix: alone });
    expect([check.exitCode, check.stderr]).toEqual([
      1,
      expect.stringContaining("users.journal: it is mounted as a single file"),
    ]);
  },
);
