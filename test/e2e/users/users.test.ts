// parley users: every command, as text and as JSON, with its exit codes; a server need not run.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { until } from "../../support/attack.ts";
import { addUser, PASSWORD, run, serve, type Options, type Result } from "../../support/executable.ts";
import { BCRYPT, BCRYPT_FLAW, FOREIGN } from "../../support/hashes.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";

setDefaultTimeout(90_000);

let folder: TempFolder;
let data: string;
beforeEach(() => {
  folder = tempFolder();
  data = join(folder.path, "data");
  mkdirSync(data);
});
afterEach(() => folder[Symbol.dispose]());

const users = (argv: string[], options: Options = {}) => run(["users", ...argv], { data, ...options });
const store = () => readFileSync(join(data, "users.json"), "utf8");
const objects = ({ stdout }: Result) =>
  stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** Gives a user a hash as an editor would. */
function writeHash(name: string, password: string): void {
  const file = JSON.parse(store()) as { users: Record<string, object> };
  file.users[name] = { password, created: "2026-01-02T03:04:05Z", disabled: null };
  writeFileSync(join(data, "users.json"), JSON.stringify(file));
}

async function expectFailure(
  argv: string[],
  code: number,
  words: string,
  options: Options = {},
): Promise<void> {
  const { exitCode, stdout, stderr } = await users(argv, options);
  expect([exitCode, stdout]).toEqual([code, ""]);
  expect(stderr).toStartWith("parley: error: ");
  expect(stderr).toContain(words);
  expect(stderr.trimEnd().split("\n").length).toBeLessThanOrEqual(2);
}

describe("add", () => {
  test("makes a user with a password from stdin, whose hash alone is kept", async () => {
    const result = await users(["add", "ann", "--password-stdin"], { stdin: `${PASSWORD}\n` });
    expect(result).toMatchObject({ exitCode: 0, stdout: "user ann added\n", stderr: "" });
    expect(store()).not.toContain(PASSWORD);
    expect(JSON.parse(store())).toMatchObject({ version: 1, users: { ann: { disabled: null } } });
    await using server = await serve([], { data });
    const env = { PARLEY_PASSWORD: PASSWORD };
    expect((await run(["connect", `ann@${server.address}`, "--send", "x"], { env })).exitCode).toBe(0);
    await server.stop();
  });

  test("--generate prints a password that works, and nothing else on stdout", async () => {
    const { stdout, exitCode } = await users(["add", "ann", "--generate"]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^[\w-]{20}\n$/);
    await using server = await serve([], { data });
    const env = { PARLEY_PASSWORD: stdout.trim() };
    expect((await run(["connect", `ann@${server.address}`, "--send", "x"], { env })).exitCode).toBe(0);
    await server.stop();
    const made = objects(await users(["add", "bob", "--generate", "--json"]));
    expect(made).toEqual([{ event: "added", user: "bob", password: expect.stringMatching(/^[\w-]{20}$/) }]);
  });

  test.each([
    ["Анна", "анна"],
    ["ＡＮＮ", "ann"],
  ])("says that %s is stored in another form", async (typed, stored) => {
    const result = await users(["add", typed, "--password-stdin"], { stdin: PASSWORD });
    expect(result).toMatchObject({
      exitCode: 0,
      stdout: `user ${stored} added\n`,
      stderr: `the name is stored as ${stored}\n`,
    });
  });

  test.each<[argv: string[], command: string]>([
    [["add", "ann", "--generate"], "parley users passwd ann"],
    [["passwd", "bob", "--generate"], "parley users add bob"],
    [["enable", "bob"], "parley users list"],
    [["tag", "bob", "teacher"], "parley users list"],
    [["revoke", "NOSUCHID"], "parley users sessions"],
  ])("a hint of %j repeats --data, quoted, where it was given", async (argv, command) => {
    const own = join(data, "it's mine");
    await addUser(own);
    const withFlag = await users([...argv, "--data", own]);
    expect(withFlag.stderr).toEndWith(` ${command} --data '${own.replace("'", "'\\''")}'\n`);
    const withVariable = await users(argv, { data: own });
    expect(withVariable.stderr).toEndWith(` ${command}\n`);
  });

  test("refuses an existing user, and changes nothing", async () => {
    await addUser(data);
    const before = store();
    await expectFailure(["add", "ann", "--generate"], 1, "ann");
    await expectFailure(["add", "ANN", "--generate"], 1, "ann");
    expect(store()).toBe(before);
  });

  test("--if-missing lets an existing one be, without needing a password", async () => {
    await addUser(data);
    const before = store();
    expect((await users(["add", "ann", "--if-missing"])).exitCode).toBe(0);
    expect(objects(await users(["add", "ann", "--if-missing", "--json"]))).toEqual([
      { event: "exists", user: "ann" },
    ]);
    expect(store()).toBe(before);
    expect((await users(["add", "bob", "--if-missing", "--generate"])).exitCode).toBe(0);
    expect(store()).toContain('"bob"');
  });

  test("without a password, a terminal or a name is a usage error", async () => {
    await expectFailure(["add", "ann"], 2, "--password-file");
    await expectFailure(["add"], 2, "NAME");
  });

  test.each(["", "a b", "-x", "ann\n", "a/b", "x".repeat(33), "\u202eann"])(
    "refuses the name %j",
    async (name) => {
      const { exitCode, stderr } = await users(["add", "--generate", "--", name]);
      const other = name.startsWith("-") ? exitCode : (await users(["add", name, "--generate"])).exitCode;
      expect([exitCode, other]).toEqual([2, 2]);
      // oxlint-disable-next-line no-control-regex
      expect(stderr).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
    },
  );

  test.each([
    ["a short one", "short"],
    ["the name itself", "annannann"],
  ])("refuses %s as password", async (_, password) => {
    await expectFailure(["add", "annannann", "--password-stdin"], 1, "password", { stdin: password });
  });
});

