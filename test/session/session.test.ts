// The service contract: order, promises, throws, ends — and that one conversation's fate is never another's.

import { describe, expect, test } from "bun:test";
import type { Session, Service } from "../../src/services/service.ts";
import { startServer } from "../support/server.ts";

const start = (service: Service) => startServer({ auth: "none", service });

describe("hooks", () => {
  test("a promise holds the next message of that conversation back, and no other's", async () => {
    const gates: (() => void)[] = [];
    let running = 0;
    let most = 0;
    await using server = await start({
      async message(session, message) {
        if (message.text() === "free") return session.send("free");
        most = Math.max(most, ++running);
        await new Promise<void>((resolve) => gates.push(resolve));
        running--;
        session.send(message);
      },
    });
    using slow = await server.peer();
    using other = await server.peer();
    await slow.enter();
    await other.enter();
    for (const text of ["1", "2", "3"]) slow.send(text);
    slow.control({ type: "end" });
    other.send("free");
    expect(await other.text()).toBe("free");
    const said: (string | null)[] = [];
    while (said.length < 3) {
      if (gates.length === 0) await new Promise((resolve) => setImmediate(resolve)); // until the next message is there
      gates.shift()?.();
      if (running === 0 && gates.length === 0) said.push(await slow.text());
    }
    expect(said).toEqual(["1", "2", "3"]);
    expect(most).toBe(1);
    expect(await slow.message()).toMatchObject({ type: "bye", code: "done" });
  });

  test("nothing is delivered until open has settled, and close comes once for each open", async () => {
    const seen: string[] = [];
    const gate = Promise.withResolvers<void>();
    const gone = Promise.withResolvers<void>();
    await using server = await start({
      async open() {
        await gate.promise;
        seen.push("open");
      },
      message: (_, message) => void seen.push(`message ${message.text()}`),
      close() {
        seen.push("close");
        gone.resolve();
      },
    });
    using peer = await server.peer();
    await peer.enter();
    peer.send("early");
    expect(seen).toEqual([]);
    gate.resolve();
    peer.control({ type: "end" });
    await peer.rest();
    peer.end();
    await gone.promise;
    expect(seen).toEqual(["open", "message early", "close"]);
  });

  const throws: [string, Service][] = [
    ["open", { open: () => fail(), message: () => undefined }],
    ["message", { message: () => fail() }],
    ["an async message", { message: () => Promise.reject(new Error("broken")) }],
    ["end", { message: () => undefined, end: () => fail() }],
    ["an async end", { message: () => undefined, end: () => Promise.reject(new Error("broken")) }],
  ];
  test.each(throws)(
    "a throw in %s ends its own conversation with a bye and a log line",
    async (_, service) => {
      await using server = await start(service);
      using peer = await server.peer();
      await peer.enter();
      peer.send("x");
      peer.control({ type: "end" });
      expect(await peer.message()).toMatchObject({
        type: "bye",
        code: "service_failed",
        message: "the service failed",
      });
      expect((await server.event("service-failed")).fields["reason"]).toContain("broken");
      using next = await server.peer();
      expect((await next.enter())["type"]).toBe("welcome");
    },
  );

  test("a throw in close is logged, and the conversation is over all the same", async () => {
    await using server = await start({ message: () => undefined, close: () => fail() });
    using peer = await server.peer();
    await peer.enter();
    peer.control({ type: "end" });
    await peer.rest();
    peer.end();
    expect((await server.event("service-failed")).fields["reason"]).toContain("broken");
    await server.event("disconnected");
    expect(server.server.sessions).toBe(0);
  });

  test("a service with an end hook finishes when it chooses, with the last word", async () => {
    await using server = await start({
      message: () => undefined,
      async end(session) {
        await Promise.resolve();
        session.send("one more thing");
        session.finish();
        session.send("too late");
      },
    });
    using peer = await server.peer();
    await peer.enter();
    peer.control({ type: "end" });
    expect((await peer.rest()).map(({ payload }) => payload.toString())).toEqual([
      "one more thing",
      '{"type":"bye","code":"done","message":"the conversation is over","status":0}',
    ]);
  });

  test("data is the service's own, for each conversation", async () => {
    await using server = await start({
      message(session) {
        const count = typeof session.data === "number" ? session.data + 1 : 1;
        session.data = count;
        session.send(String(count));
      },
    });
    using one = await server.peer();
    using two = await server.peer();
    await one.enter();
    await two.enter();
    one.send("");
    one.send("");
    two.send("");
    expect([await one.text(), await one.text(), await two.text()]).toEqual(["1", "2", "1"]);
  });
});

