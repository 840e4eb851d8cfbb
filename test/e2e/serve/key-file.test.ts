// The executable and key files: serve makes one that is its user's alone, and both sides refuse what is none.

import { existsSync, chmodSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { run, serve } from "../../support/executable.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";

setDefaultTimeout(90_000);

const SAY = ["--send", "hello", "--count", "1"];

let folder: TempFolder;
const at = (name: string) => join(folder.path, name);
beforeEach(() => (folder = tempFolder()));
afterEach(() => folder[Symbol.dispose]());

const check = (argv: string[]) =>
  run(["serve", "--check", "--port", "0", "--auth", "none", ...argv], { data: folder.path });

describe("--key-file", () => {
  test("is made when serve needs it, 32 bytes for its user alone, and said", async () => {
    for (const isNew of [true, false]) {
      await using server = await serve(["--auth", "none", "--key-file", at("key")], { data: folder.path });
      await server.stop();
      expect(server.stderr.text.includes(`created a new shared key: copy ${at("key")} to the clients`)).toBe(
        isNew,
      );
    }
    expect(readFileSync(at("key"), "utf8")).toMatch(/^[\da-f]{64}\n$/);
    expect(statSync(at("key")).mode & 0o777).toBe(0o600);
  });

  test("is not made by --check, which says where it would be, and where it could not", async () => {
    expect(await check(["--key-file", at("key")])).toMatchObject({
      exitCode: 0,
      stderr: `would create a new shared key: ${at("key")}\nthe configuration is valid\n`,
    });
    expect(existsSync(at("key"))).toBe(false);
    expect(await check(["--key-file", at("none/key")])).toMatchObject({
      exitCode: 1,
      stderr: `parley: error: there is no folder ${at("none")}\n`,
    });
  });

  test.each([
    ["read by others", "5a".repeat(32), 0o644, "chmod 600"],
    ["garbage", "my secret passphrase", 0o600, "openssl rand -hex 32"],
    ["empty", "", 0o600, "openssl rand -hex 32"],
    ["short", "5a".repeat(15), 0o600, "15 bytes"],
  ])("that is %s is refused by both sides, with the way out", async (_, text, mode, words) => {
    writeFileSync(at("key"), text);
    chmodSync(at("key"), mode);
    const connecting = run(["connect", "127.0.0.1:1", "--key-file", at("key"), ...SAY]);
    for (const { exitCode, stderr } of [await check(["--key-file", at("key")]), await connecting]) {
      expect(exitCode).toBe(1);
      expect(stderr).toContain(words);
      expect(stderr).not.toContain("passphrase");
    }
  });

  test("that is missing is not made by connect", async () => {
    const { exitCode, stderr } = await run(["connect", "127.0.0.1:1", "--key-file", at("key"), ...SAY]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("there is no key file");
    expect(existsSync(at("key"))).toBe(false);
  });
});
