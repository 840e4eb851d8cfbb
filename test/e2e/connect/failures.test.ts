// parley connect when something is missing: every way has its exit code, one sentence, and in time.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { HELLO_TIMEOUT_MS } from "../../../src/base/limits.ts";
import { addUser, deadPort, PASSWORD, portForLater, run, serve, start } from "../../support/executable.ts";
import { fakeServer, letIn } from "../../support/fake-server.ts";
import { tempFolder } from "../../support/folder.ts";
import { frame } from "../../support/peer.ts";
import { lacks, withFault } from "../../support/privileges.ts";

setDefaultTimeout(90_000);

/** One line of error, at most one of hint, and no stack. */
function expectSentence(stderr: string): void {
  const lines = stderr.trimEnd().split("\n");
  expect(lines[0]).toStartWith("parley: error: ");
  expect(lines.slice(1).filter((line) => !line.startsWith("parley: hint: "))).toEqual([]);
  expect(lines.length).toBeLessThanOrEqual(2);
}

describe("a login", () => {
  test("refused ends with 3, in the same words for a wrong password and an unknown user", async () => {
    using folder = tempFolder();
    await addUser(folder.path);
    await using server = await serve([], { data: folder.path });
    const env = { PARLEY_PASSWORD: "wrong horse" };
    const wrong = await run(["connect", `ann@${server.address}`, "--send", "x"], { env });
    const unknown = await run(["connect", `nobody@${server.address}`, "--send", "x"], { env });
    expect([wrong.exitCode, unknown.exitCode]).toEqual([3, 3]);
    expectSentence(wrong.stderr);
    expect(wrong.stderr).not.toContain("ann");
    expect(unknown.stderr).toBe(wrong.stderr);
    expect([wrong.stdout, unknown.stdout]).toEqual(["", ""]);
    await server.stop();
  });

  test("without a user ends with 2, naming --user, before the server is tired of waiting", async () => {
    await using server = await serve(["--login-timeout", "1h"]);
    const { exitCode, stderr } = await run(["connect", server.address], { stdin: "x\n" });
    expect(exitCode).toBe(2);
    expectSentence(stderr);
    expect(stderr).toContain("--user");
    await server.stop();
  });

  test("without a password ends with 2, naming --password-file", async () => {
    await using server = await serve([]);
    const { exitCode, stderr } = await run(["connect", `ann@${server.address}`], { stdin: "x\n" });
    expect(exitCode).toBe(2);
    expectSentence(stderr);
    expect(stderr).toContain("--password-file");
    await server.stop();
  });

  test("of a disabled user ends with 5", async () => {
    using folder = tempFolder();
    await addUser(folder.path);
    await run(["users", "disable", "ann", "--reason", "on holiday"], { data: folder.path });
    await using server = await serve([], { data: folder.path });
    const env = { PARLEY_PASSWORD: PASSWORD };
    const { exitCode, stderr } = await run(["connect", `ann@${server.address}`, "--send", "x"], { env });
    expect(exitCode).toBe(5);
    expectSentence(stderr);
    expect(stderr).toContain("on holiday");
    await server.stop();
  });
});

describe("nobody there", () => {
  test("ends with 1 and a hint", async () => {
    using dead = await deadPort();
    const { exitCode, stdout, stderr } = await run(["connect", `127.0.0.1:${dead.port}`, "--send", "x"]);
    expect([exitCode, stdout]).toEqual([1, ""]);
    expectSentence(stderr);
    expect(stderr).toContain(String(dead.port));
    expect(stderr).toContain("\nparley: hint: ");
  });

  test("with --wait ends with 1 after that time", async () => {
    using dead = await deadPort();
    const began = performance.now();
    const { exitCode } = await run(["connect", `127.0.0.1:${dead.port}`, "--wait", "400ms", "--send", "x"]);
    expect(exitCode).toBe(1);
    expect(performance.now() - began).toBeGreaterThanOrEqual(400);
  });

  test("yet: --wait waits for a server that comes later", async () => {
    const port = portForLater();
    const client = run(["connect", `127.0.0.1:${port}`, "--wait", "30s", "--send", "x"]);
    await run(["--version"]); // as long as the client's first try takes
    await using server = await serve(["--auth", "none", "--strict-port", "--port", String(port)]);
    expect(await client).toMatchObject({ exitCode: 0, stdout: "x\n", stderr: "" });
    await server.stop();
  });
});

describe("an address that cannot be reached is said in words", () => {
  test("when its interface does not exist", async () => {
    const { exitCode, stderr } = await run(["connect", "[fe80::1%nowhere]:1", "--no-tls", "--send", "x"]);
    expect(exitCode).toBe(1);
    expectSentence(stderr);
    expect(stderr).toContain("invalid address\n");
    expect(stderr).toContain("check that nowhere is an interface of this machine");
  });

  test.skipIf(lacks("strace")).each([
    ["EACCES", "cannot connect to 127.0.0.1:1: permission denied"],
    ["EADDRNOTAVAIL", "cannot connect to 127.0.0.1:1: this machine has no address or port for it"],
    ["EADDRINUSE", "cannot connect to 127.0.0.1:1: this machine has no address or port for it"],
    ["EINVAL", "cannot connect to 127.0.0.1:1: invalid address"],
  ])("when the system says %s", async (code, words) => {
    const prefix = withFault(`connect:error=${code}`);
    const { exitCode, stderr } = await run(["connect", "127.0.0.1:1", "--send", "x"], { prefix });
    expect(exitCode).toBe(1);
    expectSentence(stderr);
    expect(stderr).toStartWith(`parley: error: ${words}\n`);
    expect(stderr).not.toContain(code);
  });
});

