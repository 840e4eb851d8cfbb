// parley connect --bench: a row for each workload, and no figure where there is nothing to measure.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { run, serve } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";

setDefaultTimeout(90_000);

describe("connect --bench", () => {
  test("has a row for each workload, with every message counted", async () => {
    await using server = await serve(["--auth", "none"]);
    const { stdout, stderr, exitCode } = await run([
      "connect",
      server.address,
      "--bench",
      "--json",
      "--count",
      "300",
    ]);
    expect([stderr, exitCode]).toEqual(["", 0]);
    const rows = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, number>)
      .filter(({ bytes }) => bytes !== undefined);
    expect(rows.map(({ bytes, in_flight, messages }) => [bytes, in_flight, messages])).toEqual([
      [64, 1, 300],
      [64, 32, 300],
      [16_384, 4, 300],
    ]);
    for (const { per_second = 0, p50_us = 0, p99_us = 0, max_us = 0 } of rows) {
      expect(per_second).toBeGreaterThan(0);
      expect([p50_us > 0, p99_us >= p50_us, max_us >= p99_us]).toEqual([true, true, true]);
    }
    await server.stop();
  });

  test("for a person it is a table; what is too long for the server is left out", async () => {
    await using server = await serve(["--auth", "none", "--max-frame", "1kb"]);
    const { stdout } = await run(["connect", server.address, "--bench", "--count", "10"]);
    expect(stdout.split("\n").map((line) => line.trim().split(/ {2,}/).slice(0, 2))).toEqual([
      ["message", "in flight"],
      ["64 B", "1"],
      ["64 B", "32"],
      [""],
    ]);
    await server.stop();
  });

  test("asks nothing of a chat, where people would have to read it", async () => {
    await using server = await serve(["--auth", "none", "--service", "chat"]);
    const { stdout, stderr, exitCode } = await run(["connect", server.address, "--bench"]);
    expect([stdout, exitCode]).toEqual(["", 1]);
    expect(stderr).toContain("--bench does not run in a chat: every member would get its messages");
    const next = await run(["connect", server.address, "--send", "anybody?"]);
    expect(next.stdout).toContain(": anybody?\n");
    expect(next.stdout).not.toContain("--bench"); // a newcomer hears what was said before
    await server.stop();
  });

  describe("with a service that", () => {
    async function measure(code: string): Promise<[number, number, string]> {
      using folder = tempFolder();
      const handler = join(folder.path, "handler.ts");
      await Bun.write(handler, `export default {\n${code}\n};\n`);
      await using server = await serve(["--auth", "none", "--handler", handler]);
      const argv = ["connect", server.address, "--bench", "--count", "40", "--timeout", "2s"];
      const { stdout, stderr, exitCode } = await run(argv);
      await server.stop();
      return [exitCode, stdout.split("\n").length - 1, stderr];
    }
    const greets = `open(session) { session.send("welcome"); session.send("say something"); },`;

    test.each([
      ["sends back what it is sent", "message(session, message) { session.send(message); },"],
      ["answers otherwise", "message(session, message) { session.send(`${message.length} bytes`); },"],
    ])("greets, and %s: the greeting is no answer", async (_, message) => {
      expect(await measure(greets + message)).toEqual([0, 4, ""]);
    });

    test("greets, and answers nothing: that is said", async () => {
      const [exitCode, rows, said] = await measure(`${greets} message() {},`);
      expect([exitCode, rows]).toEqual([4, 0]);
      expect(said).toContain("did not answer in time");
    });

    test("answers a message with two: that is said", async () => {
      const twice = "message(session, message) { session.send(message); session.send(message); },";
      const [exitCode, rows, said] = await measure(twice);
      expect([exitCode, rows]).toEqual([1, 0]);
      expect(said).toContain("cannot measure: one message got 2 answers\n");
    });

    test("sends something else back, later: that is said", async () => {
      const message = `message(session, message) {
        session.data = (session.data ?? 0) + 1;
        session.send(session.data === 20 ? "something else" : message);
      },`;
      const [exitCode, , said] = await measure(message);
      expect(exitCode).toBe(1);
      expect(said).toContain("the server sent a wrong answer");
    });
  });

  test("says so when no answer comes", async () => {
    using folder = tempFolder();
    const handler = join(folder.path, "silent.ts");
    await Bun.write(handler, "export default () => undefined;\n");
    await using silent = await serve(["--auth", "none", "--handler", handler]);
    const { stderr, exitCode } = await run(["connect", silent.address, "--bench", "--timeout", "200ms"]);
    expect(stderr).toContain("the server did not answer in time");
    expect(exitCode).toBe(4);
    await silent.stop();
  });
});
