// Pythons of this machine as peers: docs/client.py as it is, the proof of a token made with hashlib and hmac, and
// multiprocessing.connection, which speaks bare frames by itself. Each Python under ~/.pyenv, and the one on PATH.

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { addUser, PASSWORD, serve, type Serving } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { findPythons } from "../support/pythons.ts";

setDefaultTimeout(90_000);

const CLIENT = join(import.meta.dir, "..", "..", "docs", "client.py");
const TOKEN = join(import.meta.dir, "token_proof.py");
const BARE = join(import.meta.dir, "bare.py");

const pythons = findPythons();
if (pythons.length === 0) {
  test.skip("there is no Python 3 on this machine: its tests are left out", () => {});
}

let server: Serving;
let bare: Serving;
const folder = tempFolder();
beforeAll(async () => {
  await addUser(folder.path);
  [server, bare] = await Promise.all([serve([], { data: folder.path }), serve(["--bare"])]);
});
afterAll(async () => {
  await server.stop();
  await bare.stop();
  folder[Symbol.dispose]();
});

describe.each(pythons)("Python $version", ({ path: python }) => {
  const run = async (argv: string[], stdin = "") => {
    const child = Bun.spawn([python, ...argv], { stdin: Buffer.from(stdin), stdout: "pipe", stderr: "pipe" });
    const [stdout, stderr, code] = await Promise.all([
      child.stdout.text(),
      child.stderr.text(),
      child.exited,
    ]);
    return { code, stdout, stderr };
  };

  test("docs/client.py logs in, sends lines and prints the answers", async () => {
    const argv = [CLIENT, "127.0.0.1", String(server.port), "ann", PASSWORD];
    const lines = "hello\n\nпривет, мир\n你好\nlast";
    expect(await run(argv, lines)).toEqual({ code: 0, stdout: `${lines}\n`, stderr: "" });
  });

  test("docs/client.py says that a wrong password was refused", async () => {
    const argv = [CLIENT, "127.0.0.1", String(server.port), "ann", "wrong horse"];
    expect(await run(argv, "never sent\n")).toEqual({
      code: 1,
      stdout: "",
      stderr: "wrong user name or password\n",
    });
  });

  test("comes back with the proof of its token, which is good for one connection", async () => {
    const result = await run([TOKEN, String(server.port), "ann", PASSWORD]);
    expect(result).toEqual({ code: 0, stdout: "came back\nrefused token_refused\n", stderr: "" });
  });

  test("multiprocessing.connection holds a conversation in bare frames", async () => {
    expect(await run([BARE, String(bare.port)])).toEqual({ code: 0, stdout: "all came back\n", stderr: "" });
  });
});

test("docs/client.py is at most 20 lines and needs nothing but the standard library", async () => {
  const lines = (await Bun.file(CLIENT).text()).trimEnd().split("\n");
  expect(lines.length).toBeLessThanOrEqual(20);
  const modules = lines.flatMap(
    (line) => /^(?:import|from) ([\w, ]+)/.exec(line)?.[1]?.trim().split(/,\s*/) ?? [],
  );
  const allowed = ["socket", "struct", "json", "hashlib", "sys"];
  expect(modules.filter((name) => !allowed.includes(name))).toEqual([]);
});