describe("passwd", () => {
  test("changes the password", async () => {
    await addUser(data);
    const result = await users(["passwd", "ann", "--password-stdin"], { stdin: "another horse" });
    expect(result.exitCode).toBe(0);
    await using server = await serve([], { data });
    const login = async (password: string) =>
      (await run(["connect", `ann@${server.address}`, "--send", "x"], { env: { PARLEY_PASSWORD: password } }))
        .exitCode;
    expect([await login(PASSWORD), await login("another horse")]).toEqual([3, 0]);
    await server.stop();
  });

  test("of an unknown user is refused, with what to do", async () => {
    await expectFailure(["passwd", "bob", "--generate"], 1, "users add bob");
  });

  test("--json", async () => {
    await addUser(data);
    const result = await users(["passwd", "ann", "--json", "--password-stdin"], { stdin: "another horse" });
    expect(objects(result)).toEqual([{ event: "password-changed", user: "ann" }]);
  });
});

describe.each([
  ["remove", "removed"],
  ["disable", "disabled"],
  ["enable", "enabled"],
])("%s", (command, event) => {
  test("says so as text and as JSON", async () => {
    await addUser(data);
    await addUser(data, "bob");
    expect(await users([command, "ann"])).toMatchObject({
      exitCode: 0,
      stdout: `user ann ${event}\n`,
      stderr: "",
    });
    expect(objects(await users([command, "bob", "--json"]))).toEqual([{ event, user: "bob" }]);
  });

  test("refuses an unknown user, and changes nothing", async () => {
    await addUser(data);
    const before = store();
    await expectFailure([command, "bob"], 1, "bob");
    expect(store()).toBe(before);
  });
});

test("remove --if-exists is content with an unknown user", async () => {
  expect(await users(["remove", "bob", "--if-exists", "--yes"])).toMatchObject({ exitCode: 0 });
  const result = await users(["remove", "bob", "--if-exists", "--json"]);
  expect(objects(result)).toEqual([{ event: "missing", user: "bob" }]);
});

