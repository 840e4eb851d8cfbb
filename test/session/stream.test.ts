// A session whose messages are a stream of bytes: each side ends its output alone, the window is wide, and what the other end of
// the stream did is told.

import { expect, test } from "bun:test";
import { connectClient } from "../../src/client/connect.ts";
import { MAX_UNACKNOWLEDGED_BYTES, MAX_UNACKNOWLEDGED_STREAM_BYTES } from "../../src/base/limits.ts";
import { ServiceEnding, type Service, type Session } from "../../src/services/service.ts";
import { until, within } from "../support/attack.ts";
import type { Peer } from "../support/peer.ts";
import { DURABLE, payloads, reconnect, resumeOf } from "../support/resume.ts";
import { startServer } from "../support/server.ts";

/** Answers "end" with the end of its output, and goes on listening. */
function halfClosing() {
  const heard: string[] = [];
  const service: Service = {
    message(session, message) {
      const text = message.text();
      heard.push(text);
      session.send(text);
      if (text === "end") session.endOutput();
    },
  };
  return { heard, service };
}

/** The next `count` frames that are no acknowledgement. */
async function said(peer: Peer, count: number): Promise<string[]> {
  const found: string[] = [];
  while (found.length < count) {
    const frame = await within(`frame ${found.length + 1} of ${count}`, peer.frame());
    const text = frame?.payload.toString() ?? "FIN";
    if (!text.startsWith('{"type":"ack"')) found.push(text);
  }
  return found;
}

const END = '{"type":"end"}';

test("the server ends its output behind its answers, and goes on listening", async () => {
  const { heard, service } = halfClosing();
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  await peer.enter(DURABLE);
  peer.send("one");
  peer.send("end");
  expect(await said(peer, 3)).toEqual(["one", "end", END]);
  peer.send("two");
  await until("heard", ["one", "end", "two"].join(), () => heard.join());
});

test("it says so again after a resume, behind what is sent again", async () => {
  const { service } = halfClosing();
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter(DURABLE));
  peer.send("one");
  peer.send("end");
  expect(await payloads(peer, 2)).toEqual(["one", "end"]);
  peer.reset();
  await server.event("lost");
  const [again] = await reconnect(server.port, resume, 0);
  using _ = again;
  expect(await said(again, 3)).toEqual(["one", "end", END]);
  again.control({ type: "end" });
  expect(JSON.parse((await said(again, 1)).join(""))).toMatchObject({ type: "bye", code: "done" });
});

test("a client without control frames gets a FIN, and may go on", async () => {
  const { heard, service } = halfClosing();
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  peer.answersFin = false;
  await peer.enter({});
  peer.send("end");
  expect(await payloads(peer, 1)).toEqual(["end"]);
  expect(await peer.frame()).toBeNull();
  peer.send("more");
  await until("heard", true, () => heard.includes("more"));
});

test("our client is told once that the output has ended, in each session", async () => {
  const { service } = halfClosing();
  await using server = await startServer({ auth: "none", service });
  const client = await connectClient({ host: "127.0.0.1", port: server.port });
  let ends = 0;
  const got: string[] = [];
  const outcome = client.converse((payload) => void got.push(Buffer.from(payload).toString()), {
    outputEnded: () => void ends++,
  });
  client.send("end");
  await until("ends", 1, () => ends);
  client.send("more");
  client.end();
  expect(await outcome).toMatchObject({ kind: "bye", code: "done" });
  expect([ends, got]).toEqual([1, ["end", "more"]]);
});

test.each(["unreachable", "reset"] as const)("a service may say that its other end was %s", async (code) => {
  const service: Service = {
    message() {
      throw new ServiceEnding(code, "the target is away");
    },
  };
  await using server = await startServer({ auth: "none", service });
  const client = await connectClient({ host: "127.0.0.1", port: server.port });
  const outcome = client.converse(() => undefined);
  client.send("x");
  expect(await outcome).toMatchObject({
    kind: "bye",
    code,
    message: "the target is away",
    status: undefined,
  });
  expect(await server.event("target-failed")).toMatchObject({
    fields: { code, reason: "the target is away" },
  });
});

test.each([
  ["bytes", MAX_UNACKNOWLEDGED_STREAM_BYTES],
  [undefined, MAX_UNACKNOWLEDGED_BYTES],
] as const)("messages: %p: so much may be unacknowledged: %d", async (messages, window) => {
  let session: Session | undefined;
  const service: Service = { messages, open: (opened) => void (session = opened), message: () => undefined };
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  const welcome = await peer.enter({ ...DURABLE, window: 64 * 1024 * 1024 });
  expect(welcome["window"]).toBe(messages === undefined ? undefined : window);
  await until("a session", true, () => session !== undefined);
  const count = window / LENGTH - 1; // with their headers a little less than the window
  for (let sent = 0; sent < count; sent++) {
    await session?.writable();
    session?.send(Buffer.alloc(LENGTH));
  }
  await payloads(peer, count);
  await session?.writable();
  session?.send(Buffer.alloc(LENGTH));
  await payloads(peer, 1);
  let hasRoom = false;
  const room = session?.writable()?.then(() => void (hasRoom = true));
  peer.control({ type: "ping", n: 1 });
  expect(await said(peer, 1)).toEqual(['{"type":"pong","n":1}']);
  expect([room === undefined, hasRoom]).toEqual([false, false]);
  peer.control({ type: "ack", received: count + 1 });
  await within("room", room ?? Promise.resolve());
});

const LENGTH = 64 * 1024;
