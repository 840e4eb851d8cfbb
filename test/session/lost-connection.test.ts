// What a service says, and when, while its client's connection is lost: nothing of it may be lost, doubled or reordered.

import { describe, expect, test } from "bun:test";
import { connectClient } from "../../src/client/connect.ts";
import { MAX_UNACKNOWLEDGED_FRAMES } from "../../src/base/limits.ts";
import type { Session, Service } from "../../src/services/service.ts";
import { PATIENCE_MS, until, within } from "../support/attack.ts";
import { reconnect, DURABLE, payloads, resumeOf } from "../support/resume.ts";
import { frame } from "../support/peer.ts";
import { startServer } from "../support/server.ts";

/** A service whose hook is at work until the test lets it go on. */
function gated() {
  const gates: (() => void)[] = [];
  const service: Service = {
    async message(session, message) {
      await new Promise<void>((resolve) => gates.push(resolve));
      session.send(message);
    },
  };
  return { gates, service };
}

test("an answer given after a reset, by a hook that was at work, is not lost", async () => {
  const { gates, service } = gated();
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter(DURABLE));
  peer.send("one");
  await until("hooks at work", 1, () => gates.length);
  peer.reset();
  await until("open sockets", 0, () => server.server.connections);
  gates.shift()?.();
  const [again, welcome] = await reconnect(server.port, resume, 0);
  using _ = again;
  expect(welcome).toMatchObject({ resumed: true, received: 1 });
  expect(await payloads(again, 1)).toEqual(["one"]);
  again.control({ type: "bye", code: "left", message: "" });
});

test("a session whose hook never settles falls asleep at a reset, and expires", async () => {
  let closed = 0;
  await using server = await startServer({
    auth: "none",
    keepaliveMs: 100,
    resumeForMs: 100,
    service: { message: () => new Promise<void>(() => undefined), close: () => void closed++ },
  });
  using peer = await server.peer();
  await peer.enter(DURABLE);
  peer.send("one");
  peer.send("two");
  await within("the ping that shows that it is at work", peer.message());
  peer.reset();
  await within("session-expired", server.event("session-expired"));
  expect([closed, server.server.sessions]).toEqual([1, 0]);
});

test.each([
  ["two that fill the cork, and a small one", [40_000, 40_000, 5]],
  ["one that just fits, and small ones", [10, 65_532, 10, 10]],
  ["one that is larger than the cork", [10, 65_533, 10, 200_000, 10]],
])("messages of any length in one turn are sent again once: %s", async (_, lengths) => {
  const messages = lengths.map((length, index) => String(index).repeat(length));
  await using server = await startServer({ auth: "none" });
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter(DURABLE));
  peer.raw(Buffer.concat(messages.map((message) => frame(message))));
  await payloads(peer, messages.length);
  peer.reset();
  await server.event("lost");
  const [again] = await reconnect(server.port, resume, 0);
  using __ = again;
  again.send("last");
  const expected = [...messages, "last"].map((text) => text.length);
  expect((await payloads(again, expected.length)).map((text) => text.length)).toEqual(expected);
  again.control({ type: "bye", code: "left", message: "" });
});

test("no hook is entered again while one is at work, also behind what waited for acknowledgements", async () => {
  let running = 0;
  let most = 0;
  const gates: (() => void)[] = [];
  let isSlow = false;
  await using server = await startServer({
    auth: "none",
    service: {
      async message(session, message) {
        most = Math.max(most, ++running);
        if (isSlow) await new Promise<void>((resolve) => gates.push(resolve));
        running--;
        session.send(message);
      },
    },
  });
  using peer = await server.peer();
  await peer.enter(DURABLE);
  for (let n = 1; n <= 1024; n++) peer.send(String(n));
  await payloads(peer, 1024);
  isSlow = true;
  peer.send("parked");
  peer.control({ type: "ping", n: 1 });
  expect(await peer.message()).toMatchObject({ type: "pong" }); // so it has arrived
  peer.control({ type: "ack", received: 1024 });
  await until("hooks at work", 1, () => gates.length);
  peer.send("next");
  peer.control({ type: "end" });
  peer.control({ type: "ping", n: 2 });
  expect(await within("pong", peer.message())).toMatchObject({ type: "pong", n: 2 }); // so these have, too
  expect([most, gates.length]).toEqual([1, 1]);
  isSlow = false;
  gates.shift()?.();
  expect(await payloads(peer, 2)).toEqual(["parked", "next"]);
  peer.control({ type: "bye", code: "left", message: "" });
});