describe("list", () => {
  test("is empty for nobody, and needs no file", async () => {
    expect(await users(["list"])).toMatchObject({ exitCode: 0, stdout: "", stderr: "" });
    expect(await users(["list", "--json"])).toMatchObject({ exitCode: 0, stdout: "" });
  });

  test("has a line for each user, and no hash", async () => {
    await addUser(data);
    await addUser(data, "Боб");
    await users(["disable", "ann", "--reason", "on holiday"]);
    await users(["disable", "ann"]); // keeps the reason
    const { stdout } = await users(["list"]);
    expect(stdout.split("\n")[0]).toMatch(/^USER +CREATED/);
    expect(stdout).toMatch(/^ann .*on holiday$/m);
    expect(stdout).toMatch(/^боб .*-$/m);
    const rows = objects(await users(["list", "--json"]));
    expect(rows).toMatchObject([
      { user: "ann", disabled: "on holiday", sessions: 0, last_login: null },
      { user: "боб", disabled: null },
    ]);
    expect(stdout + JSON.stringify(rows)).not.toContain("argon2");
  });

  test("says whose hash cannot be used, and why, until there is a new password", async () => {
    await addUser(data);
    writeHash("bob", BCRYPT);
    expect(objects(await users(["list", "--json"]))).toMatchObject([
      { user: "ann", hash_flaw: null },
      { user: "bob", hash_flaw: BCRYPT_FLAW },
    ]);
    const { stdout } = await users(["list"]);
    expect(stdout).toContain(` ${BCRYPT_FLAW} `);
    expect(stdout).not.toContain(BCRYPT);
    expect((await users(["passwd", "bob", "--generate"])).exitCode).toBe(0);
    expect(objects(await users(["list", "--json"]))).toMatchObject([
      { hash_flaw: null },
      { hash_flaw: null },
    ]);
  });
});

