// Resumes that arrive late, what they confirm, and what is sent again: the protocol where the network reorders connections.

import { describe, expect, test } from "bun:test";
import { until, within } from "../support/attack.ts";
import { Peer } from "../support/peer.ts";
import { DURABLE, payloads, reconnect, resumeLogin, resumeOf, type Json } from "../support/resume.ts";
import { PASSWORD, startServer } from "../support/server.ts";

/** The next control message of `type`, as text frames are passed over. */
async function control(peer: Peer, type: string): Promise<Json> {
  for (;;) {
    const next = await within(type, peer.frame());
    if (next === null) throw new Error(`the stream ended without ${type}`);
    if (!next.control) continue;
    const message = JSON.parse(next.payload.toString()) as Json;
    if (message["type"] === type) return message;
  }
}

describe("a resume on a connection that was opened before the session's present one", () => {
  async function lateAndPresent(server: Awaited<ReturnType<typeof startServer>>) {
    const first = await server.peer();
    const resume = resumeOf(await first.logIn("ann", PASSWORD, DURABLE));
    // It is opened, and its login is delayed on the way.
    const late = await server.peer();
    const hello = await late.message();
    first.reset();
    await server.event("lost");
    const [present, welcome] = await reconnect(server.port, resume, 0);
    expect(welcome).toMatchObject({ type: "welcome", resumed: true });
    late.json(resumeLogin(resume, 0, hello));
    return { late, present };
  }

  test("is told to try again, and the present one goes on", async () => {
    await using server = await startServer();
    const { late, present } = await lateAndPresent(server);
    using _ = late;
    using __ = present;
    expect(await late.message()).toMatchObject({
      type: "error",
      code: "busy",
      retry_after: expect.any(Number),
    });
    present.send("still here");
    expect(await payloads(present, 1)).toEqual(["still here"]);
  });
});

test("what a hook has not finished is received, and not confirmed; it is confirmed when the hook is done", async () => {
  const gate = Promise.withResolvers<void>();
  const seen: string[] = [];
  await using server = await startServer({
    service: {
      async message(_, message) {
        seen.push(message.text());
        if (seen.length === 2) await gate.promise;
      },
    },
  });
  const first = await server.peer();
  const resume = resumeOf(await first.logIn("ann", PASSWORD, DURABLE));
  first.send("one");
  first.send("two");
  await until("messages", ["one", "two"], () => seen);
  first.reset();
  await server.event("lost");
  using second = await server.peer();
  second.seesAcks = true;
  second.json(resumeLogin(resume, 0, await second.message()));
  expect(await second.message()).toMatchObject({ resumed: true, received: 2 });
  expect(await control(second, "ack")).toMatchObject({ received: 1 });
  gate.resolve();
  expect(await control(second, "ack")).toMatchObject({ received: 2 });
  expect(seen).toEqual(["one", "two"]);
});

test("what is kept is sent again, however small --max-backlog is", async () => {
  const size = 4096;
  const count = 200;
  await using server = await startServer({
    maxFrame: size,
    maxBacklog: 4 * size,
    service: {
      async message(session) {
        for (let n = 0; n < count; n++) {
          await session.writable();
          session.send(Buffer.alloc(size, `${n} `));
        }
      },
    },
  });
  const first = await server.peer();
  const resume = resumeOf(await first.logIn("ann", PASSWORD, DURABLE));
  first.send("go");
  await payloads(first, 1);
  first.reset();
  await server.event("lost");
  await until("kept", true, () => server.server.stats().kept >= (count - 60) * size);
  const [second, welcome] = await reconnect(server.port, resume, 0);
  using _ = second;
  expect(welcome).toMatchObject({ resumed: true });
  expect((await payloads(second, count)).map((text) => text.split(" ")[0])).toEqual(
    Array.from({ length: count }, (_, n) => `${n}`),
  );
});

test("a session that said all it had, and whose client did not come back for it, ended as done", async () => {
  await using server = await startServer({
    resumeForMs: 50,
    service: { message: (session) => session.finish() },
  });
  const peer = await server.peer();
  await peer.logIn("ann", PASSWORD, DURABLE);
  peer.send("bye");
  await control(peer, "bye");
  peer.reset();
  const { fields } = await server.event("disconnected");
  expect(fields).toMatchObject({ bye: "done" });
});

describe("a session that its client has left is not come back to, while that connection is still open:", () => {
  test.each(["after the server's bye", "before it"])("%s", async (when) => {
    await using server = await startServer({ service: { message: (session) => session.finish() } });
    const peer = await server.peer();
    using _ = peer;
    peer.answersFin = false;
    const resume = resumeOf(await peer.logIn("ann", PASSWORD, DURABLE));
    if (when.startsWith("after")) {
      peer.send("go");
      await control(peer, "bye");
    }
    peer.control({ type: "bye", code: "left", message: "" });
    const [other, answer] = await reconnect(server.port, resume, 0);
    using __ = other;
    expect(answer).toMatchObject({ type: "refused", code: "session_gone" });
  });
});

test("an acknowledgement of more than was sent is an error, also of a client that will not come back", async () => {
  await using server = await startServer();
  const peer = await server.peer();
  using _ = peer;
  await peer.logIn("ann", PASSWORD, { control: true, resume_for: 0 });
  peer.control({ type: "ack", received: 7 });
  expect(await control(peer, "bye")).toMatchObject({ code: "bad_message" });
});