test("no target ends with 2, saying what one looks like", async () => {
  const { exitCode, stderr } = await run(["connect"]);
  expect(exitCode).toBe(2);
  expect(stderr).toContain("[USER@]HOST[:PORT]");
});

describe("a server that is none", () => {
  test("but speaks HTTP, is called no parley server", async () => {
    using fake = await fakeServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n"));
    const { exitCode, stderr } = await run(["connect", fake.address, "--send", "x"]);
    expect(exitCode).toBe(1);
    expectSentence(stderr);
    expect(stderr).toContain("not a parley server");
  });

  test("but closes at once, is said", async () => {
    using fake = await fakeServer((socket) => socket.end());
    const { exitCode, stderr } = await run(["connect", fake.address, "--send", "x"]);
    expect(exitCode).toBe(1);
    expectSentence(stderr);
  });

  test("but speaks TLS, is met with the advice to do so, also bare", async () => {
    await using server = await serve(["--auth", "none", "--tls"]);
    const argv = ["connect", server.address, "--no-tls", "--bare", "--send", "x"];
    const { exitCode, stderr } = await run(argv);
    expect(exitCode).toBe(1);
    expectSentence(stderr);
    expect(stderr).toContain("the server uses TLS: use --tls");
    await server.stop();
  });

  test("and sends escape sequences, moves nothing on the screen", async () => {
    const error = { type: "error", code: "full", message: "\u001b[2J\u009b2J\u0007full\r\n\u202etxet" };
    using fake = await fakeServer((socket) => socket.end(frame(JSON.stringify(error))));
    const { exitCode, stderr } = await run(["connect", fake.address, "--send", "x"]);
    expect(exitCode).toBe(5);
    expectSentence(stderr);
    expect(stderr).not.toMatch(/[^\x20-\x7e\n]/);
  });
});

describe("a silent server", () => {
  test("--timeout ends it with 4 (bare)", async () => {
    using fake = await fakeServer(() => undefined);
    const { exitCode, stderr } = await run([
      "connect",
      "--bare",
      fake.address,
      "--send",
      "x",
      "--timeout",
      "2s",
    ]);
    expect(exitCode).toBe(4);
    expectSentence(stderr);
    expect(fake.received.text).toBe("\0\0\0\u0001x");
  });

  test("--timeout ends it with 4 after the login too", async () => {
    using fake = await fakeServer((socket, received) => void letIn(socket, received));
    const { exitCode } = await run(["connect", fake.address, "--send", "x", "--timeout", "2s"]);
    expect(exitCode).toBe(4);
    expect(fake.received.text).toContain("\0\0\0\u0001x");
  });

  test("--timeout counts from the start, also when no hello comes", async () => {
    using fake = await fakeServer(() => undefined);
    const began = performance.now();
    const { exitCode } = await run(["connect", fake.address, "--send", "x", "--timeout", "200ms"]);
    expect(exitCode).toBe(4);
    expect(performance.now() - began).toBeLessThan(HELLO_TIMEOUT_MS);
  });
});

describe("a server that ends in the middle", () => {
  test.each(["FIN", "RST"])("by %s: ends with 6, with the counts, and prints what came", async (how) => {
    using fake = await fakeServer(async (socket, received) => {
      await letIn(socket, received);
      await received.see("three");
      socket.write(frame("one"), () => (how === "FIN" ? socket.end() : void 0));
    });
    await using client = start(["connect", fake.address]);
    client.write("one\ntwo\nthree\n");
    await client.stdout.see("one\n");
    if (how === "RST") fake[Symbol.dispose]();
    expect(await client.exited).toBe(6);
    expect(client.stdout.text).toBe("one\n");
    expectSentence(client.stderr.text);
    expect(client.stderr.text).toContain("sent 3, ");
    expect(client.stderr.text).toContain("received 1");
  });

  test("inside a frame: ends with 6 and prints no part of it", async () => {
    using fake = await fakeServer(async (socket, received) => {
      await letIn(socket, received);
      await received.see("hello");
      socket.end(frame("a whole answer").subarray(0, 9));
    });
    const { exitCode, stdout, stderr } = await run(["connect", fake.address, "--send", "hello"]);
    expect([exitCode, stdout]).toEqual([6, ""]);
    expectSentence(stderr);
  });

  test("with a bye that says why: ends with 5 and those words", async () => {
    const bye = { type: "bye", code: "revoked", message: "the session was revoked" };
    using fake = await fakeServer(async (socket, received) => {
      await letIn(socket, received);
      await received.see("hello");
      socket.end(frame(JSON.stringify(bye), true));
    });
    const { exitCode, stderr } = await run(["connect", fake.address, "--send", "hello"]);
    expect(exitCode).toBe(5);
    expectSentence(stderr);
    expect(stderr).toContain("the session was revoked");
  });

  test("after an end, done but with fewer answers than --count: ends with 1", async () => {
    const bye = { type: "bye", code: "done", message: "done" };
    using fake = await fakeServer(async (socket, received) => {
      await letIn(socket, received);
      await received.see("hello");
      socket.end(Buffer.concat([frame("1"), frame(JSON.stringify(bye), true)]));
    });
    const { exitCode, stdout, stderr } = await run([
      "connect",
      fake.address,
      "--send",
      "hello",
      "--count",
      "2",
    ]);
    expect([exitCode, stdout]).toEqual([1, "1\n"]);
    expectSentence(stderr);
  });
});