describe("export and import", () => {
  test("carry users from one folder to another, where they log in", async () => {
    await addUser(data);
    await addUser(data, "bob", "another horse");
    const exported = (await users(["export"])).stdout;
    expect(exported.trimEnd().split("\n")).toHaveLength(2);
    const other = join(folder.path, "other");
    const file = join(folder.path, "users.ndjson");
    writeFileSync(file, exported);
    expect(objects(await users(["import", file, "--json"], { data: other }))).toEqual([
      { event: "imported", count: 2, skipped: 0, replaced: 0 },
    ]);
    expect((await users(["export"], { data: other })).stdout).toBe(exported);
    await using server = await serve([], { data: other });
    const env = { PARLEY_PASSWORD: "another horse" };
    expect((await run(["connect", `bob@${server.address}`, "--send", "x"], { env })).exitCode).toBe(0);
    await server.stop();
  });

  test("import adds all or nobody: a name that is taken, a broken line, a hash that is none", async () => {
    await addUser(data, "bob");
    const bob = (await users(["export"])).stdout.trim();
    const cat = bob.replace('"bob"', '"cat"');
    const before = store();
    const bad = [
      bob,
      "{",
      '{"password":"x"}',
      '{"name":"dan","password":"plain"}',
      '{"name":"a b"}',
      "[]",
      "null",
    ];
    for (const line of bad) {
      await expectFailure(["import", "-"], 1, "nothing was imported", { stdin: `${cat}\n${line}\n` });
      expect(store()).toBe(before);
    }
    await expectFailure(["import", join(folder.path, "none")], 2, "none");
  });

  test("a hash of several lanes from elsewhere lets its user in, and is made anew with one", async () => {
    const { "four lanes": hash } = FOREIGN;
    const stdin = `${JSON.stringify({ name: "ann", password: hash, disabled: false })}\n`;
    expect(await users(["import", "-"], { stdin })).toMatchObject({ exitCode: 0, stderr: "" });
    expect(store()).toContain(hash);
    await using server = await serve([], { data });
    const login = async (password: string) =>
      (await run(["connect", `ann@${server.address}`, "--send", "x"], { env: { PARLEY_PASSWORD: password } }))
        .exitCode;
    expect([await login("another horse"), await login(PASSWORD)]).toEqual([3, 0]);
    await until("lanes", "1", () => /,p=(\d+)/.exec(store())?.[1]);
    expect(await login(PASSWORD)).toBe(0);
    await server.stop();
  });

  test("import takes a mere true or false for whether a user is disabled", async () => {
    const lines = [true, false].map((disabled) =>
      JSON.stringify({ name: `${disabled}`, password: FOREIGN["one lane"], disabled }),
    );
    const before = Date.now();
    expect((await users(["import", "-"], { stdin: lines.join("\n") })).exitCode).toBe(0);
    const file = JSON.parse(store()) as { users: Record<string, { disabled: { since: string } | null }> };
    expect(file.users["false"]?.disabled).toBeNull();
    expect(Date.parse(file.users["true"]?.disabled?.since ?? "")).toBeGreaterThanOrEqual(before);
  });

  const GOOD = { name: "bob", password: FOREIGN["one lane"] };
  test.each([
    [{ ...GOOD, password: BCRYPT }, `cannot use the password hash of user bob: ${BCRYPT_FLAW}`],
    [{ ...GOOD, password: "" }, "cannot use the password hash of user bob: it is empty"],
    [{ ...GOOD, password: undefined }, "user bob: password is missing"],
    [{ ...GOOD, created: "yesterday" }, "user bob: created should be a time such as 2026-01-02T03:04:05Z"],
    [{ ...GOOD, disabled: "on holiday" }, "user bob: disabled should be null or an object"],
    [{ ...GOOD, name: "a b" }, 'invalid user name "a b"'],
    [{ password: GOOD.password }, "missing user name"],
  ])("import says what is wrong, and in which line: %j", async (record, words) => {
    const stdin = `${JSON.stringify({ ...GOOD, name: "ann" })}\n\n${JSON.stringify(record)}\n`;
    const { exitCode, stdout, stderr } = await users(["import", "-"], { stdin });
    expect([exitCode, stdout]).toEqual([1, ""]);
    expect(stderr.split("\n")[0]).toBe(`parley: error: line 3: ${words}: nothing was imported`);
    expect((await users(["list"])).stdout).toBe("");
  });

  test("import repeats no password and no hash that it cannot read", async () => {
    for (const line of ['{"name":"ann","password":"hunter2"}', '{"name":"ann","password":hunter2}']) {
      const { stderr } = await users(["import", "-"], { stdin: line });
      expect(stderr).toContain("nothing was imported");
      expect(stderr).not.toContain("hunter2");
    }
  });

  /** A line for each name, as `export` prints them. */
  const lines = (...names: string[]) =>
    names.map((name) => `${JSON.stringify({ name, password: FOREIGN["four lanes"] })}\n`).join("");

  test("import names all users that exist, and the flags that help", async () => {
    const names = Array.from({ length: 12 }, (_, index) => `u${index}`);
    expect((await users(["import", "-"], { stdin: lines(...names) })).stdout).toBe(
      "imported 12 users, skipped 0, replaced 0\n",
    );
    const before = store();
    const one = await users(["import", "-"], { stdin: lines("new", "u3") });
    const two = await users(["import", "-"], { stdin: lines("u3", "new", "u7") });
    const all = await users(["import", "-"], { stdin: lines(...names) });
    const first = ({ stderr }: Result) => stderr.split("\n", 1)[0];
    expect(first(one)).toContain("user u3 already exists");
    expect(first(two)).toContain("2 users already exist (u3, u7)");
    expect(first(all)).toContain(`12 users already exist (${names.slice(0, 10).join(", ")} and 2 more)`);
    for (const { exitCode, stderr } of [one, two, all]) {
      expect(exitCode).toBe(1);
      expect(stderr).toMatch(/hint: .*--skip-existing.*--replace/);
    }
    expect(store()).toBe(before);
  });

  test("import --skip-existing keeps users that exist, import --replace replaces them", async () => {
    await addUser(data, "ann");
    await addUser(data, "bob");
    const hashes = () =>
      Object.entries((JSON.parse(store()) as { users: Record<string, { password: string }> }).users).map(
        ([name, { password }]) => [name, password === FOREIGN["four lanes"]],
      );
    const skipped = await users(["import", "-", "--skip-existing"], { stdin: lines("ann", "cat", "dan") });
    expect(skipped).toMatchObject({ exitCode: 0, stdout: "imported 2 users, skipped 1, replaced 0\n" });
    expect(hashes()).toEqual([
      ["ann", false],
      ["bob", false],
      ["cat", true],
      ["dan", true],
    ]);
    const flags = ["import", "-", "--replace", "--json"];
    expect(objects(await users(flags, { stdin: lines("ann", "eve") }))).toEqual([
      { event: "imported", count: 1, skipped: 0, replaced: 1 },
    ]);
    expect(Object.fromEntries(hashes())).toEqual({ ann: true, bob: false, cat: true, dan: true, eve: true });
    const before = store();
    for (const flag of ["--skip-existing", "--replace"]) {
      await expectFailure(["import", "-", flag], 1, "nothing was imported", { stdin: `${lines("ann")}{\n` });
    }
    await expectFailure(["import", "-", "--skip-existing", "--replace"], 2, "cannot be used together");
    expect(store()).toBe(before);
  });

  test("import refuses the same name twice in one file", async () => {
    await addUser(data, "bob");
    const bob = (await users(["export"])).stdout.trim();
    const stdin = `${bob.replace('"bob"', '"cat"')}\n${bob.replace('"bob"', '"CAT"')}\n`;
    await expectFailure(["import", "-"], 1, "nothing was imported", { stdin });
  });
});

