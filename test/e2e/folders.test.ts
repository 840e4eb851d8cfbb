// The executable and the folders it works in: what lies in the current one does nothing, what it makes is private.

import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, setDefaultTimeout, test } from "bun:test";
import { addUser, cleanEnv, EXECUTABLE, run, serve } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";

setDefaultTimeout(90_000);

test("a bunfig.toml and a .env in the current folder do nothing", async () => {
  using folder = tempFolder();
  const at = (name: string) => join(folder.path, name);
  writeFileSync(at("bunfig.toml"), 'preload = ["./evil.ts"]\n');
  writeFileSync(at("evil.ts"), `require("node:fs").writeFileSync(${JSON.stringify(at("ran"))}, "");`);
  writeFileSync(at(".env"), `PARLEY_DATA=${at("evil-data")}\nPARLEY_PASSWORD=evil-password\n`);
  const data = at("data");
  await addUser(data);
  await using server = await serve([], { cwd: folder.path, data });
  const client = await run(["connect", `ann@${server.address}`, "--send", "x"], { cwd: folder.path, data });
  expect(client.exitCode).toBe(2); // the password in .env was not read
  await server.stop();
  expect(Array.from(new Bun.Glob("*").scanSync({ cwd: folder.path, onlyFiles: false })).sort()).toEqual([
    "bunfig.toml",
    "data",
    "evil.ts",
  ]);
});

test("what it makes is its user's alone, whatever the umask", async () => {
  using folder = tempFolder();
  chmodSync(folder.path, 0o755);
  const data = join(folder.path, "new", "data");
  const portFile = join(folder.path, "port");
  const password = join(folder.path, "password");
  writeFileSync(password, "correct horse", { mode: 0o600 });
  const env = cleanEnv(data);
  const open = (...argv: string[]) =>
    Bun.spawn(["sh", "-c", 'umask 0; exec "$@"', "sh", EXECUTABLE, ...argv], {
      env,
      stdout: "pipe",
      stderr: "pipe",
    });
  await open("users", "add", "ann", "--password-file", password).exited;
  const server = open("serve", "--port", "0", "--port-file", portFile);
  try {
    for await (const _ of server.stdout) break;
    const port = readFileSync(portFile, "utf8").trim();
    const client = open("connect", `ann@127.0.0.1:${port}`, "--password-file", password, "--send", "x");
    expect(await client.exited).toBe(0);
  } finally {
    server.kill();
    await server.exited;
  }
  expect(statSync(data).mode & 0o777).toBe(0o700);
  const files = [...new Bun.Glob("*").scanSync(data)];
  expect(files).toContain("users.json");
  expect(files).toContain("parley.log");
  expect(files).toContain("tokens.json");
  expect(files).toContain("last.json");
  const modes = files.map((name) => `${name} ${(statSync(join(data, name)).mode & 0o777).toString(8)}`);
  expect(modes).toEqual(files.map((name) => `${name} 600`));
  expect(statSync(portFile).mode & 0o077).toBe(0);
});

test("a data folder where others may put files is refused in every mode, unless the server has nothing there", async () => {
  using folder = tempFolder();
  const data = join(folder.path, "data");
  mkdirSync(data);
  chmodSync(data, 0o777);
  const check = (...argv: string[]) => run(["serve", "--check", "--port", "0", ...argv], { data });
  for (const argv of [[], ["--auth", "ip"], ["--auth", "none"], ["--bare"], ["--auth", "none", "--tls"]]) {
    const { exitCode, stderr } = await check(...argv);
    expect({ argv, exitCode }).toEqual({ argv, exitCode: 1 });
    expect(stderr).toContain(`${data} has mode 777: other users could replace ${data}/`);
    expect(stderr).toContain(`chmod go-w ${data}`);
  }
  expect(readdirSync(data)).toEqual([]);
  expect((await check("--auth", "none", "--log", join(folder.path, "log"))).exitCode).toBe(0);
});
