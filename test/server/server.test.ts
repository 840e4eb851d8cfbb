// A server among bad neighbours: whatever a client does, the others do not notice, and nothing stays behind.

import { describe, expect, test } from "bun:test";
import { CROWD, PATIENCE_MS } from "../support/attack.ts";
import { frame, type Peer } from "../support/peer.ts";
import { PASSWORD, startServer, type TestServer } from "../support/server.ts";

async function isWell(server: TestServer): Promise<void> {
  using peer = await server.peer();
  await peer.enter();
  peer.send("well?");
  expect(await peer.text()).toBe("well?");
  peer.end();
  await peer.closed;
}

const TRANSCRIPT = Buffer.concat([
  frame('{"type":"login","method":"none","control":true,"resume_for":0}'),
  frame("one"),
  frame("two two"),
  frame('{"type":"ping","n":1}', true),
  frame("x".repeat(120)),
  frame('{"type":"end"}', true),
]);

describe("a client that goes away", () => {
  const ways: [string, (peer: Peer) => void][] = [
    ["reset", (peer) => peer.reset()],
    ["ended", (peer) => peer.end()],
    ["gone", (peer) => peer.socket.destroy()],
  ];
  test.each(ways)("%s after each of its bytes: the server goes on, and no socket stays", async (_, leave) => {
    await using server = await startServer({ penalties: false, auth: "none" });
    for (let cut = 0; cut <= TRANSCRIPT.length; cut += 3) {
      using peer = await server.peer();
      peer.socket.write(TRANSCRIPT.subarray(0, cut), () => leave(peer));
      await peer.closed;
    }
    await isWell(server);
    expect(server.events.filter(({ level }) => level === "error")).toEqual([]);
    expect(server.server.sessions).toBe(0);
  });

  test("in the middle of a frame: logged as such, and the part dropped", async () => {
    await using server = await startServer({ auth: "none" });
    using peer = await server.peer();
    await peer.enter();
    peer.raw(Buffer.from("00000064616263", "hex"));
    peer.end();
    await peer.rest();
    const { fields } = await server.event("dropped");
    expect(fields).toMatchObject({
      code: "frame_cut",
      reason: "the stream ended inside a frame, 7 bytes into it",
    });
  });
});

test("two hundred clients at once, each its own conversation", async () => {
  await using server = await startServer({ ...CROWD, auth: "none" });
  const talk = async (client: number) => {
    using peer = await server.peer();
    await peer.enter();
    const texts = Array.from({ length: 20 }, (_, index) => `client ${client} message ${index}`);
    for (const text of texts) peer.send(text);
    for (const text of texts) expect(await peer.text()).toBe(text);
    peer.control({ type: "end" });
    await peer.rest();
    peer.end();
    await peer.closed;
  };
  await Promise.all(Array.from({ length: 200 }, (_, client) => talk(client)));
});

test("ten thousand pipelined messages on a hundred connections: none lost, none out of order", async () => {
  await using server = await startServer({ ...CROWD, auth: "none" });
  const talk = async () => {
    using peer = await server.peer();
    await peer.enter();
    peer.raw(Buffer.concat(Array.from({ length: 100 }, (_, index) => frame(`message ${index}`))));
    for (let index = 0; index < 100; index++) expect(await peer.text()).toBe(`message ${index}`);
    peer.end();
    await peer.closed;
  };
  await Promise.all(Array.from({ length: 100 }, talk));
});

test("a client that never reads is not read from either: memory stays bounded, and others are served", async () => {
  await using server = await startServer({ auth: "none" });
  using glutton = await server.peer();
  await glutton.enter();
  glutton.socket.pause();
  const block = Buffer.concat(Array.from({ length: 16 }, () => frame("x".repeat(65_536))));
  // Its writes pile up on its own side once the server has stopped reading.
  for (let sent = 0; sent < 64; sent++) glutton.raw(block);
  for (let round = 0; round < 5; round++) await isWell(server);
  expect(glutton.socket.writableLength).toBeGreaterThan(32 * 1024 * 1024);
  glutton.socket.resume();
  let received = 0;
  while (received < 64 * 16) {
    expect((await glutton.frame())?.payload.length).toBe(65_536);
    received++;
  }
});

test("a service that says more than its client reads loses that client, not its memory", async () => {
  await using server = await startServer({
    auth: "none",
    maxBacklog: 1024 * 1024,
    service: {
      message(session) {
        for (let count = 0; count < 2000; count++) session.send("y".repeat(10_000));
      },
    },
  });
  using peer = await server.peer();
  await peer.enter();
  peer.socket.pause();
  peer.send("go on");
  expect((await server.event("dropped")).fields).toMatchObject({ code: "too_slow" });
});

test("one connection more than there may be is told so, and there is room when one leaves", async () => {
  await using server = await startServer({ auth: "none", maxConnections: 2 });
  using one = await server.peer();
  using two = await server.peer();
  await one.enter();
  await two.enter();
  using three = await server.peer();
  expect(await three.message()).toMatchObject({ type: "error", code: "full", retry_after: 5 });
  expect(await three.frame()).toBeNull();
  three.end();
  two.end();
  await Promise.all([three.closed, two.closed]);
  await isWell(server);
});

describe("stopping", () => {
  test("answers what was sent before, then says bye", async () => {
    await using server = await startServer({ ...CROWD, maxPerUser: 20 });
    const peers = await Promise.all(Array.from({ length: 20 }, () => server.peer()));
    for (const peer of peers) {
      await peer.logIn("ann", PASSWORD, { control: true });
      peer.raw(Buffer.concat(Array.from({ length: 100 }, (_, index) => frame(`message ${index}`))));
    }
    const stopped = server.server.stop(PATIENCE_MS);
    for (const peer of peers) {
      for (let index = 0; index < 100; index++) expect(await peer.text()).toBe(`message ${index}`);
      expect(await peer.message()).toMatchObject({ type: "bye", code: "shutting_down" });
      expect(await peer.frame()).toBeNull();
      peer.end();
    }
    expect(await stopped).toBe(0);
    expect((await server.event("stopped")).fields).toMatchObject({ cut: 0 });
  });

  test("tells those who are still logging in", async () => {
    await using server = await startServer();
    using peer = await server.peer();
    await peer.message();
    const stopped = server.server.stop(PATIENCE_MS);
    expect(await peer.message()).toMatchObject({ type: "error", code: "shutting_down" });
    peer.end();
    expect(await stopped).toBe(0);
  });

  test("waits for an answer that is being made, and for none longer than it may", async () => {
    const gate = Promise.withResolvers<void>();
    await using server = await startServer({
      auth: "none",
      service: {
        async message(session, message) {
          if (message.text() === "never") await new Promise(() => undefined);
          await gate.promise;
          session.send("done at last");
        },
      },
    });
    using patient = await server.peer();
    using stuck = await server.peer();
    await patient.enter();
    await stuck.enter();
    patient.send("later");
    stuck.send("never");
    const stopped = server.server.stop(2000);
    gate.resolve();
    expect(await patient.text()).toBe("done at last");
    expect(await patient.message()).toMatchObject({ type: "bye", code: "shutting_down" });
    patient.end();
    expect(await stopped).toBe(1);
    expect(await stuck.message()).toMatchObject({ type: "bye", code: "shutting_down" });
  });

  test("accepts nobody any more", async () => {
    const server = await startServer({ auth: "none" });
    await server.server.stop(PATIENCE_MS);
    expect(await server.peer().catch((error: unknown) => error)).toMatchObject({ code: "ECONNREFUSED" });
    await server[Symbol.asyncDispose]();
  });
});
