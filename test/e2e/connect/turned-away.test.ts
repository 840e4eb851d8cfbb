// parley connect and a server that turns it away for a while: who waits, for how long, and what is said of it.

import { expect, setDefaultTimeout, test } from "bun:test";
import type { Socket } from "node:net";
import { run } from "../../support/executable.ts";
import { fakeServer, HELLO, letIn, WELCOME, type FakeServer } from "../../support/fake-server.ts";
import { frame } from "../../support/peer.ts";
import { Screen } from "../../support/screen.ts";
import type { Watched } from "../../support/watched.ts";

setDefaultTimeout(90_000);

const json = (message: object) => frame(JSON.stringify(message));
const control = (message: object) => frame(JSON.stringify(message), true);
const DONE = control({ type: "bye", code: "done", message: "done", status: 0 });
const penalty = (seconds?: number) => ({
  type: "error",
  code: "penalised",
  message: "too many failed connections from here",
  retry_after: seconds,
});

/** A server that answers one dial after the other as `answers` say, and all further ones as the last. */
function serverOf(
  ...answers: ((socket: Socket, heard: Watched, from: number) => unknown)[]
): Promise<FakeServer> {
  let dials = 0;
  return fakeServer((socket, heard) => {
    const answer = answers[Math.min(dials++, answers.length - 1)];
    void answer?.(socket, heard, heard.text.length);
  });
}

const turnAway = (seconds?: number) => (socket: Socket) => socket.end(json(penalty(seconds)));

async function serve(socket: Socket, heard: Watched): Promise<void> {
  await letIn(socket, heard);
  await heard.see('"end"');
  socket.end(DONE);
}

test("without --wait a penalty ends with 5, and the hint says how to wait", async () => {
  using server = await serverOf(turnAway(80));
  const { exitCode, stderr } = await run(["connect", server.address, "--send", "x"]);
  expect(exitCode).toBe(5);
  expect(stderr).toBe(
    "parley: error: too many failed connections from here\nparley: hint: wait until then with --wait 85s\n",
  );
});

test("--wait that ends before the penalty does not wait at all", async () => {
  using server = await serverOf(turnAway(80));
  const { exitCode, stderr } = await run(["connect", server.address, "--send", "x", "--wait", "60s"]);
  expect(exitCode).toBe(5);
  expect(stderr).toContain("--wait 85s");
});

test.each([
  ["--wait", "30s"],
  ["--retry", "1"],
])("%s %s waits for the end of a penalty", async (flag, value) => {
  using server = await serverOf(turnAway(3), serve);
  const { exitCode, stderr } = await run(["connect", server.address, "--send", "x", flag, value]);
  expect([exitCode, stderr]).toEqual([0, ""]);
});

test("--retry N waits N times", async () => {
  using server = await serverOf(turnAway(2.1));
  const { exitCode } = await run(["connect", server.address, "--send", "x", "--retry", "1"]);
  expect(exitCode).toBe(5);
});

test.each([
  ["penalised", 1],
  ["penalised", undefined],
  ["full", undefined],
  ["too_many_from_address", undefined],
  ["busy", undefined],
])("a resume that hears %s (retry_after %p) is tried again", async (code, retry_after) => {
  const session = { ...WELCOME, session: "s", resume_for: 60 };
  using server = await serverOf(
    async (socket, heard) => {
      socket.write(json(HELLO));
      await heard.see('"login"');
      socket.write(json({ ...session, resume_key: Buffer.alloc(32).toString("base64") }));
      await heard.see("hello");
      socket.resetAndDestroy();
    },
    (socket) => socket.end(json({ ...penalty(retry_after), code })),
    async (socket, heard, from) => {
      socket.write(json(HELLO));
      await heard.see('"resume"', from);
      socket.write(json({ ...session, resumed: true, received: 1 }));
      socket.write(control({ type: "ack", received: 1 }));
      await heard.see('"end"', from);
      socket.end(DONE);
    },
  );
  const { exitCode, stderr } = await run(["connect", server.address, "--send", "hello", "--retry", "3"]);
  expect(stderr).toMatch(/^reconnected after [\d.]+ \w+, nothing lost\n$/);
  expect(exitCode).toBe(0);
});

test("a person is told once what is waited for, and how long", async () => {
  using server = await serverOf(turnAway(0.2), turnAway(0.2), turnAway(0.2), letIn);
  await using screen = new Screen(["connect", server.address]);
  await screen.see("fake at");
  const said = screen.text.text.match(/too many failed connections from here \(next try in 200 ms\)/g);
  expect(said).toHaveLength(1);
});
