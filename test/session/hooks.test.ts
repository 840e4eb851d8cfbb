// What a service may do with its sessions and rooms, and what it hears of a client that is away.

import { expect, setDefaultTimeout, test } from "bun:test";
import type { Service, Session } from "../../src/services/service.ts";
import { DURABLE, payloads, reconnect, resumeOf } from "../support/resume.ts";
import { PASSWORD, startServer } from "../support/server.ts";

setDefaultTimeout(60_000);

test("detached and attached are called in turn, and session.attached says the same", async () => {
  const seen: string[] = [];
  const note = (name: string) => (session: Session) => {
    seen.push(`${name} ${session.attached}`);
    session.send(name);
  };
  const service: Service = {
    open: note("open"),
    message: (session) => session.send(String(session.attached)),
    detached: note("detached"),
    attached: note("attached"),
    close: (session) => void seen.push(`close ${session.attached}`),
  };
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter(DURABLE));
  peer.send("");
  expect(await payloads(peer, 2)).toEqual(["open", "true"]);
  peer.reset();
  await server.event("lost");
  const [again] = await reconnect(server.port, resume, 2);
  using _ = again;
  expect(await payloads(again, 2)).toEqual(["detached", "attached"]);
  again.control({ type: "bye", code: "left", message: "" });
  await server.event("disconnected");
  expect(seen).toEqual(["open true", "detached false", "attached true", "close true"]);
});

test.each([
  ["a session whose client does not return", { resumeForMs: 50 }, () => undefined],
  ["a lost session that a later one of its user finishes", {}, (lost: Session) => lost.finish()],
])("%s is closed while its client is away", async (_, options, end) => {
  const seen: string[] = [];
  const closed = Promise.withResolvers<void>();
  const sessions = new Set<Session>();
  const service: Service = {
    open(session) {
      for (const lost of sessions) if (!lost.attached) end(lost);
      sessions.add(session);
    },
    message: () => undefined,
    close(session) {
      seen.push(`close ${session.id} ${session.attached}`);
      closed.resolve();
    },
  };
  await using server = await startServer({ auth: "none", service, ...options });
  using peer = await server.peer();
  await peer.enter(DURABLE);
  peer.reset();
  await server.event("lost");
  using later = await server.peer();
  await later.enter();
  await closed.promise;
  expect(seen).toEqual(["close 1 false"]);
});

test("no detached for a client that cannot come back, or after the end", async () => {
  const seen: string[] = [];
  const service: Service = {
    message: (session) => session.finish(),
    detached: () => void seen.push("detached"),
    attached: () => void seen.push("attached"),
    close: () => void seen.push("close"),
  };
  await using server = await startServer({ auth: "none", service });
  using plain = await server.peer();
  await plain.enter();
  plain.reset();
  await server.event("disconnected");
  using durable = await server.peer();
  const resume = resumeOf(await durable.enter(DURABLE));
  durable.send("");
  expect(await durable.message()).toMatchObject({ type: "bye", code: "done" });
  durable.reset();
  await server.event("lost");
  const [again] = await reconnect(server.port, resume, 0);
  using _ = again;
  again.control({ type: "bye", code: "left", message: "" });
  while ((await again.frame()) !== null);
  expect(seen).toEqual(["close", "close"]);
});

test("what detached or attached throws ends the session", async () => {
  const service: Service = {
    message: () => undefined,
    detached() {
      throw new Error("away");
    },
  };
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  await peer.enter(DURABLE);
  peer.reset();
  expect(String((await server.event("service-failed")).fields["reason"])).toContain("away");
  await server.event("disconnected");
});

test("rooms: join, leave, names, tell, and a look without joining", async () => {
  const service: Service = {
    open: (session) => void session.join("hall"),
    message(session, message) {
      const text = message.text();
      const hall = session.join("hall");
      if (text === "leave") session.leave("hall");
      else if (text === "names") session.send(hall.names());
      else hall.tell(text, { from: session.user, to: text });
    },
  };
  await using server = await startServer({ service });
  const enter = async () => {
    const peer = await server.peer();
    await peer.logIn("ann", PASSWORD, { control: true });
    return peer;
  };
  using one = await enter();
  using other = await enter();
  one.send("names");
  expect(JSON.parse((await one.text())!)).toEqual(["ann"]);
  one.send("ann");
  expect(await one.text()).toBe('{"from":"ann","to":"ann"}');
  expect(await other.text()).toBe('{"from":"ann","to":"ann"}');
  one.send("bob"); // reaches no session
  other.send("leave");
  other.send("leave");
  one.send("names");
  expect(await one.text()).toBe('["ann"]');
});

test.each<[string, unknown, string]>([
  ["an object", { a: 1 }, '{"a":1}'],
  ["a list", [1, "ж"], '[1,"ж"]'],
  ["an object with toJSON", new Date(0), '"1970-01-01T00:00:00.000Z"'],
  [
    "an object of a class",
    new (class {
      x = 1;
    })(),
    '{"x":1}',
  ],
])("%s is sent as JSON, to one and to a room", async (_, value, text) => {
  const service: Service = {
    message(session) {
      session.send(value as object);
      session.join("all").broadcast(value as object);
    },
  };
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  await peer.enter();
  peer.send("");
  expect([await peer.text(), await peer.text()]).toEqual([text, text]);
});

test.each<[string, unknown, string]>([
  ["a number", 7, "not number"],
  ["nothing", undefined, "not undefined"],
  ["null", null, "not null"],
  ["a promise", Promise.resolve("x"), "await the promise first"],
  ["a map", new Map(), "not Map"],
  ["a buffer", new ArrayBuffer(8), "not ArrayBuffer"],
  ["another view", new Uint16Array(8), "not Uint16Array"],
  ["an error", new TypeError("no"), "not TypeError"],
])("%s is no message", async (_, value, words) => {
  const service: Service = { message: (session) => session.send(value as string) };
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  await peer.enter();
  peer.send("");
  expect(await peer.message()).toMatchObject({ type: "bye", code: "service_failed" });
  expect(String((await server.event("service-failed")).fields["reason"])).toContain(words);
});

test("a handler of an earlier version gets an error that names join", async () => {
  const service: Service = {
    message: (session) => (session as never as { room(name: string): void }).room("all"),
  };
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  await peer.enter();
  peer.send("");
  expect(await peer.message()).toMatchObject({ type: "bye", code: "service_failed" });
  expect(String((await server.event("service-failed")).fields["reason"])).toContain("session.join(name)");
});

test.each([-1, NaN, 2 ** 31, "5" as unknown as number])(
  "a timer of %p ms is an error, not one of 1 ms",
  async (ms) => {
    const service: Service = { message: (session) => void session.after(ms, () => session.send("early")) };
    await using server = await startServer({ auth: "none", service });
    using peer = await server.peer();
    await peer.enter();
    peer.send("");
    expect(await peer.message()).toMatchObject({ type: "bye", code: "service_failed" });
  },
);
