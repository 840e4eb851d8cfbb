// A hostile server and what it costs a client: what was not printed yet holds up what is read, no announcement costs memory, and
// no answer makes the client dial in a loop.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { FLOODS, ENDLESS, floodClient } from "../support/attack/hostile-server.ts";
import { run } from "../support/executable.ts";
import { fakeServer, letIn } from "../support/fake-server.ts";
import { frame } from "../support/peer.ts";

setDefaultTimeout(90_000);

const MIB = 1024 * 1024;
const FLOOD_BYTES = 80 * MIB;
/** A chunk of the shortest frames becomes many lines of a trace, or many characters of JSON. */
const MOST_MIB = 48;

describe.skipIf(!existsSync("/proc/self/status"))("memory does not grow with what a server sends:", () => {
  test.each([...FLOODS, ENDLESS].map((flood) => [flood.name, flood] as const))("%s", async (_, flood) => {
    const { growth, sent } = await floodClient(flood, FLOOD_BYTES);
    expect(sent).toBeGreaterThan(0);
    expect(growth).toBeLessThan(MOST_MIB);
  });
});

test("lines of standard error that nobody has read yet are all printed later", async () => {
  const lines = 2000;
  using server = await fakeServer(async (socket, received) => {
    await letIn(socket, received);
    for (let n = 0; n < lines; n++) {
      socket.write(frame(JSON.stringify({ type: "stderr", text: `${n} ${"x".repeat(1000)}` }), true));
    }
    socket.end(frame(JSON.stringify({ type: "bye", code: "done", message: "done", status: 0 }), true));
  });
  const { stderr, exitCode } = await run(["connect", server.address, "--send", "x"]);
  expect(stderr.match(/^\d+(?= x+$)/gm)).toEqual(Array.from({ length: lines }, (_, n) => `${n}`));
  expect(exitCode).toBe(0);
});

describe("--max-frame", () => {
  /** A client of a server that sends one message of `bytes` bytes. */
  async function receive(bytes: number, ...argv: string[]) {
    using server = await fakeServer(async (socket, received) => {
      await letIn(socket, received);
      await received.see("hello");
      socket.write(frame("y".repeat(bytes)));
      socket.end(frame(JSON.stringify({ type: "bye", code: "done", message: "done", status: 0 }), true));
    });
    const { exitCode, stdout, stderr } = await run(["connect", server.address, "--send", "hello", ...argv]);
    return { exitCode, length: stdout.length, stderr };
  }

  test("is the longest message that a client accepts", async () => {
    expect(await receive(1024, "--max-frame", "1kb")).toEqual({ exitCode: 0, length: 1025, stderr: "" });
    const { exitCode, length, stderr } = await receive(1025, "--max-frame", "1kb");
    expect([exitCode, length]).toEqual([6, 0]);
    expect(stderr).toContain("frame of 1025 bytes is over the limit of 1024");
    expect(stderr).toContain("\nparley: hint: accept longer messages with --max-frame SIZE\n");
  });

  test("is 16 MiB without the flag", async () => {
    expect(await receive(16 * MIB)).toEqual({ exitCode: 0, length: 16 * MIB + 1, stderr: "" });
    expect(await receive(16 * MIB + 1)).toMatchObject({ exitCode: 6, length: 0 });
    expect(await receive(16 * MIB + 1, "--max-frame", "17mb")).toMatchObject({ exitCode: 0 });
  });
});
