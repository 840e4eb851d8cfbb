// Sessions that are forwarded to a target, over real sockets: who ends what, and what a reset becomes. The targets are sockets of
// node:net.

import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "bun:test";
import { connectClient } from "../../../src/client/connect.ts";
import { MAX_DETACHED_BYTES, MAX_FORWARDED_PER_USER, PAUSE_OUTPUT_BYTES } from "../../../src/base/limits.ts";
import { dialStream } from "../../../src/net/stream.ts";
import type { ServerOptions } from "../../../src/server/options.ts";
import { forward, type ForwardOptions } from "../../../src/services/forward/forward.ts";
import { CROWD, until, within } from "../../support/attack.ts";
import type { Peer } from "../../support/peer.ts";
import { parseProxyHeader } from "../../support/proxy-header.ts";
import { DURABLE, payloads, reconnect, resumeOf, split, type Resume } from "../../support/resume.ts";
import { startServer, type TestServer } from "../../support/server.ts";

const LEFT = { type: "bye", code: "left", message: "the client has left" };
const MIB = 1024 * 1024;
const cleanups: (() => void)[] = [];
afterEach(() => cleanups.splice(0).forEach((cleanup) => cleanup()));

/** What a target has heard. */
interface Heard {
  socket: Socket;
  bytes: Buffer;
  ended: boolean;
  reset: Promise<boolean>;
}

/** A listener, and its connections in turn. @param reads whether they are read. */
async function target(reads = true) {
  const arrived: Heard[] = [];
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
    const isReset = new Promise<boolean>((resolve) => {
      let failed = false;
      socket.on("error", () => (failed = true));
      socket.on("close", () => resolve(failed));
    });
    const heard: Heard = { socket, bytes: Buffer.alloc(0), ended: false, reset: isReset };
    socket.on("end", () => (heard.ended = true));
    if (reads)
      socket.on("data", (chunk: Buffer) => (heard.bytes = Buffer.concat([heard.bytes, chunk]))).resume();
    arrived.push(heard);
    cleanups.push(() => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => server.close());
  const { port } = server.address() as AddressInfo;
  return {
    port,
    arrived,
    async next(number = 0): Promise<Heard> {
      await until("a connection of the target", true, () => arrived.length > number);
      return arrived[number]!;
    },
  };
}

/** A server that forwards to `port`. */
function forwarder(
  port: number,
  options: Partial<ServerOptions> = {},
  given: Partial<ForwardOptions> = {},
): Promise<TestServer> {
  const service = forward({
    open: (dial) => dialStream({ host: "127.0.0.1", port }, { ...dial, timeoutMs: 30_000 }),
    sendProxy: false,
    ...given,
  });
  return startServer({ auth: "none", serviceName: "forward", service, ...options });
}

/** Everything that the client is sent until the end: its payloads as one text, and its control messages. */
async function rest(peer: Peer): Promise<{ text: string; types: string[]; bye: Record<string, unknown> }> {
  const { said, controls } = split(await within("the end", peer.rest()));
  const types = controls.map(({ type }) => String(type));
  return { text: said.join(""), types, bye: controls.at(-1) ?? {} };
}