test("nothing is delivered before open has settled, whatever connection it comes over", async () => {
  const gate = Promise.withResolvers<void>();
  const seen: string[] = [];
  const opened = Promise.withResolvers<Session>();
  await using server = await startServer({
    auth: "none",
    service: {
      async open(session) {
        opened.resolve(session);
        await gate.promise;
        seen.push("open");
      },
      message(session, message) {
        seen.push(message.text());
        session.send(message);
      },
    },
  });
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter(DURABLE));
  await opened.promise;
  const [again] = await reconnect(server.port, resume, 0);
  using _ = again;
  again.send("early");
  using neighbour = await server.peer();
  await neighbour.enter(); // what was sent before it came has arrived
  expect(seen).toEqual([]);
  gate.resolve();
  expect(await payloads(again, 1)).toEqual(["early"]);
  expect(seen).toEqual(["open", "open", "early"]); // the neighbour's too
  again.control({ type: "bye", code: "left", message: "" });
});

test("what a member of a room does not acknowledge is not kept without bound while it is awake", async () => {
  const members: Session[] = [];
  await using server = await startServer({
    auth: "none",
    service: { open: (session) => void members.push(session), message: () => undefined },
  });
  using peer = await server.peer();
  await peer.enter(DURABLE);
  peer.socket.on("data", () => undefined); // it reads all
  const line = "x".repeat(8192);
  for (let n = 0; n < 800 && server.server.sessions > 0; n++) {
    members[0]?.send(line);
    if (n % 8 === 7) await new Promise((resolve) => setImmediate(resolve));
  }
  await within("its end, or a bound", server.event("disconnected"));
});

test("a client that is given more than it may leave unacknowledged is dropped once, and nothing is kept for it", async () => {
  let kept: number | undefined;
  await using server = await startServer({
    auth: "none",
    service: {
      message(session) {
        for (let n = 0; n < 20_000; n++) session.send("x".repeat(1000));
        kept = server.server.stats().kept;
      },
    },
  });
  using peer = await server.peer();
  await peer.enter(DURABLE);
  peer.send("go on");
  await within("its end", server.event("disconnected"));
  expect(server.events.filter(({ event }) => event === "dropped")).toHaveLength(1);
  expect(kept).toBe(0);
});

/** Answers with as much as there is window, and more, waiting where it should. */
async function pour(session: Session): Promise<void> {
  for (let n = 0; n < LONG_ANSWER; n++) {
    session.send(String(n));
    await session.writable();
  }
}
const LONG_ANSWER = 2 * MAX_UNACKNOWLEDGED_FRAMES + 10;

/** As a program that does not read on before its output is taken. */
function plugged(): Service {
  const poured = Promise.withResolvers<void>();
  return {
    open: (session) => void pour(session).then(poured.resolve),
    message: () => poured.promise,
  };
}

describe("a hook that waits for the client to acknowledge hears it when it does", () => {
  const hooks: [string, Service][] = [
    ["open", { open: pour, message: (session) => session.finish() }],
    ["message", { message: async (session, message) => (await pour(session), session.send(message)) }],
    ["a message behind what open began", plugged()],
    ["end", { message: () => undefined, end: async (session) => (await pour(session), session.finish()) }],
  ];
  test.each(hooks)("%s", async (hook, service) => {
    await using server = await startServer({ auth: "none", service });
    const retry = {
      times: 1,
      forMs: PATIENCE_MS,
      resend: false,
      onLost: () => undefined,
      onResumed: () => undefined,
    };
    const client = await connectClient({ host: "127.0.0.1", port: server.port, retry });
    let count = 0;
    const outcome = client.converse(() => void count++);
    client.send("one");
    if (hook === "message") client.send("two");
    client.end();
    expect(await within("bye", outcome)).toMatchObject({ kind: "bye", code: "done" });
    expect([count, client.unacknowledged]).toEqual([
      hook === "message" ? 2 * LONG_ANSWER + 2 : LONG_ANSWER,
      0,
    ]);
  });

  /** Says more than there is window at once, and waits only then. */
  async function burst(session: Session): Promise<void> {
    for (let n = 0; n < LONG_ANSWER; n++) session.send("x".repeat(50));
    await session.writable();
    session.send("last");
  }
  const bursts: [string, Service][] = [
    ["open", { open: burst, message: (session) => session.finish() }],
    ["message", { message: burst }],
    ["end", { message: () => undefined, end: async (session) => (await burst(session), session.finish()) }],
  ];
  test.each(bursts)("also when it waits before it has returned: %s", async (_hook, service) => {
    await using server = await startServer({ auth: "none", service });
    using peer = await server.peer();
    await peer.enter(DURABLE);
    peer.send("one");
    peer.control({ type: "end" });
    await payloads(peer, LONG_ANSWER);
    peer.control({ type: "ack", received: LONG_ANSWER });
    expect(await payloads(peer, 1)).toEqual(["last"]);
    peer.control({ type: "bye", code: "left", message: "" });
  });

  test("also when it goes on over another connection, and what else came is delivered behind it", async () => {
    let running = 0;
    await using server = await startServer({
      auth: "none",
      service: {
        async message(session, message) {
          if (++running > 1) throw new Error("entered again");
          await pour(session);
          session.send(message);
          running--;
        },
      },
    });
    using peer = await server.peer();
    const resume = resumeOf(await peer.enter(DURABLE));
    peer.send("one");
    await payloads(peer, 100);
    peer.reset();
    await server.event("lost");
    const [again] = await reconnect(server.port, resume, 100);
    using _ = again;
    again.send("two");
    const got: string[] = [];
    for (let received = 100; received < 2 * LONG_ANSWER + 2; received++) {
      got.push(...(await payloads(again, 1)));
      if (received % 200 === 0) again.control({ type: "ack", received });
    }
    expect([got[0], got[LONG_ANSWER - 100], got.at(-1)]).toEqual(["100", "one", "two"]);
    again.control({ type: "bye", code: "left", message: "" });
  });
});

