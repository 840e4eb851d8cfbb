// Failures of the system, as they come in containers, on network disks and under load: what passes is not remembered, what
// stays is named for what it is, and what was done is not told as failed.

import {
  chmodSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  existsSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { until, within } from "../support/attack.ts";
import {
  addUser,
  cleanEnv,
  EXECUTABLE,
  PASSWORD,
  run,
  serve,
  start,
  type Running,
  type Serving,
} from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { lacks, withFault } from "../support/privileges.ts";
import { childrenOf } from "../support/program.ts";

setDefaultTimeout(90_000);

const env = { PARLEY_PASSWORD: PASSWORD };

async function converse(server: Serving, user: string): Promise<Running> {
  const client = start(["connect", `${user}@${server.address}`], { env });
  client.write("hello\n");
  await client.stdout.see("hello\n");
  return client;
}

const users = (data: string, ...argv: string[]) => run(["users", ...argv], { data });

describe("a revocation is noticed", () => {
  test("that was made while the folder was not to be trusted for a moment", async () => {
    using folder = tempFolder();
    const data = join(folder.path, "data");
    await addUser(data);
    await using server = await serve([], { data });
    await using ann = await converse(server, "ann");
    const path = join(data, "users.json");
    chmodSync(data, 0o777);
    const without = JSON.parse(readFileSync(path, "utf8")) as { users: { ann: object } };
    Object.assign(without.users.ann, { disabled: { since: new Date().toISOString(), reason: "on holiday" } });
    writeFileSync(`${path}.new`, JSON.stringify(without), { mode: 0o600 });
    renameSync(`${path}.new`, path);
    const log = () => readFileSync(join(data, "parley.log"), "utf8");
    await until("told of the folder", true, () => log().includes("users-failed"));
    chmodSync(data, 0o700);
    expect(await within("the end of ann", ann.exited)).toBe(5);
    expect(ann.stderr.text).toContain("on holiday");
    await server.stop();
  });

  test.skipIf(lacks("prlimit"))("that was made while the server had no descriptor left", async () => {
    using folder = tempFolder();
    const data = folder.path;
    await addUser(data);
    await using server = await serve([], { data });
    await using ann = await converse(server, "ann");
    const limit = (count: string) => Bun.spawnSync(["prlimit", `--pid=${server.pid}`, `--nofile=${count}`]);
    expect(limit("3:20000").exitCode).toBe(0);
    expect((await users(data, "disable", "ann", "--reason", "on holiday")).exitCode).toBe(0);
    const log = () => readFileSync(join(data, "parley.log"), "utf8");
    await until("told of the descriptors", true, () => log().includes("too many open files"));
    expect(limit("1024:20000").exitCode).toBe(0);
    expect(await within("the end of ann", ann.exited)).toBe(5);
    expect(ann.stderr.text).toContain("on holiday");
    await server.stop();
  });

  test("that SIGHUP asks for, although the file was damaged before and its stamp is the same", async () => {
    using folder = tempFolder();
    const data = folder.path;
    await addUser(data);
    await addUser(data, "bob");
    const path = join(data, "users.json");
    await using server = await serve([], { data });
    await using ann = await converse(server, "ann");
    const text = readFileSync(path, "utf8");
    const log = () => readFileSync(join(data, "parley.log"), "utf8");
    writeFileSync(path, text.slice(0, -9));
    await until("told of the damage", true, () => log().includes("is damaged"));
    const whole = JSON.parse(text) as { users: Record<string, unknown> };
    delete whole.users["ann"];
    writeFileSync(path, JSON.stringify(whole));
    server.signal("SIGHUP");
    expect(await within("the end of ann", ann.exited)).toBe(5);
    await server.stop();
  });

  test("in the file to which a link was turned, by the server and by commands", async () => {
    using folder = tempFolder();
    const data = folder.path;
    await addUser(data);
    await addUser(data, "bob");
    const at = (name: string) => join(data, name);
    mkdirSync(at("other"), { mode: 0o700 });
    renameSync(at("users.json"), at("other/new.json"));
    symlinkSync("other/new.json", at("users.json"));
    await using server = await serve([], { data });
    await using ann = await converse(server, "ann");
    await using bob = await converse(server, "bob");
    writeFileSync(at("newer.json"), readFileSync(at("other/new.json")), { mode: 0o600 });
    expect(Bun.spawnSync(["ln", "-sfn", "newer.json", at("users.json")]).exitCode).toBe(0);
    expect((await users(data, "disable", "ann")).exitCode).toBe(0);
    expect(await within("the end of ann", ann.exited)).toBe(5);
    bob.write("still here\n");
    await bob.stdout.see("still here\n");
    // What the server itself writes goes there, too.
    const client = await run(["connect", `bob@${server.address}`, "--send", "x"], { env });
    expect(client.exitCode).toBe(0);
    await server.stop();
    const tokensIn = (name: string) =>
      Object.values(
        (JSON.parse(readFileSync(at(name), "utf8")) as { tokens: Record<string, { user: string }> }).tokens,
      )
        .map(({ user }) => user)
        .sort();
    expect(tokensIn("newer.json")).toEqual(["ann", "bob", "bob"]);
    expect(tokensIn("other/new.json")).toEqual(["ann", "bob"]);
  });
});

describe.skipIf(lacks("strace"))("a failure is told as what it is:", () => {
  test("a file system without locks, at once, with what to do", async () => {
    using folder = tempFolder();
    const data = folder.path;
    await addUser(data);
    const began = performance.now();
    const prefix = withFault("flock:error=ENOLCK");
    const { exitCode, stderr } = await run(["users", "disable", "ann"], { data, prefix });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("its lock ");
    expect(stderr).toContain("is not available: ENOLCK");
    expect(stderr).toContain("local_lock=flock");
    expect(performance.now() - began).toBeLessThan(9000); // another process's lock is waited for for 10 s
    const check = await run(["serve", "--check", "--port", "0"], { data, prefix });
    expect([check.exitCode, check.stderr]).toEqual([1, expect.stringContaining("ENOLCK")]);
  });

  test("a lock that was interrupted is taken again", async () => {
    using folder = tempFolder();
    const data = folder.path;
    await addUser(data);
    const { exitCode, stderr } = await run(["users", "disable", "ann"], {
      data,
      prefix: withFault("flock:error=EINTR:when=1..5"),
    });
    expect([exitCode, stderr]).toEqual([0, ""]);
  });

  test("a folder that cannot be synced: the change is made, and told so", async () => {
    using folder = tempFolder();
    const data = folder.path;
    await addUser(data);
    const prefix = withFault("fsync:error=EINVAL", data);
    expect(await run(["users", "disable", "ann"], { data, prefix })).toMatchObject({
      exitCode: 0,
      stdout: "user ann disabled\n",
    });
    const failing = withFault("fsync:error=EIO", data);
    const unconfirmed = await run(["users", "enable", "ann"], { data, prefix: failing });
    expect(unconfirmed.exitCode).toBe(1);
    expect(unconfirmed.stderr).toContain("was changed, but the disk did not confirm the change: EIO");
    const unwritten = await run(["users", "disable", "ann"], {
      data,
      prefix: withFault("fsync:error=EIO"),
    });
    expect(unwritten.stderr).toContain("EIO");
    expect((await users(data, "list")).stdout).toMatch(/ann .* -\n/);
    expect(readdirSync(data).sort()).toEqual([".users.json.lock", "users.json"]);
  });

  test("the folder of a new private key is synced, too", async () => {
    using folder = tempFolder();
    const data = folder.path;
    const prefix = withFault("fsync:error=EIO", data);
    const { exitCode, stderr } = await run(["serve", "--auth", "none", "--tls"], { data, prefix });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("tls-key.pem was changed, but the disk did not confirm the change: EIO");
  });

  test("one's own change is known by its own stamp, whatever has taken the file's place since", async () => {
    using folder = tempFolder();
    const data = folder.path;
    await addUser(data);
    await addUser(data, "bob");
    // The server's rename takes a second to return: time for somebody without a lock to put another file there.
    const prefix = withFault("rename:delay_exit=1000000:when=1");
    await using server = await serve([], { data, prefix });
    const path = join(data, "users.json");
    const before = readFileSync(path, "utf8");
    const login = start(["connect", `ann@${server.address}`, "--send", "x"], { env });
    await until("renamed", true, () => readFileSync(path, "utf8") !== before);
    const other = JSON.parse(before) as { users: { bob: object } };
    Object.assign(other.users.bob, { disabled: { since: new Date().toISOString() } });
    writeFileSync(`${path}.other`, JSON.stringify(other), { mode: 0o600 });
    renameSync(`${path}.other`, path);
    await within("ann", login.exited);
    const log = () => readFileSync(join(data, "parley.log"), "utf8");
    await until("noticed", true, () => log().includes("users-changed"));
    const refused = await run(["connect", `bob@${server.address}`, "--send", "x"], { env });
    expect([refused.exitCode, refused.stderr]).toEqual([5, expect.stringContaining("disabled")]);
    await login[Symbol.asyncDispose]();
    process.kill(Number(server.ready["pid"]), "SIGTERM"); // not its tracer
    expect(await server.exited).toBe(0);
  });
});

const MOUNT = ["unshare", "--mount"];

describe.skipIf(lacks("unshare") || Bun.spawnSync([...MOUNT, "true"]).exitCode !== 0)(
  "a user file that is mounted as a single file",
  () => {
    /** In a mount namespace of its own, with `source` mounted at `data`/users.json. */
    const behindMount = (source: string, data: string) => [
      ...MOUNT,
      "sh",
      "-c",
      'mount --bind "$1" "$2" && shift 2 && exec "$@"',
      "sh",
      source,
      join(data, "users.json"),
    ];

    test("is named by --check, by a start and by a change, with the way out", async () => {
      using folder = tempFolder();
      const [outside, data] = [join(folder.path, "outside"), join(folder.path, "data")];
      await addUser(outside);
      mkdirSync(data, { mode: 0o700 });
      writeFileSync(join(data, "users.json"), "", { mode: 0o600 });
      const source = join(outside, "users.json");
      const prefix = behindMount(source, data);
      const words = `cannot write ${join(data, "users.json")}: it is mounted as a single file, from `;
      for (const argv of [
        ["serve", "--check", "--port", "0"],
        ["users", "disable", "ann"],
      ]) {
        const { exitCode, stderr } = await run(argv, { data, prefix });
        expect([argv[0], exitCode]).toEqual([argv[0], 1]);
        expect(stderr).toContain(words);
        expect(stderr).toContain("/outside/users.json on ");
        expect(stderr).toContain("mount its folder instead");
      }
      await using server = await serve([], { data, prefix });
      await server.stderr.see(words);
      await server.stderr.see("mount its folder instead");
      const client = await run(["connect", `ann@${server.address}`, "--send", "x"], { env });
      expect(client).toMatchObject({ exitCode: 0, stdout: "x\n" }); // it serves all the same, without tokens
      await server.stop();
    });
  },
);

test("--check writes what it says is in order, and leaves no trace of that", async () => {
  using folder = tempFolder();
  const data = folder.path;
  await addUser(data);
  const check = (...flags: string[]) => run(["serve", "--check", "--port", "0", ...flags], { data });
  const before = readFileSync(join(data, "users.json"), "utf8");
  const flags = ["--port-file", join(data, "port"), "--key-file", join(data, "key"), "--tls"];
  expect((await check(...flags)).exitCode).toBe(0);
  expect(readdirSync(data).sort()).toEqual([".users.json.lock", "parley.log", "users.json"]);
  expect(readFileSync(join(data, "users.json"), "utf8")).toBe(before);
  for (const [flag, place] of [
    ["--port-file", "none/port"],
    ["--key-file", "none/key"],
  ] as const) {
    const { exitCode, stderr } = await check(flag, join(data, place));
    expect([flag, exitCode, stderr]).toEqual([
      flag,
      1,
      expect.stringContaining(`there is no folder ${data}/none`),
    ]);
  }
  await using server = await serve(["--tls"], { data });
  await server.stop();
  rmSync(join(data, "tls-cert.pem"));
  const identity = await check("--tls");
  expect([identity.exitCode, identity.stderr]).toEqual([
    0,
    expect.stringContaining("would create a new certificate: "),
  ]);
  expect(existsSync(join(data, "tls-cert.pem"))).toBe(false);
  const full = await check("--log", "/dev/full");
  expect([full.exitCode, full.stderr]).toEqual([1, expect.stringContaining("cannot write the log: ENOSPC")]);
});

/** Stops a server that is the child of what it was started by. */
async function stop(server: Serving): Promise<void> {
  for (const child of childrenOf(server.pid)) process.kill(child, "SIGTERM");
  expect(await server.exited).toBe(0);
}

describe("--port-file", () => {
  test("may be what a script has open, and wipes out nothing that is in it", async () => {
    using folder = tempFolder();
    const out = join(folder.path, "out");
    writeFileSync(out, "before\n");
    const server = Bun.spawn(
      [
        "sh",
        "-c",
        'exec "$@" >> out',
        "sh",
        EXECUTABLE,
        "serve",
        "--auth",
        "none",
        "--port",
        "0",
        "--port-file",
        "/dev/stdout",
      ],
      { cwd: folder.path, env: cleanEnv(folder.path), stderr: "ignore" },
    );
    const text = () => readFileSync(out, "utf8");
    await until("ready", true, () => /listening on .*\n$/.test(text()));
    server.kill("SIGTERM");
    expect(await server.exited).toBe(0);
    expect(text()).toMatch(/^before\n(\d+)\nlistening on 127\.0\.0\.1:\1\n$/);
  });

  test("may be a pipe; one without a reader is refused at once", async () => {
    using folder = tempFolder();
    const pipe = join(folder.path, "pipe");
    expect(Bun.spawnSync(["mkfifo", pipe]).exitCode).toBe(0);
    const flags = ["--auth", "none", "--port-file", pipe];
    const refused = await run(["serve", "--port", "0", ...flags], { data: folder.path });
    expect([refused.exitCode, refused.stderr]).toEqual([
      1,
      expect.stringContaining("a pipe without a reader"),
    ]);
    const reader = Bun.spawn(["sh", "-c", 'exec 3<>"$1"; head -n 1 <&3', "sh", pipe], { stdout: "pipe" });
    await until("a reader", true, () => existsSync(`/proc/${reader.pid}/fd/3`));
    await using server = await serve(flags, { data: folder.path });
    expect(await reader.stdout.text()).toBe(`${server.port}\n`);
    await server.stop();
  });

  test("is refused by --check where serve would refuse it", async () => {
    using folder = tempFolder();
    for (const path of [folder.path, "/dev/none/x", join(folder.path, "none", "x")]) {
      for (const flags of [["--check"], []]) {
        const argv = ["serve", "--auth", "none", "--port", "0", "--port-file", path, ...flags];
        const { exitCode, stderr } = await run(argv, { data: folder.path });
        expect([path, exitCode, stderr]).toEqual([path, 1, expect.stringContaining("--port-file: ")]);
      }
    }
  });
});

const PID = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

test.skipIf(lacks("unshare") || Bun.spawnSync([...PID, "true"]).exitCode !== 0)(
  "two servers that are process 1 each, in containers on one volume, are both listed, and one outlives the other",
  async () => {
    using folder = tempFolder();
    const data = folder.path;
    await addUser(data);
    await addUser(data, "bob");
    await using one = await serve([], { data, prefix: PID });
    await using two = await serve([], { data, prefix: PID });
    expect([one.ready["pid"], two.ready["pid"]]).toEqual([1, 1]);
    await using ann = await converse(one, "ann");
    await using bob = await converse(two, "bob");
    const live = async () =>
      (await users(data, "sessions", "--json")).stdout
        .split("\n")
        .flatMap((line) => (line === "" ? [] : [JSON.parse(line) as { user: string; live: number }]))
        .map(({ user, live: count }) => `${user} ${count}`)
        .sort();
    await until("sessions", ["ann 1", "bob 1"], live);
    ann.endInput();
    await ann.exited;
    await stop(one);
    await until("sessions", ["ann 0", "bob 1"], live);
    expect(readdirSync(data).filter((name) => name.startsWith("sessions-"))).toHaveLength(1);
    bob.endInput();
    await bob.exited;
    await stop(two);
  },
);
