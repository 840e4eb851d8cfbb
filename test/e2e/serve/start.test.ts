// parley serve as a process: its ready line, the port that it takes, and what it refuses to do.

import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { until } from "../../support/attack.ts";
import { run, serve, start } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { BCRYPT, BCRYPT_FLAW, FOREIGN } from "../../support/hashes.ts";
import { Screen } from "../../support/screen.ts";

setDefaultTimeout(90_000);

/** Occupies a free port at `hostname`; undefined when this machine does not have this address. */
function occupy(hostname: string): (Disposable & { port: number }) | undefined {
  try {
    const listener = Bun.listen({ hostname, port: 0, socket: { data() {} } });
    return { port: listener.port, [Symbol.dispose]: () => listener.stop(true) };
  } catch {
    return undefined;
  }
}

/** A user file as an editor would write it. */
function writeUsers(data: string, hashes: Record<string, string>, addresses: string[] = []): void {
  const at = "2026-01-02T03:04:05Z";
  const users = Object.entries(hashes).map(([name, password]) => [
    name,
    { password, created: at, disabled: null },
  ]);
  const hosts = addresses.map((address) => [address, { name: "Ann", first: at, last: at }]);
  const file = { version: 1, rev: 1, users: Object.fromEntries(users), hosts: Object.fromEntries(hosts) };
  const path = join(data, "users.json");
  writeFileSync(`${path}.new`, JSON.stringify(file), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

describe("when it is ready", () => {
  test("prints one line with address and port, and nothing else on stdout", async () => {
    await using server = start(["serve", "--port", "0", "--auth", "none"]);
    await server.stdout.see("\n");
    server.signal("SIGTERM");
    expect(await server.exited).toBe(0);
    expect(server.stdout.text).toMatch(/^listening on 127\.0\.0\.1:[1-9]\d*\n$/);
    expect(server.stderr.text).toBe("");
  });

  test("--json says it as one object", async () => {
    await using server = await serve(["--auth", "none", "--service", "upper"]);
    const { port, pid } = server;
    const expected = {
      event: "listening",
      host: "127.0.0.1",
      port,
      pid,
      tls: null,
      auth: "none",
      service: "upper",
    };
    expect(server.stdout.text).toBe(`${JSON.stringify(expected)}\n`);
    await server.stop();
    expect(server.stdout.text.split("\n")).toHaveLength(2);
  });

  test("--port-file holds the port by then", async () => {
    using folder = tempFolder();
    const file = join(folder.path, "port");
    await using server = await serve(["--auth", "none", "--port-file", file]);
    expect(readFileSync(file, "utf8")).toBe(`${server.port}\n`);
    await server.stop();
  });

  test("says on stderr that nobody can log in yet, and how to change that", async () => {
    await using server = await serve([]);
    await server.stderr.see(/^no users yet: add one with: .*users add NAME\n/);
    await server.stop();
  });

  test.each([
    ["--data, quoted, where it was given", true],
    ["no --data where $PARLEY_DATA names the folder", false],
  ])("… with %s", async (_, isFlag) => {
    using folder = tempFolder();
    const data = join(folder.path, "my data");
    await using server = await serve(isFlag ? ["--data", data] : [], isFlag ? {} : { data });
    await server.stderr.see("\n");
    await server.stop();
    expect(server.stderr.text).toEndWith(` users add NAME${isFlag ? ` --data '${data}'` : ""}\n`);
  });

  test("asks nothing without a terminal", async () => {
    await using server = await serve([]);
    expect(server.ready["auth"]).toBe("password");
    await server.stop();
    expect(server.stderr.text).not.toContain("?");
  });
});

describe("a busy port", () => {
  test.each(["127.0.0.1", "::1", "0.0.0.0", "::"])(
    "at %s: takes the next free one and says so last",
    async (host) => {
      using busy = occupy(host);
      if (busy === undefined) return expect(host).toContain(":"); // this machine has no IPv6
      await using server = await serve(["--port", String(busy.port)]);
      expect(server.port).toBeGreaterThan(busy.port);
      expect(server.port).toBeLessThanOrEqual(busy.port + 100);
      await server.stop();
      const last = server.stderr.text.trimEnd().split("\n").at(-1);
      expect(last).toContain(` ${busy.port} `);
      expect(last).toContain(` ${server.port} `);
    },
  );

  test("with --strict-port is an error", async () => {
    using busy = occupy("127.0.0.1");
    const { exitCode, stdout, stderr } = await run(["serve", "--strict-port", "--port", String(busy?.port)]);
    expect(exitCode).toBe(1);
    expect(stdout).toBe("");
    expect(stderr).toStartWith(`parley: error: port ${busy?.port} is busy\n`);
  });

  test("of another parley is busy too", async () => {
    await using first = await serve(["--auth", "none"]);
    await using second = await serve(["--auth", "none", "--port", String(first.port)]);
    expect(second.port).not.toBe(first.port);
    await second.stop();
    await first.stop();
  });
});

describe("refuses with exit 2 and one line that names the flag:", () => {
  const wrong: [flag: string, ...argv: string[]][] = [
    ["--port", "--port", "70000"],
    ["--port", "--port", "abc"],
    ["--port", "--port", "-1"],
    ["--port", "--port"],
    ["--port", "--port", "0", "--port", "1"],
    ["--port", "--port", "--strict-port"],
    ["--prot", "--prot", "1"],
    ["--host", "--host", "a b"],
    ["the link-local address fe80::1 has no zone", "--host", "fe80::1"],
    ["the link-local address fe80::1 has no zone", "--metrics", "[fe80::1]:9113"],
    ["--metrics", "--metrics", "example.org:9113"],
    ["unknown flag -x…", "-x…"],
    ["--auth", "--auth", "magic"],
    ["--service", "--service", "magic"],
    ["--log-level", "--log-level", "loud"],
    ["--log-format", "--log-format", "xml"],
    ["--max-frame", "--max-frame", "big"],
    ["--max-frame", "--max-frame", "1"],
    ["--max-connections", "--max-connections", "0"],
    ["--max-attempts", "--max-attempts", "1.5"],
    ["--login-timeout", "--login-timeout", "5"],
    ["--drain", "--drain", "soon"],
    ["--hash-memory", "--hash-memory", "1kb"],
    ["--min-password", "--min-password", "3"],
    ["--strict-port", "--strict-port=yes"],
    ["--strict-port", "--strict-port", "--strict-port"],
    ["--bare", "--bare", "--auth", "none"],
    ["--register", "--register", "--auth", "none"],
    ["--color", "--color", "mauve"],
    ["extra", "extra"],
  ];
  test.each(wrong)("%s in %p %p %p", async (flag, ...argv) => {
    const { exitCode, stdout, stderr } = await run(["serve", ...argv.filter((word) => word !== undefined)]);
    expect(exitCode).toBe(2);
    expect(stdout).toBe("");
    const [first, ...rest] = stderr.trimEnd().split("\n");
    expect(first).toStartWith("parley: error: ");
    expect(first).toContain(flag);
    expect(rest.filter((line) => !line.startsWith("parley: hint: "))).toEqual([]);
    expect(rest.length).toBeLessThanOrEqual(1);
  });

  const early: [code: number, ...argv: string[]][] = [
    [2, "--service", "magic"],
    [2, "--service", "echo", "--", "cat"],
    [2, "--watch"],
    [2, "--pty"],
    [2, "--drain", "soon"],
    [2, "--", "/nowhere/program"],
    [2, "--tls-cert", "c.pem"],
    [1, "--handler", "/nowhere/greet.ts"],
  ];
  test.each(early)("before anything is made, with %d: %p %p", async (code, ...argv) => {
    using folder = tempFolder();
    const wrong = argv.filter((word) => word !== undefined);
    const data = join(folder.path, "data");
    const { exitCode, stdout } = await run(["serve", "--tls", "--key-file", "key", ...wrong], {
      cwd: folder.path,
      data,
    });
    expect([exitCode, stdout, readdirSync(folder.path)]).toEqual([code, "", []]);
  });

  test("and says what was meant where it is close", async () => {
    expect((await run(["serve", "--prot", "1"])).stderr).toContain("--port?");
    expect((await run(["sevre"])).stderr).toContain("serve?");
  });
});

test.each([
  ["192.0.2.1", "192.0.2.1:0: this machine does not have this address"],
  ["ff02::1", "[ff02::1]:0: this machine does not have this address"],
  ["a..b", "a..b:0: no address was found for this name"],
  ["fe80::1%nowhere", "[fe80::1%nowhere]:0: there is no interface nowhere"],
])("--host %s ends with 1, and why in words", async (host, why) => {
  const argv = ["serve", "--auth", "none", "--port", "0", "--no-tls", "--host", host];
  const { exitCode, stdout, stderr } = await run(argv);
  expect([exitCode, stdout, stderr]).toEqual([1, "", `parley: error: cannot listen on ${why}\n`]);
});

describe("beyond this machine", () => {
  test("encrypts by itself, and listens in plain text only when told to", async () => {
    await using encrypted = await serve(["--host", "0.0.0.0"]);
    expect(encrypted.ready["tls"]).toMatch(/^sha256\/[A-Za-z0-9+/]{43}=$/);
    await using plain = await serve(["--host", "0.0.0.0", "--no-tls"]);
    expect(plain.ready).toMatchObject({ host: "0.0.0.0", tls: null });
    await Promise.all([encrypted.stop(), plain.stop()]);
  });

  test.each([
    ["--auth none", ["--auth", "none"], "--auth none has no login"],
    ["--bare", ["--bare", "--open"], "--bare has no login"],
  ])("warns of %s", async (_, flags, words) => {
    await using server = await serve(["--host", "0.0.0.0", ...flags]);
    await server.stop();
    expect(server.stderr.text).toContain(
      `warning: anyone who can reach 0.0.0.0:${server.port} can use this server: ${words}\n`,
    );
  });

  test.each([
    ["on this machine alone", ["--auth", "none"]],
    ["behind a shared key", ["--host", "0.0.0.0", "--auth", "none", "--key-file", "key"]],
    ["behind accounts", ["--host", "0.0.0.0", "--auth", "password"]],
  ])("does not warn %s", async (_, flags) => {
    await using server = await serve(flags);
    await server.stop();
    expect(server.stderr.text).not.toContain("warning");
  });

  test("does not let anybody in with --bare unless told to", async () => {
    const { exitCode, stderr } = await run([
      "serve",
      "--host",
      "0.0.0.0",
      "--no-tls",
      "--bare",
      "--port",
      "0",
    ]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("--open");
  });
});

test("--list-services names each on its line", async () => {
  const { exitCode, stdout } = await run(["serve", "--list-services"]);
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^echo +\S/m);
  expect(stdout).toMatch(/^upper +\S/m);
});

describe("--check", () => {
  test("says that all is well and leaves", async () => {
    const { exitCode, stdout, stderr } = await run(["serve", "--check", "--port", "0"]);
    expect([exitCode, stdout]).toEqual([0, ""]);
    expect(stderr).not.toContain("error");
  });

  test("says what is wrong with the user file", async () => {
    using folder = tempFolder();
    writeFileSync(join(folder.path, "users.json"), "", { mode: 0o600 });
    const { exitCode, stderr } = await run(["serve", "--check", "--port", "0"], { data: folder.path });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("users.json");
  });

  test("says whose hash cannot be used", async () => {
    using folder = tempFolder();
    const check = () => run(["serve", "--check", "--port", "0"], { data: folder.path });
    writeUsers(folder.path, { ann: FOREIGN["four lanes"], bob: BCRYPT, eve: "plain text" });
    const { exitCode, stderr } = await check();
    expect([exitCode, stderr]).toEqual([
      1,
      `cannot use the password hash of user eve: it is not an argon2id hash
parley: error: cannot use the password hash of user bob: ${BCRYPT_FLAW}
parley: hint: set a new password with: parley users passwd bob
`,
    ]);
    writeUsers(folder.path, { ann: FOREIGN["four lanes"] });
    expect(await check()).toMatchObject({ exitCode: 0, stderr: "the configuration is valid\n" });
  });

  test("says which known address nobody comes from, where addresses count", async () => {
    using folder = tempFolder();
    writeUsers(folder.path, { bob: BCRYPT }, ["127.0.0.1", "2001:DB8::1"]);
    const { exitCode, stderr } = await run(["serve", "--check", "--port", "0", "--auth", "ip"], {
      data: folder.path,
    });
    expect(exitCode).toBe(1);
    expect(stderr)
      .toBe(`parley: error: the known address 2001:DB8::1 matches no client: it must be written as 2001:db8::1
parley: hint: forget it with: parley users hosts forget 2001:DB8::1
`);
    const forget = ["users", "hosts", "forget", "2001:DB8::1"];
    expect((await run(forget, { data: folder.path })).exitCode).toBe(0);
  });

  test("says that the port is busy", async () => {
    using busy = occupy("127.0.0.1");
    const { exitCode } = await run(["serve", "--check", "--strict-port", "--port", String(busy?.port)]);
    expect(exitCode).toBe(1);
  });

  test("says which port a server would take, where the port is busy: perhaps by the running server", async () => {
    using folder = tempFolder();
    await using server = await serve([], { data: folder.path });
    const log = () => readFileSync(join(folder.path, "parley.log"), "utf8");
    await until("the line of its start", true, () => log().includes(" listening "));
    const port = String(server.port);
    const { exitCode, stderr } = await run(["serve", "--check", "--port", port], { data: folder.path });
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(new RegExp(`^port ${port} is busy: a server that starts now listens on \\d+\n`));
    expect(stderr).toEndWith("the configuration is valid\n");
    expect(log().split("\n")).toHaveLength(2);
  });

  test("says that nobody can log in yet", async () => {
    const { exitCode, stderr } = await run(["serve", "--check", "--port", "0"]);
    expect([exitCode, stderr]).toEqual([
      0,
      "no users yet: no client can log in\nthe configuration is valid\n",
    ]);
  });
});

describe("a hash that cannot be used", () => {
  const flawed = (log: string) =>
    log
      .split("\n")
      .filter((line) => line.includes("users-flawed"))
      .map((line) => line.slice(line.indexOf(" ") + 1));
  const lineOf = (user: string, flaw: string) =>
    `warn  users-flawed user=${user} reason="cannot use the password hash of user ${user}: ${flaw}"`;

  test("is in the log at start, once after each change, and with each login that it refuses", async () => {
    using folder = tempFolder();
    const data = folder.path;
    const log = () => readFileSync(join(data, "parley.log"), "utf8");
    writeUsers(data, { ann: FOREIGN["four lanes"], bob: BCRYPT });
    await using server = await serve([], { data });
    const expected = [lineOf("bob", BCRYPT_FLAW)];
    await until("at start", expected, () => flawed(log()));

    const env = { PARLEY_PASSWORD: "correct horse" };
    const login = (user: string) => run(["connect", `${user}@${server.address}`, "--send", "x"], { env });
    const [ann, bob, nobody] = [await login("ann"), await login("bob"), await login("nobody")];
    expect(ann).toMatchObject({ exitCode: 0, stdout: "x\n" });
    expect(bob).toMatchObject({ exitCode: 3, stderr: nobody.stderr });
    expect(log()).toMatch(/login-refused .*reason="cannot use the password hash of user bob: it is bcrypt/);

    // Before another one writes the file, the server has written all that it had to.
    const users = () => readFileSync(join(data, "users.json"), "utf8");
    await until("ann's hash is made anew", false, () => users().includes(FOREIGN["four lanes"]));
    writeUsers(data, { ann: FOREIGN["four lanes"], bob: BCRYPT, eve: "a plain password" });
    expected.push(lineOf("eve", "it is not an argon2id hash"));
    await until("after a change", expected, () => flawed(log()));
    const made = await run(["users", "passwd", "bob", "--generate", "--json"], { data });
    expect(made.exitCode).toBe(0);
    const { password } = JSON.parse(made.stdout) as { password: string };
    const changes = () => log().split("users-changed").length;
    await until("changes", 3, changes);
    const again = await run(["connect", `bob@${server.address}`, "--send", "x"], {
      env: { PARLEY_PASSWORD: password },
    });
    expect(again).toMatchObject({ exitCode: 0, stdout: "x\n" });
    await server.stop();
    expect(flawed(log())).toEqual(expected);
    for (const secret of ["$2b$10$", "a plain password", "$argon2id$"]) expect(log()).not.toContain(secret);
  });

  test("is shown to who watches the server start", async () => {
    using folder = tempFolder();
    writeUsers(folder.path, { bob: BCRYPT });
    await using screen = new Screen(["serve", "--port", "0"], { data: folder.path, cols: 200 });
    await screen.see(`cannot use the password hash of user bob: ${BCRYPT_FLAW}`);
    await screen.see("parley users passwd bob");
    await screen.see("listening on");
    screen.type("\u0003");
    expect(await screen.exited).toBe(0);
  });
});
