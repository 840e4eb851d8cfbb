// parley users tag, and what services see of it: session.tags, PARLEY_TAGS.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { until } from "../../support/attack.ts";
import { addUser, PASSWORD, run, serve, start, type Running } from "../../support/executable.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";
import { lacksTools } from "../../support/privileges.ts";
import { startRedis } from "../../support/redis.ts";

setDefaultTimeout(90_000);

const env = { PARLEY_PASSWORD: PASSWORD };
let folder: TempFolder;
let data: string;
beforeEach(async () => {
  folder = tempFolder();
  data = join(folder.path, "data");
  await addUser(data);
});
afterEach(() => folder[Symbol.dispose]());

const users = (...argv: string[]) => run(["users", ...argv], { data });
const store = () => readFileSync(join(data, "users.json"), "utf8");
const listed = async () => JSON.parse((await users("list", "--json")).stdout) as { tags: string[] };

test("sets tags in order and each once, instead of the earlier ones; none removes them", async () => {
  const before = store();
  const tagged = await users("tag", "ann", "teacher", "Staff-2", "teacher", "б_1");
  expect(tagged).toMatchObject({
    exitCode: 0,
    stdout: "user ann has the tags Staff-2, teacher, б_1\n",
    stderr: "",
  });
  expect((await listed()).tags).toEqual(["Staff-2", "teacher", "б_1"]);
  expect((await users("list")).stdout).toMatch(/ TAGS\nann .* Staff-2, teacher, б_1\n$/);
  expect(JSON.parse((await users("tag", "ann", "x", "--json")).stdout)).toEqual({
    event: "tagged",
    user: "ann",
    tags: ["x"],
  });
  expect((await users("tag", "ann")).stdout).toBe("user ann has no tags\n");
  expect((await users("list")).stdout).not.toContain("TAGS");
  expect((await listed()).tags).toEqual([]);
  const unnumbered = (text: string) => text.replace(/"rev": \d+/, "");
  expect(unnumbered(store())).toBe(unnumbered(before));
});

test.each<[argv: string[], exit: number, message: string]>([
  [["tag", "bob", "x"], 1, "there is no user bob"],
  [["tag", "ann", "x", "a b"], 2, 'invalid tag "a b"'],
  [["tag", "ann", "a.b"], 2, 'invalid tag "a.b"'],
  [["tag", "ann", ""], 2, 'invalid tag ""'],
  [["tag", "ann", "a".repeat(33)], 2, "32 letters"],
  [["tag", "ann", ...Array.from("abcdefghijklmnopq")], 2, "17 tags exceed the limit of 16"],
  [["tag"], 2, "missing argument NAME"],
])("%j is refused, and changes nothing", async (argv, exit, message) => {
  const before = store();
  const { exitCode, stderr } = await users(...argv);
  expect([exitCode, stderr]).toEqual([exit, expect.stringContaining(message)]);
  expect(store()).toBe(before);
});

test("--help has the limits and that tags may follow each other", async () => {
  const { stdout } = await users("tag", "--help");
  expect(stdout).toContain("users tag NAME [TAG…]");
  expect(stdout.replace(/\s+/g, " ")).toContain("up to 16 words of at most 32 letters, digits, - and _");
});

test.each([[[]], [["--all"]]])("export and import carry them, with %j", async (flags) => {
  await users("tag", "ann", "teacher");
  const file = join(folder.path, "users.ndjson");
  writeFileSync(file, (await users("export", ...flags)).stdout);
  await users("tag", "ann");
  expect((await users("import", ...flags, "--replace", file)).exitCode).toBe(0);
  expect((await listed()).tags).toEqual(["teacher"]);
});

const ASKING = `export default {
  message(session, message) {
    if (message.text() === "change") session.tags.push("root");
    session.send(session.tags.join(" ") || "none");
  },
};`;

/** Asks over one conversation until the answer is `wanted`: a change takes its moment. */
function asks(ann: Running): (wanted: string) => Promise<void> {
  let seen = 0;
  return (wanted) =>
    until("the tags", wanted, async () => {
      const from = seen;
      ann.write("?\n");
      seen = await ann.stdout.see("\n", from);
      return ann.stdout.text.slice(from, seen).trim();
    });
}

