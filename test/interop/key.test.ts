// The shared key against CPython's own multiprocessing.connection, in both roles: whoever has the key comes in, and
// nobody else; HMAC-MD5, all that Pythons before 3.12 know, only where it is allowed.

import { join } from "node:path";
import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { run as runParley, serve, type Serving } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { findPythons } from "../support/pythons.ts";
import { Watched } from "../support/watched.ts";

setDefaultTimeout(90_000);

const SCRIPT = join(import.meta.dir, "key.py");
const folder = tempFolder();
const key = join(folder.path, "key");
const otherKey = join(folder.path, "other-key");

const pythons = findPythons();
if (pythons.length === 0) {
  test.skip("there is no Python 3 on this machine: its tests are left out", () => {});
}

let strict: Serving;
let lenient: Serving;
beforeAll(async () => {
  strict = await serve(["--bare", "--key-file", key, "--penalties", "off"]);
  writeFileSync(otherKey, `${"5a".repeat(32)}\n`, { mode: 0o600 });
  lenient = await serve(["--bare", "--key-file", key, "--allow-md5", "--penalties", "off"]);
});
afterAll(async () => {
  await strict.stop();
  await lenient.stop();
  folder[Symbol.dispose]();
});

const asClient = async (python: string, port: number, keyFile: string) => {
  const child = Bun.spawn([python, SCRIPT, "client", String(port), keyFile], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, said: (stdout + stderr).trim() };
};

/** A Listener of `python`, and parley connect talking to it. */
const asListener = async (python: string, keyFile: string, ...flags: string[]) => {
  const child = Bun.spawn([python, SCRIPT, "listen", key], { stdout: "pipe", stderr: "pipe" });
  const stdout = new Watched();
  const reading = (async () => {
    for await (const chunk of child.stdout) stdout.append(Buffer.from(chunk).toString());
    stdout.end();
  })();
  await stdout.see("\n");
  const address = `127.0.0.1:${stdout.text.trim()}`;
  const argv = ["connect", address, "--bare", "--key-file", keyFile, "--send", "hello", "--count", "1"];
  const { exitCode, stdout: answers, stderr } = await runParley([...argv, ...flags]);
  await child.exited;
  await reading;
  return { exitCode, answers, stderr, python: await child.stderr.text() };
};

const ALL = { code: 0, said: "all came back" };
const REFUSED = { code: 1, said: "refused: AuthenticationError" };

describe.each(pythons)("Python $version", ({ path: python, isModern }) => {
  test("its Client comes in where its digest is allowed", async () => {
    expect(await asClient(python, lenient.port, key)).toEqual(ALL);
    expect(await asClient(python, strict.port, key)).toEqual(isModern ? ALL : REFUSED);
  });

  test("its Client with another key stays out", async () => {
    expect(await asClient(python, strict.port, otherKey)).toEqual(REFUSED);
    expect(await asClient(python, lenient.port, otherKey)).toEqual(REFUSED);
  });

  test("parley connect comes in to its Listener, and stays out with another key", async () => {
    expect(await asListener(python, key, "--allow-md5")).toEqual({
      exitCode: 0,
      answers: "hello\n",
      stderr: "",
      python: "",
    });
    const refused = await asListener(python, otherKey, "--allow-md5");
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain("a different key");
    expect(refused.python).toBe("refused: AuthenticationError\n");
  });

  test("parley connect answers no MD5 challenge of its Listener unless told to", async () => {
    const { exitCode, stderr, python: said } = await asListener(python, key);
    expect(exitCode).toBe(isModern ? 0 : 1);
    expect(stderr).toContain(isModern ? "" : "--allow-md5");
    expect(said).toBe(isModern ? "" : "refused: EOFError\n");
  });
});
