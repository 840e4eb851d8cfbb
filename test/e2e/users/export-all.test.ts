// parley users export --all and import --all: everything moves to another data folder, and clients go on with their tokens.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { emptyDocument, formatDocument } from "../../../src/auth/document.ts";
import { within } from "../../support/attack.ts";
import { addUser, PASSWORD, run, serve, shell, start, type Options } from "../../support/executable.ts";
import { FOREIGN } from "../../support/hashes.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";

setDefaultTimeout(90_000);

let folder: TempFolder;
let data: string;
let other: string;
beforeEach(() => {
  folder = tempFolder();
  data = join(folder.path, "data");
  other = join(folder.path, "other");
});
afterEach(() => folder[Symbol.dispose]());

const users = (argv: string[], options: Options = {}) => run(["users", ...argv], { data, ...options });
const store = (at: string) => readFileSync(join(at, "users.json"), "utf8");

/** A server's data, with a login of ann, whose client remembers its token. */
async function used(client: string): Promise<void> {
  await addUser(data);
  await addUser(data, "bob");
  await users(["hosts", "name", "192.0.2.7", "Lab"]);
  await using server = await serve([], { data });
  const env = { PARLEY_PASSWORD: PASSWORD };
  const { exitCode } = await run(["connect", `ann@${server.address}`, "--send", "x"], { env, data: client });
  expect(exitCode).toBe(0);
  await server.stop();
}

test("a server moves to another folder: ann's token logs in there, and an export has the same bytes", async () => {
  const client = join(folder.path, "client");
  await used(client);
  const file = join(folder.path, "all.ndjson");
  const { stdout, stderr } = await users(["export", "--all"]);
  expect(stderr).toBe("");
  writeFileSync(file, stdout);
  expect(await users(["import", "--all", file], { data: other })).toMatchObject({
    exitCode: 0,
    stdout: "imported 2 users, 1 token, 1 host, skipped 0, replaced 0\n",
    stderr: "",
  });
  expect((await users(["export", "--all"], { data: other })).stdout).toBe(stdout);

  const { server: id } = JSON.parse(store(data)) as { server: string };
  await using server = await serve([], { data: other });
  const tokens = JSON.parse(readFileSync(join(client, "tokens.json"), "utf8")) as { tokens: object[] };
  tokens.tokens = tokens.tokens.map((token) => ({ ...token, server: server.address }));
  writeFileSync(join(client, "tokens.json"), JSON.stringify(tokens));
  const back = await run(["connect", `ann@${server.address}`, "--no-input", "--send", "hi"], {
    data: client,
  });
  expect([back.exitCode, back.stdout, id]).toEqual([0, "hi\n", JSON.parse(stdout.split("\n")[0]!).server]);
  await server.stop();
});

test("what is there already is refused, skipped or replaced, and a replaced user's conversation ends", async () => {
  await used(join(folder.path, "client"));
  const all = (await users(["export", "--all"])).stdout;
  const before = store(data);
  const again = await users(["import", "--all", "-"], { stdin: all });
  expect([again.exitCode, again.stdout]).toEqual([1, ""]);
  expect(again.stderr).toStartWith(
    "parley: error: 2 users (ann, bob), 1 token, 1 host (192.0.2.7) already exist: nothing was imported\n",
  );
  expect(store(data)).toBe(before);
  const skipped = await users(["import", "--all", "-", "--skip-existing", "--json"], { stdin: all });
  expect(JSON.parse(skipped.stdout)).toEqual({
    event: "imported",
    users: 0,
    tokens: 0,
    hosts: 0,
    skipped: 4,
    replaced: 0,
  });

  await using server = await serve([], { data });
  await using ann = start(["connect", `ann@${server.address}`], { env: { PARLEY_PASSWORD: PASSWORD } });
  ann.write("hello\n");
  await ann.stdout.see("hello\n");
  expect((await users(["import", "--all", "-", "--replace"], { stdin: all })).exitCode).toBe(0);
  expect(await within("the end of ann", ann.exited)).toBe(5);
  expect((await users(["export", "--all"])).stdout).toBe(all);
  await server.stop();
});

test("the lines of each export are told apart, and both imports say which flag is right", async () => {
  await addUser(data);
  const [some, all] = [(await users(["export"])).stdout, (await users(["export", "--all"])).stdout];
  const wrong = await users(["import", "-"], { data: other, stdin: all });
  expect([wrong.exitCode, wrong.stdout, wrong.stderr]).toEqual([
    1,
    "",
    "parley: error: line 1: it is of an export of everything: nothing was imported\nparley: hint: import it with --all\n",
  ]);
  const wrongToo = await users(["import", "--all", "-"], { data: other, stdin: some });
  expect([wrongToo.exitCode, wrongToo.stdout, wrongToo.stderr]).toEqual([
    1,
    "",
    "parley: error: line 1: it is not of an export of everything: nothing was imported\n" +
      "parley: hint: import users alone without --all\n",
  ]);
  const cut = await users(["import", "--all", "-"], { data: other, stdin: all.split("\n")[0]! });
  expect(cut.stderr).toStartWith(
    "parley: error: the first line says 1 user, and there are 0: nothing was imported\n",
  );
});

test("what an older or newer parley has written is carried, or named", async () => {
  await users(["hosts", "name", "192.0.2.7", "Lab"]);
  const file = JSON.parse(store(data)) as Record<string, object>;
  const at = "2026-01-02T03:04:05Z";
  const bob = { password: "plain", created: at, disabled: null, later: { x: 1 } };
  writeFileSync(join(data, "users.json"), JSON.stringify({ ...file, users: { bob }, rooms: {}, quota: 1 }));
  const { stdout, stderr } = await users(["export", "--all"]);
  expect(stderr).toBe("not exported, since this parley does not know it: rooms, quota\n");
  const imported = await users(["import", "--all", "-"], { data: other, stdin: stdout });
  expect([imported.exitCode, imported.stderr]).toEqual([
    0,
    expect.stringContaining("cannot use the password hash of user bob: "),
  ]);
  expect(JSON.parse(store(other))).toMatchObject({ users: { bob } });
  expect((await users(["export", "--all"], { data: other })).stdout).toBe(stdout);
});

test("many accounts move in seconds, and wait for a slow reader", async () => {
  const document = emptyDocument();
  document.server = "abcdefgh-1234";
  const at = new Date().toISOString();
  const later = new Date(Date.now() + 86_400_000).toISOString();
  const key = Buffer.alloc(32, 1).toString("base64");
  for (let n = 0; n < 20_000; n++) {
    const password = FOREIGN["one lane"];
    document.users.set(`user-${n}`, { id: `${n}`, password, created: at, disabled: null });
    document.tokens.set(n.toString(36).padStart(8, "0"), {
      user: `user-${n}`,
      key,
      created: at,
      used: at,
      expires: later,
    });
  }
  await users(["hosts", "name", "192.0.2.7", "Lab"]); // makes the folder
  writeFileSync(join(data, "users.json"), formatDocument(document));
  const script = `"$@" | { sleep 0.2; cat; } > all.ndjson
    "$1" users import --all all.ndjson --data copy >/dev/null && "$1" users export --all --data copy | cmp - all.ndjson && wc -l < all.ndjson`;
  const { stdout, stderr } = await shell(script, ["users", "export", "--all"], { data });
  expect([stdout.trim(), stderr]).toEqual(["40001", ""]);
});