describe("each side ends alone", () => {
  test("the client first: the target may answer after that", async () => {
    const there = await target();
    await using server = await forwarder(there.port);
    using peer = await server.peer();
    await peer.enter();
    peer.send("question");
    peer.control({ type: "end" });
    const heard = await there.next();
    await until("the end of the question", true, () => heard.ended);
    expect(heard.bytes.toString()).toBe("question");
    expect(server.server.sessions).toBe(1);
    heard.socket.end("answer");
    const { text, types, bye } = await rest(peer);
    expect([text, types, bye]).toEqual([
      "answer",
      ["end", "bye"],
      expect.objectContaining({ code: "done", status: 0 }),
    ]);
    expect(await heard.reset).toBe(false);
  });

  test("the target first: the client may go on after that", async () => {
    const there = await target();
    await using server = await forwarder(there.port);
    using peer = await server.peer();
    await peer.enter();
    const heard = await there.next();
    heard.socket.end("greeting");
    expect(await payloads(peer, 1)).toEqual(["greeting"]);
    expect((await peer.frame())?.payload.toString()).toBe('{"type":"end"}');
    peer.send("more");
    await until("more", "more", () => heard.bytes.toString());
    expect(heard.ended).toBe(false);
    peer.control({ type: "end" });
    const { types, bye } = await rest(peer);
    expect([types, bye["code"]]).toEqual([["bye"], "done"]);
    expect([heard.ended, await heard.reset]).toEqual([true, false]);
  });

  test("without control frames, a FIN is the end in both directions", async () => {
    const there = await target();
    await using server = await forwarder(there.port, { bare: true });
    using peer = await server.peer();
    peer.answersFin = false;
    peer.send("question");
    const heard = await there.next();
    heard.socket.end("answer");
    expect((await peer.frame())?.payload.toString()).toBe("answer");
    expect(await peer.frame()).toBeNull();
    peer.send("!");
    peer.end();
    await until("the end", true, () => heard.ended);
    expect([heard.bytes.toString(), await heard.reset]).toEqual(["question!", false]);
  });
});

describe("a reset is a reset, and no end:", () => {
  test("of the target; what it had said before arrives", async () => {
    const there = await target();
    await using server = await forwarder(there.port);
    using peer = await server.peer();
    await peer.enter();
    const heard = await there.next();
    await new Promise<void>((resolve) => heard.socket.write("half", () => resolve()));
    expect(await payloads(peer, 1)).toEqual(["half"]);
    heard.socket.resetAndDestroy();
    const { types, bye } = await rest(peer);
    expect([types, bye["code"], bye["message"]]).toEqual([
      ["bye"],
      "reset",
      "the target has reset the connection",
    ]);
    expect(await server.event("target-failed")).toMatchObject({ fields: { code: "reset" } });
  });

  test.each(["left", "lost", "after its end"])("of the client: %s", async (how) => {
    const there = await target();
    await using server = await forwarder(there.port);
    using peer = await server.peer();
    await peer.enter();
    peer.send("half");
    const heard = await there.next();
    await until("half", "half", () => heard.bytes.toString());
    if (how === "after its end") {
      peer.control({ type: "end" });
      await until("its end", true, () => heard.ended);
    }
    if (how === "lost") peer.reset();
    else peer.control(LEFT);
    expect(await within("a reset", heard.reset)).toBe(true);
    expect(heard.ended).toBe(how === "after its end");
  });

  test("also where a hook waits for a target that does not read", async () => {
    const there = await target(false);
    await using server = await forwarder(there.port);
    using peer = await server.peer();
    await peer.enter();
    const heard = await there.next();
    for (let sent = 0; sent < 64; sent++) peer.send(Buffer.alloc(MIB));
    await until("output that waits", true, () => peer.socket.writableLength > 8 * MIB);
    peer.reset();
    expect(
      await within(
        "a reset",
        heard.reset.then(() => true),
      ),
    ).toBe(true);
    await until("sessions", 0, () => server.server.sessions);
  });

  test("a session that is revoked", async () => {
    const there = await target();
    await using server = await forwarder(there.port, { auth: "password" });
    using peer = await server.peer();
    await peer.logIn("ann", "correct horse", { control: true });
    const heard = await there.next();
    await server.store?.change((draft) => void draft.users.delete("ann"));
    server.server.reload();
    expect((await rest(peer)).bye["code"]).toBe("revoked");
    expect([await heard.reset, heard.ended]).toEqual([true, false]);
  });
});

