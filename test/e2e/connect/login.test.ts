// parley connect and who it logs in as: passwords, tokens that are remembered, and what --trace may show.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { until } from "../../support/attack.ts";
import {
  addUser,
  PASSWORD,
  run,
  serve,
  start,
  type Options,
  type Serving,
} from "../../support/executable.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";

setDefaultTimeout(90_000);

const env = { PARLEY_PASSWORD: PASSWORD };
let folder: TempFolder;
let server: Serving;
let client: string;

beforeEach(async () => {
  folder = tempFolder();
  const data = join(folder.path, "server");
  client = join(folder.path, "client");
  await addUser(data);
  server = await serve([], { data });
});
afterEach(async () => {
  await server.stop();
  await server[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const connect = (flags: string[], options: Options = {}) =>
  run(["connect", ...flags], { data: client, ...options });
const hello = () => connect([`ann@${server.address}`, "--send", "hello"]);
/** What the server's folder has of sessions: it is written down a moment after they have begun or ended. */
const sessions = async () => (await run(["users", "sessions"], { data: join(folder.path, "server") })).stdout;

describe("a password", () => {
  test("comes from a file, without the newline at its end", async () => {
    const file = join(folder.path, "password");
    writeFileSync(file, `${PASSWORD}\n`);
    const result = await connect([`ann@${server.address}`, "--password-file", file, "--send", "hello"]);
    expect(result).toMatchObject({ exitCode: 0, stdout: "hello\n", stderr: "" });
  });

  test("comes from stdin, and messages from --send", async () => {
    const argv = ["--user", "ann", server.address, "--password-stdin", "--send", "hello"];
    expect(await connect(argv, { stdin: PASSWORD })).toMatchObject({ exitCode: 0, stdout: "hello\n" });
  });

  test("in a file that is not there is a usage error that names the flag", async () => {
    const argv = [`ann@${server.address}`, "--password-file", join(folder.path, "none"), "--send", "hello"];
    const { exitCode, stderr } = await connect(argv);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("--password-file");
  });

  test("is not taken from the command line", async () => {
    expect((await connect([`ann@${server.address}`, "--password", PASSWORD])).exitCode).toBe(2);
  });
});

describe("a token", () => {
  test("is remembered: the second run needs no password, nor a user", async () => {
    expect((await hello()).exitCode).toBe(2);
    expect((await connect([`ann@${server.address}`, "--send", "hello"], { env })).exitCode).toBe(0);
    expect(await hello()).toMatchObject({ exitCode: 0, stdout: "hello\n", stderr: "" });
    const nameless = await connect([server.address, "--send", "hello"]);
    expect(nameless).toMatchObject({ exitCode: 0, stdout: "hello\n", stderr: "" });
  });

  test("is neither used nor kept with --no-token", async () => {
    const argv = [`ann@${server.address}`, "--no-token", "--send", "hello"];
    expect((await connect(argv, { env })).exitCode).toBe(0);
    expect((await hello()).exitCode).toBe(2);
    await until("sessions", "", sessions);
  });

  test("is listed by --sessions, without its secret", async () => {
    await connect([`ann@${server.address}`, "--send", "hello"], { env });
    const { stdout, exitCode } = await connect(["--sessions"]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^\w{8}\b.*\n$/);
    expect(stdout).toContain(server.address);
    const listed = JSON.parse((await connect(["--sessions", "--json"])).stdout) as Record<string, unknown>;
    expect(listed).toMatchObject({ server: server.address, user: "ann" });
    const secret = /prly_\w+/.exec(readFileSync(join(client, "tokens.json"), "utf8"))?.[0] ?? "?";
    expect(stdout + JSON.stringify(listed)).not.toContain(secret.slice(14, 30));
    const seen = await run(["users", "sessions", "--json"], { data: join(folder.path, "server") });
    expect(JSON.parse(seen.stdout)).toMatchObject({ id: listed["id"], user: "ann" });
  });

  test("ends with --logout: forgotten here, revoked there, and its conversations end", async () => {
    await connect([`ann@${server.address}`, "--send", "hello"], { env });
    await using live = start(["connect", `ann@${server.address}`], { data: client });
    live.write("still here\n");
    await live.stdout.see("still here\n");
    expect((await connect([server.address, "--logout"])).exitCode).toBe(0);
    expect(await live.exited).toBe(5);
    expect((await connect(["--sessions"])).stdout).toBe("");
    expect((await hello()).exitCode).toBe(2);
    await until("sessions", "", sessions);
    expect((await connect([server.address, "--logout"])).exitCode).toBe(1);
  });

  test("that was revoked is forgotten, and the password asked for", async () => {
    await connect([`ann@${server.address}`, "--send", "hello"], { env });
    await run(["users", "revoke", "--all"], { data: join(folder.path, "server") });
    const { exitCode, stderr } = await hello();
    expect([2, 3]).toContain(exitCode);
    expect(stderr).toStartWith("parley: error: ");
    expect((await connect(["--sessions"])).stdout).toBe("");
    expect((await connect([`ann@${server.address}`, "--send", "hello"], { env })).exitCode).toBe(0);
  });
});

describe("--trace", () => {
  test("shows every frame both ways on stderr, stdout being the answers alone", async () => {
    const { stdout, stderr } = await connect([`ann@${server.address}`, "--trace", "--send", "hello"], {
      env,
    });
    expect(stdout).toBe("hello\n");
    const lines = stderr.trimEnd().split("\n");
    for (const line of lines) expect(line).toMatch(/^[←→] [0-9a-f]{8} {2}\S/);
    const order = ["← .* hello ", "→ .* login ", "← .* welcome ", "→ 00000005 ", "← 00000005 ", "← 8.* bye "];
    const places = order.map((form) => lines.findIndex((line) => new RegExp(form).test(line)));
    expect(places).not.toContain(-1);
    expect(places).toEqual(places.toSorted((a, b) => a - b));
  });

  test("shows a time to come back in that is whole seconds, for ever too", async () => {
    const argv = [`ann@${server.address}`, "--trace", "--send", "hello", "--retry", "forever"];
    const { stderr } = await connect(argv, { env });
    expect(stderr).toMatch(/"type":"login",.*"resume_for":\d+[,}]/);
  });

  test("shows neither password, token nor proof", async () => {
    const argv = [`ann@${server.address}`, "--trace", "--send", "hello"];
    const first = await connect(argv, { env });
    const second = await connect(argv);
    expect(second.stderr).toContain('"proof"');
    const stored = readFileSync(join(client, "tokens.json"), "utf8");
    const token = /prly_\w+/.exec(stored)?.[0] ?? "?";
    for (const shown of [first.stderr, second.stderr]) {
      expect(shown).not.toContain(PASSWORD);
      expect(shown).not.toContain(token.slice(0, 20));
      expect(shown).not.toMatch(/"(password|token|proof)":"(?!<)/);
    }
  });
});

test("--register makes an account where the server lets it, and says so where not", async () => {
  const argv = ["--register", "--send", "hello"];
  const refused = await connect([`bob@${server.address}`, ...argv], { env });
  expect(refused.exitCode).toBe(3);
  await using open = await serve(["--register"]);
  expect(await connect([`bob@${open.address}`, ...argv], { env })).toMatchObject({
    exitCode: 0,
    stdout: "hello\n",
  });
  const folded = await connect([`Анна@${open.address}`, ...argv], { env });
  expect(folded).toMatchObject({ exitCode: 0, stderr: "the name is stored as анна\n" });
  const taken = await connect([`bob@${open.address}`, ...argv], { env });
  expect(taken.exitCode).toBe(3);
  await open.stop();
});

test("--auth ip: greets an unknown address by the name it gives, then by itself", async () => {
  await using known = await serve(["--auth", "ip"]);
  const nameless = await connect([known.address, "--send", "x"]);
  expect(nameless.exitCode).toBe(2);
  expect(nameless.stderr).toContain("--user");
  expect((await connect([`Ann@${known.address}`, "--send", "x"])).exitCode).toBe(0);
  const again = await connect([known.address, "--json", "--send", "x"]);
  expect(again.stdout).toMatch(/"event":"logged-in","user":"Ann"/);
  await known.stop();
});