test("what is said beside the conversation arrives whole, however long, and however its characters are escaped", async () => {
  const text = `${"\u0001".repeat(20_000)}the end`;
  await using server = await start({
    message(session) {
      expect(session.sendStderr("")).toBe(true);
      session.sendStderr(text);
      session.finish();
    },
  });
  using peer = await server.peer();
  await peer.enter();
  peer.send("go on");
  const controls = (await peer.rest()).map(
    ({ payload }) => JSON.parse(payload.toString()) as { text?: string },
  );
  const asides = controls.flatMap((control) => control.text ?? []);
  expect(asides[0]).toBe("");
  expect(asides.join("")).toBe(text);
});

test("what is sent outside a turn arrives too, in order with the rest", async () => {
  const sessions: Session[] = [];
  await using server = await start({
    open: (session) => void sessions.push(session),
    message(session, message) {
      queueMicrotask(() => session.send("second"));
      session.send(message);
      for (const other of sessions) if (other !== session) other.send("news");
    },
  });
  using one = await server.peer();
  using two = await server.peer();
  await one.enter();
  await two.enter();
  one.send("first");
  expect([await one.text(), await one.text(), await two.text()]).toEqual(["first", "second", "news"]);
});

test("a ping is answered, an unknown control message ignored, a broken one ends the conversation", async () => {
  await using server = await startServer({ auth: "none" });
  using peer = await server.peer();
  await peer.enter();
  peer.control({ type: "ping", n: 7 });
  peer.control({ type: "of a later version" });
  expect(await peer.message()).toEqual({ type: "pong", n: 7 });
  peer.send("still here");
  expect(await peer.text()).toBe("still here");
  peer.send("not JSON", true);
  expect(await peer.message()).toMatchObject({ type: "bye", code: "bad_message" });
});

test("a message after the end ends the conversation at once, and the end is told once", async () => {
  let ends = 0;
  await using server = await start({ message: () => undefined, end: () => void ends++ });
  using peer = await server.peer();
  await peer.enter();
  peer.control({ type: "end" });
  peer.control({ type: "end" });
  peer.send("one more thing");
  expect(await peer.message()).toMatchObject({ type: "bye", code: "bad_message" });
  expect(ends).toBe(1);
});

test("a message many times the backlog is echoed to whoever reads it", async () => {
  await using server = await startServer({ auth: "none", maxFrame: 32 * 1024 * 1024, maxBacklog: 64 * 1024 });
  using peer = await server.peer();
  await peer.enter();
  const payload = Buffer.alloc(24 * 1024 * 1024, "z");
  peer.send(payload);
  expect((await peer.frame())?.payload.equals(payload)).toBe(true);
});

test("a frame over the limit ends the conversation after the answers before it", async () => {
  await using server = await startServer({ auth: "none", maxFrame: 100 });
  using peer = await server.peer();
  await peer.enter();
  peer.send("x".repeat(100));
  peer.send("x".repeat(101));
  expect(await peer.text()).toBe("x".repeat(100));
  expect(await peer.message()).toMatchObject({
    type: "bye",
    code: "bad_length",
    message: "frame of 101 bytes is over the limit of 100",
  });
});

test("a conversation in which the service takes its time is not an idle one", async () => {
  const gate = Promise.withResolvers<void>();
  await using server = await startServer({
    auth: "none",
    idleTimeoutMs: 1000, // long enough for a message on a busy machine
    service: {
      async message(session) {
        await gate.promise;
        session.send("at last");
      },
    },
  });
  using busy = await server.peer();
  await busy.enter();
  busy.send("?");
  using idle = await server.peer();
  await idle.enter();
  expect(await idle.message()).toMatchObject({ type: "bye", code: "idle" }); // so the time has passed
  gate.resolve();
  expect(await busy.text()).toBe("at last");
});

test("a conversation in which nothing is said for too long is ended", async () => {
  await using server = await startServer({ auth: "none", idleTimeoutMs: 120 });
  using peer = await server.peer();
  await peer.enter();
  expect(await peer.message()).toMatchObject({ type: "bye", code: "idle" });
});

function fail(): never {
  throw new Error("broken");
}