describe("a target that cannot be had", () => {
  test("refuses: the client hears that, and no address", async () => {
    const there = createServer();
    there.listen(0, "127.0.0.1");
    await once(there, "listening");
    const { port } = there.address() as AddressInfo;
    await new Promise((resolve) => there.close(resolve));
    await using server = await forwarder(port);
    using peer = await server.peer();
    await peer.enter();
    peer.send("question");
    const { bye } = await rest(peer);
    expect([bye["code"], bye["message"]]).toEqual(["unreachable", "the target refused the connection"]);
    const { fields } = await server.event("target-failed");
    expect(fields["reason"]).toBe(`cannot connect to 127.0.0.1:${port}: connection refused`);
  });

  test.each([
    ["timeout", "the target did not answer in time"],
    ["unknown_host", "the target cannot be reached"],
  ])("%s", async (code, words) => {
    const failure = Object.assign(new Error("10.0.0.1 is away"), { code });
    await using server = await forwarder(0, {}, { open: () => Promise.reject(failure) });
    using peer = await server.peer();
    await peer.enter();
    const { bye } = await rest(peer);
    expect([bye["code"], bye["message"]]).toEqual(["unreachable", words]);
    expect(await server.event("target-failed")).toMatchObject({ fields: { reason: "10.0.0.1 is away" } });
  });

  test("is silent: a client that leaves meanwhile ends the wait, and its descriptor counts until it is free", async () => {
    let free = () => {};
    let wasGivenUp = false;
    const service = forward({
      sendProxy: false,
      open: ({ signal, released }) => {
        free = released;
        return new Promise((_, reject) =>
          signal.addEventListener("abort", () => {
            wasGivenUp = true;
            reject(signal.reason as Error);
          }),
        );
      },
    });
    await using server = await startServer({ auth: "none", service });
    using peer = await server.peer();
    await peer.enter();
    await until("a dial", 1, () => service.descriptors?.taken ?? 0);
    peer.reset();
    await until("an end of the wait", true, () => wasGivenUp);
    await until("sessions", 0, () => server.server.sessions);
    expect(service.descriptors).toEqual({ perSession: 1, taken: 1 });
    free();
    expect(service.descriptors).toEqual({ perSession: 1, taken: 0 });
    expect(server.events.filter(({ level }) => level !== "info")).toEqual([]);
  });

  test("what the client says meanwhile waits", async () => {
    const there = await target();
    const gate = Promise.withResolvers<void>();
    await using server = await forwarder(
      there.port,
      {},
      {
        open: async (dial) => {
          await gate.promise;
          return dialStream({ host: "127.0.0.1", port: there.port }, { ...dial, timeoutMs: 30_000 });
        },
      },
    );
    using peer = await server.peer();
    await peer.enter();
    peer.send("early");
    peer.control({ type: "end" });
    gate.resolve();
    const heard = await there.next();
    await until("its end", true, () => heard.ended);
    expect(heard.bytes.toString()).toBe("early");
    heard.socket.end();
    expect((await rest(peer)).bye["code"]).toBe("done");
  });
});