test("one that never acknowledges is not waited for when it is back, either", async () => {
  const opened = Promise.withResolvers<Session>();
  await using server = await startServer({
    auth: "none",
    service: { open: (session) => opened.resolve(session), message: () => undefined },
  });
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter({ control: true, resume_for: undefined }));
  const session = await opened.promise;
  peer.reset();
  await server.event("lost");
  const poured = pour(session); // waits, there being nobody
  const [again] = await reconnect(server.port, resume, 0);
  using _ = again;
  expect((await payloads(again, LONG_ANSWER)).at(-1)).toBe(String(LONG_ANSWER - 1));
  await poured;
  again.control({ type: "bye", code: "left", message: "" });
});

test("a service that has finished is not told that there is no more input, whenever the client says so", async () => {
  const seen: string[] = [];
  await using server = await startServer({
    auth: "none",
    service: {
      message: (session) => session.finish(),
      end: () => void seen.push("end"),
      close: () => void seen.push("close"),
    },
  });
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter(DURABLE));
  peer.send("one");
  expect(await peer.message()).toMatchObject({ type: "bye", code: "done" });
  peer.control({ type: "end" });
  peer.reset();
  await server.event("lost");
  const [again] = await reconnect(server.port, resume, 0);
  using _ = again;
  again.control({ type: "end" });
  again.control({ type: "bye", code: "left", message: "" });
  await server.event("disconnected");
  expect(seen).toEqual(["close"]);
});

test("empty messages of one who does not acknowledge are not kept without number", async () => {
  await using server = await startServer({ auth: "none" });
  using peer = await server.peer();
  await peer.enter(DURABLE);
  peer.socket.on("data", () => undefined); // it reads all
  const many = Buffer.alloc(4 * 8192);
  for (let n = 0; n < 8 && server.server.sessions > 0; n++) {
    await new Promise((sent) => peer.socket.write(many, sent));
  }
  expect((await within("its end", server.event("dropped"))).fields).toMatchObject({ code: "too_slow" });
});

test("what a hook has taken is acknowledged while the next one is at work and more waits", async () => {
  const gate = Promise.withResolvers<void>();
  let taken = 0;
  await using server = await startServer({
    auth: "none",
    service: { message: () => (++taken > 2 ? gate.promise : Promise.resolve()) },
  });
  using peer = await server.peer();
  await peer.enter(DURABLE);
  peer.seesAcks = true;
  peer.raw(Buffer.concat(["1", "2", "3", "4"].map((text) => frame(text))));
  expect(await within("an ack", peer.message())).toEqual({ type: "ack", received: 2 });
  gate.resolve();
  peer.control({ type: "bye", code: "left", message: "" });
});

test("a hook that fails while its session sleeps ends it, and is logged", async () => {
  const begun = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  await using server = await startServer({
    auth: "none",
    service: { message: () => (begun.resolve(), gate.promise) },
  });
  using peer = await server.peer();
  await peer.enter(DURABLE);
  peer.send("one");
  await begun.promise;
  peer.reset();
  await server.event("lost");
  gate.reject(new Error("the disk is full"));
  expect((await within("the failure", server.event("service-failed"))).fields).toMatchObject({ conn: 1 });
  expect(server.server.sessions).toBe(0);
});