test("hosts lists known addresses and forgets them", async () => {
  await using server = await serve(["--auth", "ip"], { data });
  await run(["connect", `Ann@${server.address}`, "--send", "x"]);
  expect((await users(["hosts"])).stdout).toMatch(/^ADDRESS +NAME.*\n127\.0\.0\.1 +Ann /);
  expect(objects(await users(["hosts", "--json"]))).toMatchObject([{ address: "127.0.0.1", name: "Ann" }]);
  await expectFailure(["hosts", "forget", "192.0.2.1"], 1, "192.0.2.1");
  expect((await users(["hosts", "forget", "127.0.0.1"])).exitCode).toBe(0);
  expect((await users(["hosts"])).stdout).toBe("");
  await server.stop();
});

test("hosts name gives an address its name for good; the client is greeted by it", async () => {
  await using server = await serve(["--auth", "ip"], { data });
  const { exitCode, stdout } = await users(["hosts", "name", "::ffff:127.0.0.1", "Ann"]);
  expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "127.0.0.1 is now called Ann\n" });
  await run(["connect", server.address, "--send", "x"]);
  await users(["hosts", "name", "127.0.0.1", "Anna"]);
  expect(objects(await users(["hosts", "--json"]))).toMatchObject([
    { address: "127.0.0.1", name: "Anna", named_by: "operator" },
  ]);
  await expectFailure(["hosts", "name", "192.0.2.1", "ANNA"], 1, "another address already has the name");
  await expectFailure(["hosts", "name", "localhost", "Bob"], 2, "invalid address");
  await expectFailure(["hosts", "name", "192.0.2.1", "a b"], 2, "invalid name");
  await server.stop();
});

test("an unknown command is a usage error that says what was meant", async () => {
  await expectFailure(["lst"], 2, "list");
  await expectFailure(["constructor"], 2, "constructor");
});