describe("back-pressure", () => {
  test("a target that does not read holds the client, with little queued", async () => {
    const there = await target(false);
    await using server = await forwarder(there.port);
    using peer = await server.peer();
    await peer.enter();
    const heard = await there.next();
    const total = 64;
    for (let sent = 0; sent < total; sent++) peer.send(Buffer.alloc(MIB / 2, sent));
    peer.control({ type: "end" });
    let most = 0;
    // Nothing moves any more when what this side could not send yet has rested for a while.
    for (let rests = 0, last = -1; rests < 50;) {
      const now = peer.socket.writableLength;
      rests = now === last ? rests + 1 : 0;
      last = now;
      most = Math.max(most, server.server.stats().held);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    expect(peer.socket.writableLength).toBeGreaterThan(8 * MIB);
    expect(most).toBeLessThan(2 * MIB);
    let received = 0;
    heard.socket.on("data", (chunk: Buffer) => (received += chunk.length)).resume();
    await until("all of it", (total * MIB) / 2, () => received);
    heard.socket.end();
    expect((await rest(peer)).bye["code"]).toBe("done");
  });

  test("a client that does not read holds the target, and is not dropped", async () => {
    const there = await target();
    await using server = await forwarder(there.port);
    using peer = await server.peer();
    await peer.enter();
    peer.socket.pause();
    const heard = await there.next();
    const total = 64 * MIB;
    heard.socket.end(Buffer.alloc(total));
    for (let rests = 0, last = -1; rests < 50;) {
      const now = heard.socket.writableLength;
      rests = now === last ? rests + 1 : 0;
      last = now;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    expect(heard.socket.writableLength).toBeGreaterThan(8 * MIB);
    expect(server.server.stats().held).toBeLessThan(2 * MIB + PAUSE_OUTPUT_BYTES);
    peer.control({ type: "end" });
    peer.socket.resume();
    let received = 0;
    for (const { control, payload } of await within("the end", peer.rest()))
      if (!control) received += payload.length;
    expect(received).toBe(total);
    expect(server.events.filter(({ event }) => event === "dropped")).toEqual([]);
  });

  test("a session without a connection keeps its target, and holds it", async () => {
    const there = await target();
    await using server = await forwarder(there.port);
    using peer = await server.peer();
    const resume = resumeOf(await peer.enter(DURABLE));
    const heard = await there.next();
    heard.socket.write("before ");
    expect(await payloads(peer, 1)).toEqual(["before "]);
    peer.reset();
    await server.event("lost");
    const total = 64 * MIB;
    heard.socket.end(Buffer.alloc(total, "x"));
    await until("held", true, () => server.server.stats().kept > 0);
    for (let rests = 0, last = -1; rests < 50;) {
      const now = heard.socket.writableLength;
      rests = now === last ? rests + 1 : 0;
      last = now;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    expect(heard.socket.writableLength).toBeGreaterThan(32 * MIB);
    expect(heard.ended).toBe(false);
    const client = await reconnect(server.port, resume, 1);
    using again = client[0];
    again.control({ type: "end" });
    let received = 0;
    for (let next = await again.frame(); next !== null; next = await again.frame()) {
      if (!next.control) again.control({ type: "ack", received: 1 + ++received });
      else if (next.payload.includes('"bye"')) again.control(LEFT);
    }
    await until("sessions", 0, () => server.server.sessions);
    expect(await heard.reset).toBe(false);
    expect(server.events.find(({ event }) => event === "disconnected")).toMatchObject({
      fields: { bye: "done" },
    });
  });
});

test("the PROXY header comes first: the client's address, the server's own, and the user", async () => {
  const there = await target();
  await using server = await forwarder(there.port, { auth: "password" }, { sendProxy: true });
  using peer = await server.peer();
  const { localPort } = peer.socket;
  await peer.logIn("ann", "correct horse", { control: true });
  peer.send("hello");
  const heard = await there.next();
  await until("hello", true, () => heard.bytes.includes("hello"));
  const header = parseProxyHeader(heard.bytes);
  expect(header).toMatchObject({
    family: "TCP4",
    source: "127.0.0.1",
    sourcePort: localPort,
    destination: "127.0.0.1",
    destinationPort: server.port,
    entries: [{ type: 0xe0, value: "ann" }],
  });
  expect(heard.bytes.subarray(header?.length).toString()).toBe("hello");
});

describe("a server that stops", () => {
  test("lets a session come to its end, in both directions", async () => {
    const there = await target();
    await using server = await forwarder(there.port);
    using peer = await server.peer();
    await peer.enter();
    peer.send("question");
    const heard = await there.next();
    const stopping = server.server.stop(30_000);
    await server.event("stopping");
    peer.send(", and more");
    peer.control({ type: "end" });
    await until("its end", true, () => heard.ended);
    expect(heard.bytes.toString()).toBe("question, and more");
    heard.socket.end("answer");
    const { text, bye } = await rest(peer);
    expect([text, bye["code"]]).toEqual(["answer", "done"]);
    expect(await stopping).toBe(0);
  });

  test("resets the target of one that does not end: no end is made up for it", async () => {
    const there = await target();
    await using server = await forwarder(there.port);
    using peer = await server.peer();
    await peer.enter();
    peer.send("half of an upload");
    const heard = await there.next();
    await until("half", true, () => heard.bytes.length > 0);
    void server.server.stop(500);
    expect((await rest(peer)).bye["code"]).toBe("shutting_down");
    expect([await heard.reset, heard.ended]).toEqual([true, false]);
  });
});

test("a user has a hundred sessions, and a hundred without a connection that all come back", async () => {
  const there = await target();
  const maxPerUser = MAX_FORWARDED_PER_USER;
  await using server = await forwarder(there.port, {
    ...CROWD,
    auth: "password",
    maxPerUser,
    penalties: false,
  });
  const clients: { peer: Peer; resume: Resume }[] = [];
  for (let number = 0; number < maxPerUser; number++) {
    const peer = await server.peer();
    cleanups.push(() => peer.socket.destroy());
    clients.push({ peer, resume: resumeOf(await peer.logIn("ann", "correct horse", DURABLE)) });
  }
  await until("targets", maxPerUser, () => there.arrived.length);
  using beyond = await server.peer();
  expect(await beyond.logIn("ann", "correct horse", DURABLE)).toMatchObject({ code: "full" });
  for (const { peer } of clients) peer.reset();
  await until("detached", maxPerUser, () => server.server.stats().detached);
  const back = await Promise.all(clients.map(({ resume }) => reconnect(server.port, resume, 0)));
  expect(back.map(([, welcome]) => welcome["resumed"])).toEqual(clients.map(() => true));
  for (const [peer] of back) peer.control(LEFT);
  expect(await Promise.all(there.arrived.map(({ reset }) => reset))).toEqual(clients.map(() => true));
});

test("twenty that are cut together with full windows all come back", async () => {
  const there = await target();
  await using server = await forwarder(there.port, CROWD);
  const clients: { peer: Peer; resume: Resume }[] = [];
  for (let number = 0; number < 20; number++) {
    const peer = await server.peer();
    cleanups.push(() => peer.socket.destroy());
    clients.push({ peer, resume: resumeOf(await peer.enter({ ...DURABLE, window: 8 * MIB })) });
    peer.socket.pause();
    (await there.next(number)).socket.write(Buffer.alloc(16 * MIB));
  }
  // More than sessions of messages may keep without a connection.
  await until("kept", true, () => server.server.stats().kept > MAX_DETACHED_BYTES);
  for (const { peer } of clients) peer.reset();
  await until("detached", clients.length, () => server.server.stats().detached);
  const back = await Promise.all(clients.map(({ resume }) => reconnect(server.port, resume, 0)));
  expect(back.map(([, welcome]) => welcome["resumed"])).toEqual(clients.map(() => true));
  for (const [peer] of back) peer.control(LEFT);
  await until("sessions", 0, () => server.server.sessions);
});

test("bytes in one direction alone keep a session from being idle", async () => {
  const there = await target();
  await using server = await forwarder(there.port, { idleTimeoutMs: 1000 });
  using peer = await server.peer();
  await peer.enter();
  const heard = await there.next();
  for (let sent = 0; sent < 200; sent++) {
    heard.socket.write("x");
    await Bun.sleep(10);
  }
  expect(server.server.sessions).toBe(1);
  expect((await rest(peer)).bye["code"]).toBe("idle"); // once nothing moves any more
});

test("our own client sends megabytes both ways at once", async () => {
  const there = await target();
  await using server = await forwarder(there.port);
  const client = await connectClient({ host: "127.0.0.1", port: server.port });
  let received = 0;
  let hasEnded = false;
  const outcome = client.converse((payload) => void (received += payload.length), {
    outputEnded: () => (hasEnded = true),
  });
  const heard = await there.next();
  const total = 16 * MIB;
  heard.socket.end(Buffer.alloc(total));
  for (let sent = 0; sent < total; sent += 65536) {
    client.send(Buffer.alloc(65536));
    await client.writable();
  }
  client.end();
  expect(await outcome).toMatchObject({ kind: "bye", code: "done" });
  await until("the end", true, () => heard.ended);
  expect([received, hasEnded, heard.bytes.length]).toEqual([total, true, total]);
});
