// A user file with a journal, as the executable uses it: a server and commands beside it, a disk that fails, and a stop.

import { chmodSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, setDefaultTimeout, test } from "bun:test";
import { addUser as put } from "../../../src/auth/accounts.ts";
import { emptyDocument, formatDocument } from "../../../src/auth/document.ts";
import { FileStore } from "../../../src/auth/file-store.ts";
import { within } from "../../support/attack.ts";
import { addUser, PASSWORD, run, serve, start } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { lacks, withFault } from "../../support/privileges.ts";

setDefaultTimeout(90_000);

/** A data folder with a user ann, many others and a journal. */
async function many(data: string) {
  const path = join(data, "users.json");
  const document = emptyDocument();
  document.isJournaled = true;
  for (let n = 0; n < 300; n++) put(document, `user-${n}`, "hash", new Date());
  writeFileSync(path, formatDocument(document), { mode: 0o600 });
  await addUser(data);
  const journal = join(data, "users.journal");
  return {
    path,
    journal,
    isDisabled: (name: string) => new FileStore(path).document.users.get(name)?.disabled !== null,
  };
}

test("a command's change is a line, which ends a conversation, and the server's stop folds it", async () => {
  using folder = tempFolder();
  const { path, journal } = await many(folder.path);
  await using server = await serve([], { data: folder.path });
  await using ann = start(["connect", `ann@${server.address}`], { env: { PARLEY_PASSWORD: PASSWORD } });
  ann.write("hello\n");
  await ann.stdout.see("hello\n");
  const before = readFileSync(path, "utf8");
  expect(
    (await run(["users", "disable", "ann", "--reason", "on holiday"], { data: folder.path })).exitCode,
  ).toBe(0);
  expect(await within("the end of ann", ann.exited)).toBe(5);
  expect(ann.stderr.text).toContain("on holiday");
  expect(readFileSync(path, "utf8")).toBe(before);
  await server.stop();
  expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({
    users: { ann: { disabled: { reason: "on holiday" } } },
  });
  expect(readFileSync(journal, "utf8").split("\n")).toHaveLength(2);
});

test("a journal that others could read is refused", async () => {
  using folder = tempFolder();
  const { journal } = await many(folder.path);
  chmodSync(journal, 0o644);
  const { exitCode, stderr } = await run(["users", "list"], { data: folder.path });
  expect([exitCode, stderr]).toEqual([1, expect.stringContaining(journal)]);
});

test("a link leads to a file with the journal that stands beside that file", async () => {
  using folder = tempFolder();
  using other = tempFolder();
  await many(other.path);
  symlinkSync(join(other.path, "users.json"), join(folder.path, "users.json"));
  expect((await run(["users", "disable", "user-1"], { data: folder.path })).exitCode).toBe(0);
  expect(readFileSync(join(other.path, "users.journal"), "utf8")).toContain("user-1");
  const { stdout } = await run(["users", "list", "--json"], { data: folder.path });
  expect(stdout).toContain('"ann"');
});

test.skipIf(lacks("strace"))("a full disk changes nothing", async () => {
  using folder = tempFolder();
  const data = folder.path;
  const { journal, isDisabled } = await many(data);
  const before = readFileSync(journal, "utf8");
  const prefix = withFault("pwrite64:error=ENOSPC:when=1");
  const { exitCode, stderr } = await run(["users", "disable", "ann"], { data, prefix });
  expect([exitCode, stderr]).toEqual([
    1,
    expect.stringContaining(`cannot write ${journal}: the disk is full`),
  ]);
  expect([readFileSync(journal, "utf8"), isDisabled("ann")]).toEqual([before, false]);
  expect((await run(["users", "disable", "ann"], { data })).exitCode).toBe(0);
  expect(isDisabled("ann")).toBe(true);
});

test.skipIf(lacks("strace"))("a disk that does not confirm a line is said to have not", async () => {
  using folder = tempFolder();
  const data = folder.path;
  const { journal } = await many(data);
  const prefix = withFault("fsync:error=EIO:when=1");
  const { exitCode, stderr } = await run(["users", "disable", "ann"], { data, prefix });
  expect([exitCode, stderr]).toEqual([
    1,
    expect.stringContaining(`${journal} was changed, but the disk did not confirm the change`),
  ]);
  expect((await run(["users", "enable", "ann"], { data })).exitCode).toBe(0);
});