test("session.tags follows a running conversation, and cannot be changed from there", async () => {
  const handler = join(folder.path, "asking.ts");
  writeFileSync(handler, ASKING);
  await using server = await serve(["--handler", handler], { data });
  await using ann = start(["connect", `ann@${server.address}`], { env, data: join(folder.path, "ann") });
  const hears = asks(ann);
  await hears("none");
  await users("tag", "ann", "teacher", "staff");
  await hears("staff teacher");
  await users("tag", "ann");
  await hears("none");
  await users("tag", "ann", "teacher");
  await hears("teacher");
  ann.write("change\n");
  expect(await ann.exited).not.toBe(0);
  expect((await listed()).tags).toEqual(["teacher"]);
  await server.stop();
});

test("without an account there are none, also where an account has the name", async () => {
  await users("tag", "ann", "teacher");
  const handler = join(folder.path, "asking.ts");
  writeFileSync(handler, ASKING);
  await users("hosts", "name", "127.0.0.1", "ann");
  for (const auth of ["none", "ip"]) {
    await using server = await serve(["--auth", auth, "--handler", handler], { data });
    expect((await run(["connect", server.address, "--send", "?"])).stdout).toBe("none\n");
    await server.stop();
  }
});

test("a program has PARLEY_TAGS as they are at its start, whatever --pass-env names", async () => {
  await users("tag", "ann", "teacher", "staff");
  const flags = ["--pass-env", "PARLEY_TAGS", "--", "sh", "-c", 'echo "<$PARLEY_TAGS>"'];
  await using server = await serve(flags, { data, env: { PARLEY_TAGS: "root" } });
  const said = async () =>
    (await run(["connect", `ann@${server.address}`], { env, data: join(folder.path, "ann") })).stdout;
  expect(await said()).toBe("<staff teacher>\n");
  await users("tag", "ann");
  await until("the variable of a program", "<>\n", said);
  await server.stop();
});

test.skipIf(lacksTools("redis-server"))(
  "of accounts in an engine: all servers see a change, also after their connections to it were cut",
  async () => {
    await using redis = await startRedis({ appendonly: true });
    const store = { PARLEY_STORE: redis.url };
    const elsewhere = (argv: string[], stdin?: string) =>
      run(["users", ...argv], { data, env: store, ...(stdin === undefined ? {} : { stdin }) });
    expect((await elsewhere(["add", "ann", "--password-stdin"], PASSWORD)).exitCode).toBe(0);
    const handler = join(folder.path, "asking.ts");
    writeFileSync(handler, ASKING);
    const at = (name: string) => ({ data: join(folder.path, name), env: store });
    await using first = await serve(["--handler", handler], at("first"));
    await using second = await serve(["--handler", handler], at("second"));
    await using third = await serve(["--", "sh", "-c", 'echo "<$PARLEY_TAGS>"'], at("third"));
    await using here = start(["connect", `ann@${first.address}`], { env });
    await using there = start(["connect", `ann@${second.address}`], { env });
    const conversations = [asks(here), asks(there)];
    const all = async (wanted: string) => {
      await Promise.all(conversations.map((hears) => hears(wanted)));
      await until("the variable of a program", `<${wanted === "none" ? "" : wanted}>\n`, async () => {
        return (await run(["connect", `ann@${third.address}`], { env })).stdout;
      });
    };
    const tag = async (...words: string[]) =>
      expect((await elsewhere(["tag", "ann", ...words])).exitCode).toBe(0);

    await all("none");
    await tag("teacher", "staff");
    await all("staff teacher");
    await tag();
    await all("none");
    expect(JSON.parse((await elsewhere(["list", "--json"])).stdout)).toMatchObject({ tags: [] });
    await redis.killClients();
    await tag("cut");
    await all("cut");
    await redis.kill();
    await redis.restart();
    await tag("back");
    await all("back");
    expect((await elsewhere(["remove", "ann", "--yes"])).exitCode).toBe(0);
    expect(await Promise.all([here.exited, there.exited])).toEqual([5, 5]);
    for (const server of [first, second, third]) await server.stop();
  },
);
