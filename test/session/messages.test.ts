// Received messages that a service sends back, on, later, changed, or keeps.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Message, Service, Session } from "../../src/services/service.ts";
import { frame, type Peer } from "../support/peer.ts";
import { DURABLE, payloads, reconnect, resumeOf } from "../support/resume.ts";
import { startServer } from "../support/server.ts";

setDefaultTimeout(60_000);

/** Texts of many lengths: short, longer than a write batch, and as long as a chunk. */
const TEXTS = Array.from({ length: 300 }, (_, n) => `${n}:${"x".repeat([0, 1, 60, 5000, 70_000][n % 5]!)}`);

async function sendAll(peer: Peer, texts: readonly string[]): Promise<void> {
  await peer.enter({});
  peer.raw(Buffer.concat(texts.map((text) => frame(text))));
  peer.end();
}

const textsOf = (frames: { payload: Buffer }[]) => frames.map(({ payload }) => payload.toString());

/** Ways to answer a message with itself; some of them change how it is sent. */
const ANSWERS: Record<string, (session: Session, message: Message, n: number) => void> = {
  message: (session, message) => session.send(message),
  bytes: (session, message) => session.send(message.bytes),
  text: (session, message) => session.send(message.text()),
  "in turn message, bytes and text": (session, message, n) =>
    session.send([message, message.bytes, message.text()][n % 3]!),
  "message, every third as text": (session, message, n) =>
    session.send(n % 3 === 0 ? message.text() : message),
  "message, after its text was read": (session, message) => (message.text(), session.send(message)),
  "message, and then changes its bytes": (session, message) => (
    session.send(message),
    void message.bytes.fill(0)
  ),
  "message, and then changes the bytes that it had": (session, message) => {
    const { bytes } = message;
    session.send(message);
    bytes.fill(0);
  },
  "bytes, and then changes them": (session, message) => (
    session.send(message.bytes),
    void message.bytes.fill(0)
  ),
};

describe.each(Object.entries(ANSWERS))("sends back: %s", (_, answer) => {
  test.each([true, false])("in order and unchanged; bare: %p", async (bare) => {
    let n = 0;
    const service: Service = { message: (session, message) => answer(session, message, n++) };
    await using server = await startServer({ ...(bare ? { bare } : { auth: "none" }), service });
    using peer = await server.peer();
    if (bare) {
      peer.raw(Buffer.concat(TEXTS.map((text) => frame(text))));
      peer.end();
    } else await sendAll(peer, TEXTS);
    const got = textsOf(await peer.rest());
    expect(got.map((text) => text.length)).toEqual(TEXTS.map((text) => text.length));
    expect(got.every((text, index) => text === TEXTS[index])).toBe(true);
  });
});

test("a message with changed bytes is sent changed", async () => {
  const service: Service = {
    message(session, message) {
      message.bytes[0] = 0x58;
      session.send(message);
    },
  };
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  await sendAll(peer, ["one", "two"]);
  expect(textsOf(await peer.rest())).toEqual(["Xne", "Xwo"]);
});

test("a message that is sent several times, and the frame of CPython's escape", async () => {
  const service: Service = {
    message(session, message) {
      for (let n = 0; n < 3; n++) session.send(message);
    },
  };
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  await peer.enter({});
  peer.raw(Buffer.concat([Buffer.from("ffffffff0000000000000003", "hex"), Buffer.from("esc"), frame("two")]));
  peer.end();
  expect(textsOf(await peer.rest())).toEqual(["esc", "esc", "esc", "two", "two", "two"]);
});

test("messages that are kept stay as they are, while many others arrive", async () => {
  const kept: Message[] = [];
  const service: Service = {
    message(session, message) {
      kept.push(message);
      session.send("");
    },
  };
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  await peer.enter({});
  for (const text of TEXTS) peer.send(text);
  peer.end();
  await peer.rest();
  expect(kept.map((message) => message.length)).toEqual(TEXTS.map((text) => text.length));
  expect(kept.every((message, index) => message.text() === TEXTS[index])).toBe(true);
});

test("a message is sent on to others, and later to a session of its own", async () => {
  let last: Message | undefined;
  const service: Service = {
    open: (session) => void session.join("all"),
    async message(session, message) {
      session.join("all").broadcast(message);
      await Promise.resolve();
      if (last !== undefined) session.send(last);
      last = message;
    },
  };
  await using server = await startServer({ auth: "none", service });
  using ann = await server.peer();
  using bob = await server.peer();
  await ann.enter();
  await bob.enter();
  ann.send("one");
  expect(await ann.text()).toBe("one");
  expect(await bob.text()).toBe("one");
  bob.send("two");
  expect([await bob.text(), await bob.text()]).toEqual(["two", "one"]);
  expect(await ann.text()).toBe("two");
});

test("messages that were sent back are sent again to a client that resumes, with its own between them", async () => {
  await using server = await startServer({
    auth: "none",
    service: {
      message(session, message) {
        session.send(message);
        if (message.length % 3 === 0) session.send(`after ${message.text()}`);
      },
    },
  });
  const texts = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"];
  const expected = texts.flatMap((text) => (text.length % 3 === 0 ? [text, `after ${text}`] : [text]));
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter(DURABLE));
  peer.raw(Buffer.concat(texts.map((text) => frame(text))));
  expect(await payloads(peer, expected.length)).toEqual(expected);
  peer.reset();
  await server.event("lost");
  const [again] = await reconnect(server.port, resume, 0);
  using _ = again;
  expect(await payloads(again, expected.length)).toEqual(expected);
  again.control({ type: "bye", code: "left", message: "" });
});

test.each([
  ["a message that arrived", (message: Message) => message],
  ["its bytes", (message: Message) => message.bytes],
])("what is kept of %s takes little more memory than its bytes", async (_, answerOf) => {
  const service: Service = { message: (session, message) => session.send(answerOf(message)) };
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  await peer.enter(DURABLE);
  const [count, length] = [60, 16_384];
  for (let sent = 0; sent < count; sent += 4) {
    peer.raw(Buffer.concat(Array.from({ length: 4 }, () => frame(Buffer.alloc(length)))));
    await payloads(peer, 4); // so that the four come in one chunk
  }
  const { held } = server.server.stats();
  expect(held).toBeGreaterThan(count * length);
  expect(held).toBeLessThan(1.2 * count * length);
  peer.control({ type: "bye", code: "left", message: "" });
});

test("a handler of an earlier version gets an error that names the new form", async () => {
  const service: Service = {
    message: (session, message) =>
      session.send((session as never as { text(m: Message): string }).text(message)),
  };
  await using server = await startServer({ auth: "none", service });
  using peer = await server.peer();
  await peer.enter();
  peer.send("hello");
  expect(await peer.message()).toMatchObject({ type: "bye", code: "service_failed" });
  const { fields } = await server.event("service-failed");
  expect(String(fields["reason"])).toContain("message.text()");
});
