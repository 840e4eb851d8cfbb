// Credentials that work tomorrow: sessions that outlive their tokens, another server at the same address, and places
// where nothing can be kept.

import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TOKEN_IDLE_MS } from "../../../src/base/limits.ts";
import { addUser, PASSWORD, portForLater, run, serve, start } from "../../support/executable.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";
import { asPerson, lacks, SERVICE } from "../../support/privileges.ts";
import { Screen } from "../../support/screen.ts";

setDefaultTimeout(90_000);

const env = { PARLEY_PASSWORD: PASSWORD };
let folder: TempFolder;
/** Folders of a server, of another one, and of a client. */
let data: string;
let other: string;
let client: string;
beforeEach(async () => {
  folder = tempFolder();
  data = join(folder.path, "server");
  other = join(folder.path, "other");
  client = join(folder.path, "client");
  await Promise.all([addUser(data), addUser(other)]);
});
afterEach(() => folder[Symbol.dispose]());

interface Token {
  server: string;
  user: string;
  token: string;
  issuer?: string;
}
const tokens = () =>
  (JSON.parse(readFileSync(join(client, "tokens.json"), "utf8")) as { tokens: Token[] }).tokens;
const usersFile = () => join(data, "users.json");

function changeUsersFile(change: (text: string) => string): void {
  writeFileSync(usersFile(), change(readFileSync(usersFile(), "utf8")));
}

