// With --json every failure is an event on standard output, too: one object on one line, after all others, with the exit code
// and the line on standard error that the command has without the flag.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { addUser, deadPort, run, serve, shell } from "../support/executable.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";

setDefaultTimeout(90_000);

let folder: TempFolder;
let data: string;
beforeEach(() => {
  folder = tempFolder();
  data = join(folder.path, "data");
});
afterEach(() => folder[Symbol.dispose]());

interface ErrorEvent {
  event: string;
  code: string;
  message: string;
  hint: string | null;
  time?: string;
  server_code?: string;
}

interface Failure {
  exitCode: number;
  event: ErrorEvent;
  /** The lines of standard output before the event. */
  before: string[];
}

/** Runs the command without and with `--json`, which must differ in standard output only; returns what the event says. */
async function fail(argv: string[], options: { env?: Record<string, string>; stdin?: string } = {}) {
  const words = argv.includes("--json") ? argv : [...argv, "--json"];
  const plain = await run(
    words.filter((word) => word !== "--json"),
    { data, ...options },
  );
  const failed = await run(words, { data, ...options });
  expect([failed.exitCode, failed.stderr]).toEqual([plain.exitCode, plain.stderr]);
  const lines = failed.stdout.trimEnd().split("\n");
  const event = JSON.parse(lines.at(-1) ?? "") as ErrorEvent;
  expect(failed.stdout).toEndWith("\n");
  expect(event.event).toBe("error");
  expect(failed.stderr).toContain(`parley: error: ${event.message}\n`);
  if (event.hint === null) expect(failed.stderr).not.toContain("parley: hint:");
  else expect(failed.stderr).toContain(`parley: hint: ${event.hint}\n`);
  return { exitCode: failed.exitCode, event, before: lines.slice(0, -1) } satisfies Failure;
}

describe("an event, and the exit code, of", () => {
  test.each<[string[], number, string]>([
    [["serve", "--prot", "1"], 2, "usage"],
    [["serve", "--port", "x"], 2, "usage"],
    [["serve", "--json", "--service", "echo", "--", "cat"], 2, "usage"],
    [["serve", "--handler", "/no/such/handler.ts"], 1, "handler"],
    [["serve", "--log", "/no/such/folder/log"], 1, "failed"],
    [["connect"], 2, "usage"],
    [["connect", "127.0.0.1", "--send"], 2, "usage"],
    [["users", "add", "a b"], 2, "usage"],
    [["users", "lst"], 2, "usage"],
    [["users", "list"], 1, "file"],
    [["frob"], 2, "usage"],
  ])("%j", async (argv, exit, code) => {
    const { exitCode, event, before } = await fail(argv);
    expect([exitCode, event.code, before]).toEqual([exit, code, []]);
    // Events of a conversation have their time.
    expect(typeof event.time).toBe(argv[0] === "connect" ? "string" : "undefined");
  });

  test("each command of users, for a user that there is not", async () => {
    await addUser(data);
    for (const argv of [
      ["passwd", "bob", "--generate"],
      ["remove", "bob"],
      ["disable", "bob"],
      ["enable", "bob"],
      ["tag", "bob", "teacher"],
      ["sessions", "bob"],
      ["revoke", "--user", "bob"],
      ["hosts", "forget", "192.0.2.1"],
    ]) {
      const { exitCode, event } = await fail(["users", ...argv]);
      expect([argv, exitCode, event.code]).toEqual([argv, 1, "unknown"]);
    }
    const { exitCode, event } = await fail(["users", "add", "ann", "--generate"]);
    expect([exitCode, event.code]).toEqual([1, "exists"]);
  });

  test("a server that nothing listens for, after no other event", async () => {
    using dead = await deadPort();
    const { exitCode, event, before } = await fail(["connect", `127.0.0.1:${dead.port}`, "--send", "x"]);
    expect([exitCode, event.code, before]).toEqual([1, "network", []]);
  });

  test("a port that is busy", async () => {
    await using server = await serve(["--auth", "none"], { data: join(folder.path, "server") });
    const { exitCode, event } = await fail(["serve", "--strict-port", "--port", `${server.port}`]);
    expect([exitCode, event.code]).toEqual([1, "listen"]);
    await server.stop();
  });

  test("a login that is refused, after the events before it", async () => {
    await addUser(data);
    await using server = await serve(["--penalties", "off"], { data });
    const { exitCode, event, before } = await fail(["connect", `ann@${server.address}`, "--send", "x"], {
      env: { PARLEY_PASSWORD: "wrong horse" },
    });
    expect([exitCode, event.code, event.server_code]).toEqual([3, "login_refused", "bad_credentials"]);
    expect(before.map((line) => (JSON.parse(line) as ErrorEvent).event)).toEqual(["connected"]);
    expect(Object.keys(event)).toEqual(["time", "event", "code", "server_code", "message", "hint"]);
    await server.stop();
  });

  test("a key that is not known, and one that is not that of --pin", async () => {
    await using server = await serve(["--auth", "none", "--tls"], { data: join(folder.path, "server") });
    const unknown = await fail(["connect", server.address, "--tls", "--send", "x"]);
    expect([unknown.exitCode, unknown.event.code]).toEqual([1, "pin_unknown"]);
    const pin = `sha256/${"A".repeat(43)}=`;
    const changed = await fail(["connect", server.address, "--pin", pin, "--send", "x"]);
    expect([changed.exitCode, changed.event.code]).toEqual([1, "pin_changed"]);
    await server.stop();
  });

  test("a conversation whose answers did not all come, after its answers and its bye", async () => {
    await using server = await serve(["--auth", "none"], { data: join(folder.path, "server") });
    const argv = ["connect", server.address, "--send", "x", "--count", "2"];
    const { exitCode, stdout } = await run([...argv, "--json"], { data });
    const events = stdout
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as ErrorEvent).event);
    expect([exitCode, events]).toEqual([1, ["connected", "logged-in", "sent", "received", "bye", "error"]]);
    await server.stop();
  });
});

describe("no event", () => {
  test("without --json, and with one that stands behind --", async () => {
    for (const argv of [
      ["serve", "--prot"],
      ["serve", "--port", "x", "--", "cat", "--json"],
    ]) {
      expect(await run(argv, { data })).toMatchObject({ exitCode: 2, stdout: "" });
    }
  });

  test("where standard output itself fails: one error, and the end", async () => {
    await addUser(data);
    const { exitCode, stderr } = await shell('"$@" >&-', ["users", "list", "--json"], { data });
    expect([exitCode, stderr.match(/parley: error:/g)]).toEqual([1, ["parley: error:"]]);
  });

  test.skipIf(!existsSync("/dev/full"))("on a full disk, where the exit code stays", async () => {
    const { exitCode, stderr } = await shell('"$@" >/dev/full', ["users", "add", "a b", "--json"], { data });
    expect([exitCode, stderr.match(/parley: error:/g)]).toEqual([2, ["parley: error:"]]);
  });

  test("for a reader that has left, where the exit code stays", async () => {
    const script = 'set -o pipefail; "$@" | true; exit "${PIPESTATUS[0]}"';
    const { exitCode } = await shell(script, ["users", "add", "a b", "--json"], { data });
    expect(exitCode).toBe(2);
  });
});
