// parley users beside a running server: what it changes holds there at once, without anybody asking for it.

import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { within } from "../../support/attack.ts";
import {
  addUser,
  PASSWORD,
  run,
  serve,
  start,
  type Running,
  type Serving,
} from "../../support/executable.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";

setDefaultTimeout(90_000);

const env = { PARLEY_PASSWORD: PASSWORD };
let folder: TempFolder;
let data: string;
let server: Serving;
beforeEach(async () => {
  folder = tempFolder();
  data = join(folder.path, "server");
  await addUser(data);
  await addUser(data, "bob");
  server = await serve([], { data });
});
afterEach(async () => {
  await server.stop();
  await server[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

/** A client in a conversation that keeps its input open; its data folder is its user's. */
async function converse(user: string, flags: string[] = []): Promise<Running> {
  const client = start(["connect", `${user}@${server.address}`, ...flags], {
    env,
    data: join(folder.path, user),
  });
  client.write("hello\n");
  await client.stdout.see("hello\n");
  return client;
}

/** Runs the command; the conversation of ann ends with 5 and `words`, bob's goes on. */
async function expectEnd(argv: string[], words: RegExp, stdin?: string): Promise<void> {
  await using ann = await converse("ann");
  await using bob = await converse("bob");
  const { exitCode, stderr } = await run(["users", ...argv], { data, stdin });
  expect([exitCode, stderr]).toEqual([0, ""]);
  expect(await within("the end of ann", ann.exited)).toBe(5);
  expect(ann.stderr.text).toMatch(words);
  bob.write("still here\n");
  await bob.stdout.see("still here\n");
  bob.endInput();
  expect(await bob.exited).toBe(0);
}

describe("a live conversation ends with bye after", () => {
  test("remove", () => expectEnd(["remove", "ann"], /removed|revoked|ended/));
  test("disable, with the reason", () =>
    expectEnd(["disable", "ann", "--reason", "on holiday"], /on holiday/));
  test("passwd", () => expectEnd(["passwd", "ann", "--password-stdin"], /password/, "another horse"));
  test("import --replace, also with the same password", async () => {
    const all = (await run(["users", "export"], { data })).stdout;
    const ann = all.split("\n").find((line) => line.includes('"ann"'));
    await expectEnd(["import", "-", "--replace"], /removed|revoked|ended/, `${ann}\n`);
  });
  test("revoke --user", () => expectEnd(["revoke", "--user", "ann"], /revoked/));
});

test("revoke ID ends the conversations of that token alone", async () => {
  await using first = await converse("ann");
  const listed = await run(["users", "sessions", "ann", "--json"], { data });
  const { id } = JSON.parse(listed.stdout) as { id: string };
  await using tokenless = await converse("ann", ["--no-token"]);
  await using other = await converse("bob");
  const { exitCode, stdout } = await run(["users", "revoke", id], { data });
  expect([exitCode, stdout]).toEqual([0, "1 session revoked\n"]);
  expect(await first.exited).toBe(5);
  for (const client of [tokenless, other]) {
    client.write("still here\n");
    await client.stdout.see("still here\n");
    client.endInput();
    expect(await client.exited).toBe(0);
  }
});

test("revoke --all ends every token, and says how many", async () => {
  await using ann = await converse("ann");
  await using bob = await converse("bob");
  const { stdout } = await run(["users", "revoke", "--all", "--json"], { data });
  expect(JSON.parse(stdout)).toEqual({ event: "revoked", count: 2 });
  expect([await ann.exited, await bob.exited]).toEqual([5, 5]);
});

test("revoke wants exactly one of ID, --user and --all, and one that exists", async () => {
  for (const argv of [[], ["--all", "--user", "ann"], ["x", "--all"]]) {
    expect((await run(["users", "revoke", ...argv], { data })).exitCode).toBe(2);
  }
  for (const argv of [["00000000"], ["--user", "nobody"]]) {
    const { exitCode, stderr } = await run(["users", "revoke", ...argv], { data });
    expect(exitCode).toBe(1);
    expect(stderr).toStartWith("parley: error: there is no ");
  }
});

test("passwd --keep-sessions leaves them alone", async () => {
  await using ann = await converse("ann");
  await using bob = await converse("bob");
  await run(["users", "passwd", "ann", "--keep-sessions", "--password-stdin"], {
    data,
    stdin: "another horse",
  });
  await run(["users", "disable", "bob"], { data });
  expect(await bob.exited).toBe(5); // the server has seen both changes
  ann.write("still here\n");
  await ann.stdout.see("still here\n");
  ann.endInput();
  expect(await ann.exited).toBe(0);
});

test("a user added while it runs can log in; one disabled cannot, until enabled", async () => {
  const login = async () =>
    (await run(["connect", `cat@${server.address}`, "--send", "x"], { env })).exitCode;
  /** Sooner or later a login ends with `code`. */
  const expectLogin = async (code: number) => {
    const asked = async () => {
      while ((await login()) !== code) continue; // each try takes a process
    };
    await within(`a login with ${code}`, asked());
  };
  await run(["users", "add", "cat", "--password-stdin"], { data, stdin: PASSWORD });
  await expectLogin(0);
  await run(["users", "disable", "cat"], { data });
  await expectLogin(5);
  await run(["users", "enable", "cat"], { data });
  await expectLogin(0);
});

test("what ended a conversation is told after what was sent before is answered", async () => {
  await using ann = await converse("ann");
  const lines = Array.from({ length: 2000 }, (_, i) => `line ${i}\n`).join("");
  ann.write(lines);
  await ann.stdout.see("line 1999\n");
  await run(["users", "disable", "ann"], { data });
  expect(await ann.exited).toBe(5);
  expect(ann.stdout.text).toBe(`hello\n${lines}`);
});