/** As if no token had been used for longer than one lives. */
function ageTokens(): void {
  const used = new Date(Date.now() - TOKEN_IDLE_MS - 1000).toISOString();
  changeUsersFile((text) => text.replaceAll(/"used": "[^"]*"/g, `"used": "${used}"`));
}

describe("a conversation that comes back when its token is dead", () => {
  const passwordFile = () => {
    const path = join(folder.path, "password");
    writeFileSync(path, PASSWORD);
    return path;
  };

  test.each(["the first login was the password", "the first login was the stored token"])(
    "%s",
    async (how) => {
      const port = portForLater();
      const target = `ann@127.0.0.1:${port}`;
      const flags = ["--port", String(port)];
      const first = await serve(flags, { data });
      if (how.includes("token")) await run(["connect", target, "--send", "x"], { data: client, env });
      const before = how.includes("token") ? tokens()[0]?.token : undefined;
      await using talk = start(["connect", target, "--retry", "forever", "--password-file", passwordFile()], {
        data: client,
      });
      talk.write("before\n");
      await talk.stdout.see("before\n");
      await first.stop();
      ageTokens();
      await using second = await serve(flags, { data });
      talk.write("after\n");
      await talk.stdout.see("after\n");
      talk.endInput();
      expect(await talk.exited).toBe(0);
      // The token of the new session is kept for the next time.
      expect(tokens()).toHaveLength(1);
      expect(tokens()[0]?.token).not.toBe(before);
      expect(await run(["connect", target, "--send", "x"], { data: client })).toMatchObject({ exitCode: 0 });
      await second.stop();
    },
  );
});

describe("another server at the address of the one whose token is stored", () => {
  const withBoth = async (test: (target: string, flags: string[]) => Promise<void>) => {
    const port = portForLater();
    const target = `ann@127.0.0.1:${port}`;
    const flags = ["--port", String(port)];
    const own = await serve(flags, { data });
    expect(await run(["connect", target, "--send", "x"], { data: client, env })).toMatchObject({
      exitCode: 0,
    });
    await own.stop();
    await test(target, flags);
    const again = await serve(flags, { data });
    const { exitCode, stderr } = await run(["connect", target, "--send", "x"], { data: client });
    expect([exitCode, stderr]).toEqual([0, ""]);
    await again.stop();
  };

  test("is not shown it, and exit 3 says what was not enough", () =>
    withBoth(async (target, flags) => {
      const server = await serve(flags, { data: other });
      for (const where of [target, target.slice("ann@".length)]) {
        const { exitCode, stderr } = await run(["connect", where, "--send", "x"], { data: client });
        expect(exitCode).toBe(3);
        expect(stderr).toContain("the server refused the stored session token");
      }
      await server.stop();
      expect(tokens()).toHaveLength(1);
    }));

  test("takes the password that is given, and has a token of its own then", () =>
    withBoth(async (target, flags) => {
      const server = await serve(flags, { data: other });
      for (const given of [env, {}]) {
        expect(await run(["connect", target, "--send", "x"], { data: client, env: given })).toMatchObject({
          exitCode: 0,
          stderr: "",
        });
      }
      await server.stop();
      expect(tokens()).toHaveLength(2);
    }));

  test("has the user asked on a terminal, who hears why", () =>
    withBoth(async (target, flags) => {
      const server = await serve(flags, { data: other });
      await using screen = new Screen(["connect", target], { data: client });
      await screen.see("the stored session token is from another server: log in again");
      await screen.see("password for ann:");
      screen.enter(PASSWORD);
      await screen.see("welcome");
      screen.type("\u0004");
      expect(await screen.exited).toBe(0);
      await server.stop();
    }));
});

test("a token of which nobody knows the server is kept when it is refused", async () => {
  await using own = await serve([], { data });
  const target = `ann@${own.address}`;
  await run(["connect", target, "--send", "x"], { data: client, env });
  const path = join(client, "tokens.json");
  writeFileSync(path, readFileSync(path, "utf8").replace(/,\s*"issuer": "[^"]*"/, ""));
  expect(tokens()[0]).not.toHaveProperty("issuer");
  await run(["users", "revoke", "--all"], { data });
  expect(await run(["connect", target, "--send", "x"], { data: client })).toMatchObject({ exitCode: 3 });
  expect(tokens()).toHaveLength(1);
  await own.stop();
});

test("a token that its own server refuses is forgotten", async () => {
  await using own = await serve([], { data });
  const target = `ann@${own.address}`;
  await run(["connect", target, "--send", "x"], { data: client, env });
  await run(["users", "revoke", "--all"], { data });
  expect(await run(["connect", target, "--send", "x"], { data: client })).toMatchObject({ exitCode: 3 });
  expect(tokens()).toHaveLength(0);
  expect(await run(["connect", target, "--send", "x"], { data: client })).toMatchObject({ exitCode: 2 });
  await own.stop();
});

test("a login without a token is written down, too", async () => {
  await using own = await serve([], { data });
  const before = Date.now();
  const argv = ["connect", `ann@${own.address}`, "--no-token", "--send", "x"];
  expect(await run(argv, { data: client, env })).toMatchObject({ exitCode: 0 });
  await own.stop();
  const { stdout } = await run(["users", "list", "--json"], { data });
  const { last_login } = JSON.parse(stdout) as { last_login: string };
  expect(Date.parse(last_login)).toBeGreaterThanOrEqual(before);
});

describe("$PARLEY_PASSWORD", () => {
  test("is a client's, and no new password for users", async () => {
    for (const argv of [
      ["passwd", "ann"],
      ["add", "bob"],
    ]) {
      const { exitCode, stderr } = await run(["users", ...argv], {
        data,
        env: { PARLEY_PASSWORD: "new horse" },
      });
      expect(exitCode).toBe(2);
      expect(stderr).toContain("missing password");
    }
  });

  test("that is empty is none", async () => {
    await using own = await serve([], { data });
    const argv = ["connect", `ann@${own.address}`, "--send", "x"];
    const { exitCode, stderr } = await run(argv, { data: client, env: { PARLEY_PASSWORD: "" } });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("missing password");
    await own.stop();
  });
});

test("--generate excludes a password from elsewhere", async () => {
  for (const flags of [["--password-stdin"], ["--password-file", usersFile()]]) {
    const result = await run(["users", "passwd", "ann", "--generate", ...flags], {
      data,
      stdin: "new horse",
    });
    expect(result).toMatchObject({ exitCode: 2, stdout: "" });
    expect(result.stderr).toContain(`--generate and ${flags[0]}`);
  }
});

const NEEDS_ROOT = lacks("setpriv");

describe("where nothing can be kept", () => {
  const own = (path: string) => chownSync(path, SERVICE.uid, SERVICE.gid);
  const prefix = asPerson(SERVICE);

  test.skipIf(NEEDS_ROOT)(
    "a refused token, a right password: logged in, and what could not be written is said",
    async () => {
      chmodSync(folder.path, 0o755);
      mkdirSync(client);
      own(client);
      await using server = await serve([], { data });
      const argv = ["connect", `ann@${server.address}`, "--send", "x"];
      expect(await run(argv, { data: client, env, prefix })).toMatchObject({ exitCode: 0 });
      await run(["users", "revoke", "--all"], { data });
      chmodSync(client, 0o555);
      const { exitCode, stdout, stderr } = await run(argv, { data: client, env, prefix });
      expect([exitCode, stdout]).toEqual([0, "x\n"]);
      expect(stderr).toContain("session token not deleted: ");
      expect(stderr).toContain("login not saved: ");
      await server.stop();
    },
  );

  test.skipIf(NEEDS_ROOT)(
    "a server whose folder is read-only ends well, and says what it cannot do",
    async () => {
      chmodSync(folder.path, 0o755);
      own(data);
      own(usersFile());
      chmodSync(data, 0o555);
      const log = join(folder.path, "log");
      mkdirSync(log);
      own(log);
      await using server = await serve(["--log", join(log, "parley.log")], { data, prefix });
      await server.stop();
      expect(server.stderr.text).not.toContain("fault of parley");
    },
  );

  test("a client that keeps no token needs no folder, and makes none", async () => {
    await using server = await serve(["--auth", "none"]);
    const argv = ["connect", server.address, "--no-token", "--send", "x"];
    const nowhere = join(folder.path, "nowhere");
    expect(await run(argv, { data: nowhere })).toMatchObject({ exitCode: 0, stdout: "x\n", stderr: "" });
    expect(existsSync(nowhere)).toBe(false);
    await server.stop();
  });

  test.skipIf(NEEDS_ROOT)(
    "without a home: a folder that is named will do, and a client goes on without",
    async () => {
      chmodSync(folder.path, 0o755);
      own(data);
      own(usersFile());
      const homeless = [...prefix, "env", "-u", "HOME", "-u", "PARLEY_DATA"];
      await using server = await serve(["--data", data], { prefix: homeless });
      const to = (...flags: string[]) =>
        run(["connect", `ann@${server.address}`, ...flags, "--send", "x"], { env, prefix: homeless });
      expect(await to("--no-token")).toMatchObject({ exitCode: 0, stdout: "x\n", stderr: "" });
      const remembering = await to();
      expect(remembering).toMatchObject({ exitCode: 0, stdout: "x\n" });
      expect(remembering.stderr).toContain("login not saved: cannot choose a data folder");
      await server.stop();
      const listing = await run(["users", "list"], { prefix: homeless });
      expect(listing.exitCode).toBe(1);
      expect(listing.stderr).toContain("name a folder with --data DIR");
    },
  );
});

describe("a command that only reads makes no folder:", () => {
  test.each([
    "export",
    "list",
    "sessions",
    "hosts",
    "revoke --all",
    "remove ann --yes",
    "passwd ann --generate",
  ])("users %s", async (command) => {
    const argv = command.split(" ");
    const mistyped = join(folder.path, "mistyped");
    const { exitCode, stdout, stderr } = await run(["users", ...argv], { data: mistyped });
    expect([exitCode, stdout]).toEqual([1, ""]);
    expect(stderr).toContain(`there is no folder ${mistyped}`);
    expect(existsSync(mistyped)).toBe(false);
  });

  test("connect --sessions", async () => {
    const nowhere = join(folder.path, "nowhere");
    expect(await run(["connect", "--sessions"], { data: nowhere })).toMatchObject({
      exitCode: 0,
      stdout: "",
    });
    expect(existsSync(nowhere)).toBe(false);
  });
});

test("a relative $XDG_STATE_HOME is ignored", async () => {
  const home = join(folder.path, "home");
  mkdirSync(home);
  const env = { PARLEY_DATA: "", XDG_STATE_HOME: "state", HOME: home };
  const result = await run(["users", "add", "ann", "--generate"], { cwd: folder.path, env });
  expect(result.exitCode).toBe(0);
  expect(existsSync(join(home, ".local", "state", "parley", "users.json"))).toBe(true);
  expect(existsSync(join(folder.path, "state"))).toBe(false);
});
