// parley serve and users with their accounts in a Redis server: one place for all, its errors, and the way there and back.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { until, within } from "../support/attack.ts";
import { addUser, deadPort, PASSWORD, run, serve, start, type Options } from "../support/executable.ts";
import { authority } from "../support/certificates.ts";
import { ROOT } from "../docs/markdown.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";
import { FOREIGN } from "../support/hashes.ts";
import { lacksTools } from "../support/privileges.ts";
import { Screen } from "../support/screen.ts";
import { startRedis } from "../support/redis.ts";

setDefaultTimeout(90_000);

let folder: TempFolder;
let data: string;
beforeEach(() => {
  folder = tempFolder();
  data = join(folder.path, "data");
});
afterEach(() => folder[Symbol.dispose]());

const STORE_PASSWORD = "store-secret-42";
const users = (argv: string[], options: Options = {}) => run(["users", ...argv], { data, ...options });
const add = (name: string, options: Options = {}) =>
  users(["add", name, "--password-stdin"], { stdin: PASSWORD, ...options });
const login = (address: string, user = "ann") =>
  run(["connect", `${user}@${address}`, "--send", "x"], { env: { PARLEY_PASSWORD: PASSWORD } });

describe.skipIf(lacksTools("redis-server"))("an engine", () => {
  test("has the accounts of a server and its commands, in folders of their own", async () => {
    await using redis = await startRedis();
    const env = { PARLEY_STORE: redis.url };
    const other = join(folder.path, "other");
    const added = await users(["add", "ann", "--password-stdin", "--store", redis.url], { stdin: PASSWORD });
    expect(added).toMatchObject({ exitCode: 0, stdout: "user ann added\n", stderr: "" });
    expect(existsSync(join(data, "users.json"))).toBe(false);

    const program = ["--", "sh", "-c", "env | grep ^PARLEY_STORE; cat"];
    await using server = await serve(["--port", "0", ...program], {
      data: other,
      env: { ...env, PARLEY_STORE_PASSWORD: "" },
    });
    expect(server.ready).toMatchObject({ store: redis.url });
    expect(await login(server.address)).toMatchObject({ exitCode: 0, stdout: "x\n" });
    expect(readFileSync(join(other, "parley.log"), "utf8")).toContain(` store=${redis.url}\n`);
    expect(existsSync(join(other, "users.json"))).toBe(false);

    expect((await add("bob", { env })).exitCode).toBe(0);
    expect((await login(server.address, "bob")).exitCode).toBe(0);
    await using ann = start(["connect", `ann@${server.address}`], { env: { PARLEY_PASSWORD: PASSWORD } });
    ann.write("hello\n");
    await ann.stdout.see("hello\n");
    expect((await users(["disable", "ann"], { env })).exitCode).toBe(0);
    expect(await within("the end of ann", ann.exited)).toBe(5);
    expect((await users(["list"], { env: { ...env } })).stdout).toMatch(/^ann .*\nbob /m);
    expect((await users(["list", "--store-name", "second"], { env })).stdout).toBe("");
    await server.stop();
  });

  test("is only read by commands that read: they need no folder, and leave none", async () => {
    await using redis = await startRedis();
    const env = { PARLEY_STORE: redis.url };
    await add("ann", { env });
    const none = join(folder.path, "none");
    for (const argv of [["list"], ["sessions"], ["export", "--all"], ["hosts"]]) {
      const { exitCode, stderr } = await users(argv, { env, data: none });
      expect([argv, exitCode, stderr, existsSync(none)]).toEqual([argv, 0, "", false]);
    }
    const { exitCode, stderr } = await users(["passwd", "bob", "--generate", "--store", redis.url]);
    expect([exitCode, stderr]).toEqual([
      1,
      "parley: error: there is no user bob\n" +
        `parley: hint: create the user with: parley users add bob --store ${redis.url}\n`,
    ]);
  });

  test("gets everything of a file, and gives it back: the same bytes", async () => {
    await using redis = await startRedis();
    const env = { PARLEY_STORE: redis.url };
    await addUser(data);
    await addUser(data, "bob");
    await users(["hosts", "name", "192.0.2.7", "Lab"]);
    await using server = await serve([], { data });
    await login(server.address);
    await server.stop();
    const all = (await users(["export", "--all"])).stdout;
    const moved = await users(["import", "--all", "-"], { env, stdin: all });
    expect(moved.stdout).toBe("imported 2 users, 1 token, 1 host, skipped 0, replaced 0\n");
    const fromEngine = (await users(["export", "--all"], { env })).stdout;
    expect(fromEngine).toBe(all);
    const back = join(folder.path, "back");
    await users(["import", "--all", "-"], { data: back, stdin: fromEngine });
    expect((await users(["export", "--all"], { data: back })).stdout).toBe(all);
  });

  test("takes many records in several changes, and a command goes on where one was cut off", async () => {
    await using redis = await startRedis();
    const env = { PARLEY_STORE: redis.url };
    const at = new Date().toISOString();
    const names = Array.from({ length: 2500 }, (_, n) => `user-${n}`).toSorted();
    const line = (name: string) =>
      JSON.stringify({
        kind: "user",
        key: name,
        record: { id: name, password: "x", created: at, disabled: null },
      });
    const text = (some: string[]) =>
      `${[JSON.stringify({ kind: "accounts", version: 1, users: some.length, tokens: 0, hosts: 0 }), ...some.map(line)].join("\n")}\n`;
    await users(["import", "--all", "-"], { env, stdin: text(names.slice(0, 1000)) });
    expect(await redis.command("HGET", "parley:{parley}:meta", "head")).toStartWith("1-");
    const rest = await users(["import", "--all", "-", "--skip-existing"], { env, stdin: text(names) });
    expect(rest.stdout).toBe("imported 1500 users, 0 tokens, 0 hosts, skipped 1000, replaced 0\n");
    expect((await users(["export", "--all"], { env })).stdout).toBe(text(names));
    const some = (await users(["export"], { env })).stdout;
    const alone = await users(["import", "-", "--store-name", "second"], {
      env,
      stdin: some.replaceAll('"password":"x"', `"password":"${FOREIGN["one lane"]}"`),
    });
    expect(alone.stdout).toBe("imported 2500 users, skipped 0, replaced 0\n");
    expect(await redis.command("HGET", "parley:{second}:meta", "head")).toStartWith("3-");
  });

  test("that comes back empty is refused, until its data is back or its entry is removed", async () => {
    await using redis = await startRedis();
    const env = { PARLEY_STORE: redis.url };
    await add("ann", { env });
    const stores = join(data, "stores.json");
    await redis.kill();
    await redis.restart({ empty: true });
    const hint = `restore its data; for a new start with another store, remove its entry from ${stores}`;
    const answer = `parley: error: ${redis.url} has lost its accounts\nparley: hint: ${hint}\n`;
    for (const argv of [
      ["serve", "--port", "0"],
      ["serve", "--port", "0", "--check"],
      ["users", "list"],
    ]) {
      const { exitCode, stdout, stderr } = await run(argv, { data, env });
      expect([argv, exitCode, stdout, stderr]).toEqual([argv, 1, "", answer]);
    }
    writeFileSync(stores, JSON.stringify({ version: 1, stores: [] }), { mode: 0o600 });
    expect((await add("ann", { env })).exitCode).toBe(0);
  });

  test("that wants a password gets it from a file or the environment, and nobody sees it", async () => {
    await using redis = await startRedis({ password: STORE_PASSWORD });
    const file = join(folder.path, "password");
    writeFileSync(file, `${STORE_PASSWORD}\n`);
    const flags = ["--store", redis.url, "--store-password-file", file];
    expect((await users(["add", "ann", "--password-stdin", ...flags], { stdin: PASSWORD })).exitCode).toBe(0);
    const env = { PARLEY_STORE: redis.url, PARLEY_STORE_PASSWORD: STORE_PASSWORD };
    await using server = await serve(["--", "sh", "-c", "cat /proc/$PPID/cmdline | tr '\\0' ' '; env; cat"], {
      data,
      env,
    });
    const { exitCode, stdout } = await login(server.address);
    expect([exitCode, stdout.includes("serve")]).toEqual([0, true]);
    await server.stop();
    const said = [
      stdout,
      server.stdout.text,
      server.stderr.text,
      readFileSync(join(data, "parley.log"), "utf8"),
    ];
    expect(said.join("\n")).not.toContain(STORE_PASSWORD);
    expect(said[0]).not.toContain("PARLEY_STORE");

    const wrong = await users(["list"], { env: { ...env, PARLEY_STORE_PASSWORD: "wrong-secret" } });
    expect([wrong.exitCode, wrong.stdout]).toEqual([1, ""]);
    expect(wrong.stderr).toStartWith("parley: error: ");
    expect(wrong.stderr).not.toContain("wrong-secret");
  });

  test("over TLS, with the documented user and a client's certificate, does all that parley needs, and no more", async () => {
    const page = readFileSync(join(ROOT, "docs/operating.md"), "utf8");
    const [documented] = /^user parley .*$/m.exec(page) ?? [];
    if (documented === undefined) throw new Error("docs/operating.md has no line of the user");
    const trusted = await authority();
    const identity = await trusted.issue("127.0.0.1");
    const own = await trusted.issueClient();
    await using redis = await startRedis({
      tls: { ...identity, ca: trusted.pem, requiresClient: true },
      acl: [`user default on >test-secret ~* +@all`, documented.replace("PASSWORD", STORE_PASSWORD)],
      login: ["AUTH", "test-secret"],
    });
    const file = (name: string, text: string) => {
      writeFileSync(join(folder.path, name), text, { mode: 0o600 });
      return join(folder.path, name);
    };
    const url = redis.url.replace("://", "://parley@");
    const [ca, cert, key] = [
      file("ca.pem", trusted.pem),
      file("cert.pem", own.certificate),
      file("key.pem", own.key),
    ];
    const tls = ["--store-ca", ca, "--store-cert", cert, "--store-key", key];
    const flags = ["--store", url, ...tls];
    const env = { PARLEY_STORE_PASSWORD: STORE_PASSWORD };
    const as = (argv: string[], options: Options = {}) => users([...argv, ...flags], { env, ...options });
    expect(await as(["add", "ann", "--password-stdin"], { stdin: PASSWORD })).toMatchObject({
      exitCode: 0,
      stderr: "",
    });
    await using server = await serve(flags, { data, env });
    expect((await login(server.address)).exitCode).toBe(0);
    expect((await as(["revoke", "--all"])).stdout).toBe("1 session revoked\n");
    expect((await as(["hosts", "name", "192.0.2.7", "Lab"])).exitCode).toBe(0);
    const all = (await as(["export", "--all"])).stdout;
    expect((await as(["import", "--all", "-", "--replace"], { stdin: all })).exitCode).toBe(0);
    expect((await as(["hosts", "forget", "192.0.2.7"])).exitCode).toBe(0);
    expect((await as(["remove", "ann", "--yes"])).exitCode).toBe(0);
    await server.stop();
    expect((await run(["serve", "--port", "0", "--check", ...flags], { data, env })).exitCode).toBe(0);
    for (const words of [
      "FLUSHALL",
      "KEYS *",
      "CONFIG GET *",
      "ACL LIST",
      "DEL parley:{parley}:users",
      "GET x",
    ]) {
      expect(String(await redis.command("ACL", "DRYRUN", "parley", ...words.split(" ")))).toContain(
        "no permissions",
      );
    }

    const other = await authority();
    const stranger = await other.issueClient();
    const wrongs: [given: string[], password: string, words: string][] = [
      [
        ["--store-ca", file("other.pem", other.pem), "--store-cert", cert, "--store-key", key],
        STORE_PASSWORD,
        "cannot trust the certificate",
      ],
      [["--store-ca", ca], STORE_PASSWORD, "requires a client certificate"],
      [
        [
          "--store-ca",
          ca,
          "--store-cert",
          file("s.pem", stranger.certificate),
          "--store-key",
          file("s.key", stranger.key),
        ],
        STORE_PASSWORD,
        "refuses the client certificate",
      ],
      [tls, "wrong-secret", "wrong user or password"],
    ];
    for (const [given, password, words] of wrongs) {
      const argv = ["users", "list", "--store", url, ...given];
      const wrong = await run(argv, { data, env: { PARLEY_STORE_PASSWORD: password } });
      expect([wrong.exitCode, wrong.stdout]).toEqual([1, ""]);
      expect(wrong.stderr).toContain(words);
      expect(wrong.stderr).not.toContain(password);
    }
  });

  test("that is away or frozen ends a start with a sentence", async () => {
    using dead = await deadPort();
    const away = await users(["list", "--store", `redis://127.0.0.1:${dead.port}`, "--json"]);
    expect(away.exitCode).toBe(1);
    expect(JSON.parse(away.stdout)).toMatchObject({ event: "error", code: "store" });
    await using redis = await startRedis();
    redis.freeze();
    const frozen = await run(["serve", "--port", "0", "--store", redis.url], { data });
    expect([frozen.exitCode, frozen.stdout]).toEqual([1, ""]);
    expect(frozen.stderr).toStartWith("parley: error: ");
    redis.thaw();
  });

  test("is tried by --check, which keeps nothing of it", async () => {
    await using redis = await startRedis();
    const check = ["serve", "--port", "0", "--check", "--store", redis.url];
    const well = await run(check, { data });
    expect([well.exitCode, well.stderr]).toEqual([0, expect.stringContaining("the configuration is valid")]);
    await add("ann", { env: { PARLEY_STORE: redis.url } });
    const fresh = join(folder.path, "fresh");
    expect((await run(check, { data: fresh })).exitCode).toBe(0);
    expect(existsSync(join(fresh, "stores.json"))).toBe(false);
    await redis.command("CONFIG", "SET", "min-replicas-to-write", "1");
    const { exitCode, stderr } = await run(check, { data });
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("parley: error: ")]);
    expect(stderr).not.toContain("the configuration is valid");
  });

  test("is named on a terminal, where the first user can be made", async () => {
    await using redis = await startRedis();
    await using screen = new Screen(["serve", "--port", "0", "--store", redis.url], { data });
    await screen.see("create the first user?");
    screen.enter("y");
    await screen.see("user:");
    screen.enter("ann");
    await screen.see("password:");
    screen.enter(PASSWORD);
    await screen.see("password again:");
    screen.enter(PASSWORD);
    await screen.see(`accounts: ${redis.url}`);
    screen.type("\u0003");
    expect(await screen.exited).toBe(0);
    expect((await users(["list", "--store", redis.url, "--json"])).stdout).toContain('"ann"');
  });

  test("that freezes makes the server unwell, which goes on with its conversations, and is well again", async () => {
    await using redis = await startRedis();
    const env = { PARLEY_STORE: redis.url };
    await add("ann", { env });
    await using server = await serve(["--metrics", "127.0.0.1:0"], { data, env });
    await using ann = start(["connect", `ann@${server.address}`], { env: { PARLEY_PASSWORD: PASSWORD } });
    ann.write("one\n");
    await ann.stdout.see("one\n");
    const health = async () => {
      const response = await fetch(`http://${String(server.ready["metrics"])}/healthz`);
      return [response.status, await response.text()];
    };
    const log = () => readFileSync(join(data, "parley.log"), "utf8");
    expect(await health()).toEqual([200, "ok\n"]);
    redis.freeze();
    try {
      await until("health", [503, "accounts out of reach\n"], health);
      await until("what the log says", true, () => log().includes(" store-lost "));
      ann.write("two\n");
      await ann.stdout.see("two\n");
    } finally {
      redis.thaw();
    }
    await until("health", [200, "ok\n"], health);
    await until("what the log says", true, () => log().includes(" store-found "));
    ann.endInput();
    expect(await ann.exited).toBe(0);
    await server.stop();
  });
});

test("a server without accounts takes no store, and a configuration file has the same keys", async () => {
  mkdirSync(data);
  for (const [flag, words] of [
    [["--auth", "none"], "--auth none and --store"],
    [["--bare"], "--bare and --store"],
  ] as const) {
    const { exitCode, stderr } = await run(["serve", ...flag, "--store", "redis://127.0.0.1"], { data });
    expect([exitCode, stderr]).toEqual([2, `parley: error: ${words} cannot be used together\n`]);
  }
  const config = join(folder.path, "parley.toml");
  writeFileSync(config, 'store = "redis://127.0.0.1"\nstore-ca = "ca.pem"\n');
  const { exitCode, stderr } = await run(["serve", "--config", config], { data });
  expect([exitCode, stderr.split("\n")[0]]).toEqual([
    2,
    `parley: error: ${config}: store-ca requires a URL of rediss://`,
  ]);
});
