// A port that speaks TLS, and peers that do not, or not as they should: each is closed in its time, is told apart in the
// log, leaves nothing behind, and keeps nobody else out. And a client whose server is none.

import type { Socket } from "node:net";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Cork } from "../../src/net/cork.ts";
import { dial, DialError } from "../../src/net/dial.ts";
import { DIAL_TIMEOUT_MS } from "../../src/base/limits.ts";
import { clientOptions, serverOptions, type TlsIdentity } from "../../src/net/tls.ts";
import { attack, CROWD, PATIENCE_MS, until, within } from "../support/attack.ts";
import { selfSigned } from "../support/certificates.ts";
import { fakeServer } from "../support/fake-server.ts";
import { Peer } from "../support/peer.ts";
import { Frames } from "../support/frames.ts";
import { tlsClient } from "../support/rogue.ts";
import { startServer, type TestServer } from "../support/server.ts";

/** The beginning of a ClientHello of 512 bytes. */
const HALF_HELLO = Buffer.from("160301020001000001fc0303", "hex");
/** Nobody's time is over within a test. */
const NEVER_MS = 10 * PATIENCE_MS;

let identity: TlsIdentity;
beforeAll(async () => {
  identity = await selfSigned();
});

const tlsFailures = (server: TestServer) =>
  server.events.filter(({ event }) => event === "tls-failed").map(({ fields }) => String(fields["reason"]));

/** A peer that never closes its side by itself. */
function stubborn(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    socket.once("connect", () => resolve(socket));
    socket.once("error", reject);
    socket.on("error", () => undefined).resume();
  });
}

const closed = (socket: Socket) => new Promise<void>((resolve) => socket.once("close", () => resolve()));

describe("a port with TLS", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer({ auth: "none", tls: identity, tlsTimeoutMs: 300 });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test("that gets HTTP closes at once, and says what it was", async () => {
    await using patient = await startServer({ auth: "none", tls: identity, tlsTimeoutMs: NEVER_MS });
    const attacker = await attack(patient.port);
    attacker.socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await within("the end", attacker.closed);
    await until("connections", 0, () => patient.server.connections);
    expect(tlsFailures(patient).join()).toContain("does not speak TLS 1.3");
  });

  test.each([
    ["nothing", Buffer.alloc(0)],
    ["half a ClientHello", HALF_HELLO],
    ["one byte of it", HALF_HELLO.subarray(0, 1)],
  ])("that gets %s closes when the time for TLS is over, though the peer never does", async (_, bytes) => {
    const before = tlsFailures(server).length;
    const began = performance.now();
    const socket = await stubborn(server.port);
    if (bytes.length > 0) socket.write(bytes);
    await within("the end", closed(socket));
    expect(performance.now() - began).toBeGreaterThan(290);
    await until("connections", 0, () => server.server.connections);
    expect(tlsFailures(server).slice(before)).toEqual([
      "no TLS within 300 ms: a client without TLS waits for the server to speak first",
    ]);
  });

  test("that gets a byte now and then is not kept waiting by it", async () => {
    const attacker = await attack(server.port);
    const hello = Buffer.concat([HALF_HELLO, Buffer.alloc(500)]);
    let at = 0;
    const drip = setInterval(() => attacker.socket.write(hello.subarray(at, ++at)), 20);
    await within("the end", attacker.closed).finally(() => clearInterval(drip));
    // All of it would have taken thirty times the server's patience.
    expect(at).toBeLessThan(hello.length);
  });

  test("gives a client with no more than TLS 1.2 no channel", async () => {
    const outcome = await tlsClient(server.port, { maxVersion: "TLSv1.2" }).then(
      (socket) => socket.getProtocol(),
      () => "refused",
    );
    expect(outcome).toBe("refused");
    await until("connections", 0, () => server.server.connections);
  });

  test("lets a real client in while others hold on to what they have", async () => {
    await using patient = await startServer({
      auth: "none",
      tls: identity,
      maxPendingPerAddress: 8,
      tlsTimeoutMs: NEVER_MS,
      loginTimeoutMs: NEVER_MS,
    });
    const silent = await Promise.all(Array.from({ length: 8 }, () => attack(patient.port, "127.0.0.2")));
    const socket = await within("a channel", tlsClient(patient.port));
    const hello = await new Frames(socket).next();
    expect(String(hello)).toContain('"hello"');
    expect(socket.getProtocol()).toBe("TLSv1.3");
    socket.destroy();
    for (const { socket: other } of silent) other.destroy();
    await until("connections", 0, () => patient.server.connections);
  });

  test("stops at once although peers have not come to speak TLS", async () => {
    const stopping = await startServer({ auth: "none", tls: identity, tlsTimeoutMs: NEVER_MS });
    const peers = await Promise.all([stubborn(stopping.port), stubborn(stopping.port)]);
    peers[1]?.write(HALF_HELLO);
    await until("connections", 2, () => stopping.server.connections);
    const gone = Promise.all(peers.map(closed));
    expect(await within("the stop", stopping.server.stop(NEVER_MS))).toBe(0);
    await within("their end", gone);
    await stopping[Symbol.asyncDispose]();
  });
});

test("only what was said costs a source time: silence does not, garbage does", async () => {
  await using server = await startServer({
    auth: "none",
    tls: identity,
    tlsTimeoutMs: 2000, // of silence; what speaks has spoken by then
    ...CROWD,
  });
  const silent = await Promise.all(Array.from({ length: 20 }, () => attack(server.port)));
  await Promise.all(silent.map((attacker) => within("the end", attacker.closed)));
  const good = await tlsClient(server.port);
  expect(String(await new Frames(good).next())).toContain('"hello"');
  good.destroy();
  const garbage = Array.from({ length: 100 }, async () => {
    const attacker = await attack(server.port);
    attacker.socket.write("GET / HTTP/1.1\r\n\r\n");
    await within("the end", attacker.closed);
  });
  await Promise.all(garbage);
  await until("connections", 0, () => server.server.connections);
  const refused = await tlsClient(server.port);
  const frames = new Frames(refused);
  expect(String(await frames.next())).toContain('"hello"'); // a session may be resumed all the same
  frames.json({ type: "login", method: "none" });
  expect(String(await frames.next())).toContain('"penalised"');
  refused.destroy();
});

test("a port without TLS that gets a ClientHello closes at once and says what it was", async () => {
  await using server = await startServer({ auth: "none" });
  const failed = await tlsClient(server.port).then(
    () => "came about",
    () => "failed",
  );
  expect(failed).toBe("failed");
  expect((await server.event("refused")).fields["reason"]).toBe("a TLS client on a port without TLS");
  await until("connections", 0, () => server.server.connections);
});

test("a ClientHello on a port without TLS is a mistake, and costs as much as leaving does", async () => {
  await using server = await startServer({ auth: "none", ...CROWD });
  const helloInVain = () => tlsClient(server.port).catch(() => undefined);
  await Promise.all(Array.from({ length: 5 }, helloInVain));
  using peer = await Peer.connect(server.port);
  expect(await peer.message()).toMatchObject({ type: "hello" });
  await Promise.all(Array.from({ length: 100 }, helloInVain));
  using refused = await Peer.connect(server.port);
  expect(await refused.enter()).toMatchObject({ type: "error", code: "penalised" });
});

describe("a dial over TLS", () => {
  const options = {
    host: "127.0.0.1",
    tls: { authorities: undefined },
    maxFrame: 4096,
    maxBacklog: Infinity,
  };
  const failure = async (port: number, timeoutMs = 5000) => {
    const began = performance.now();
    try {
      await dial({ ...options, port, timeoutMs, cork: new Cork() });
    } catch (error) {
      if (!(error instanceof DialError)) throw error;
      return { code: error.code, hint: error.hint ?? "", ms: performance.now() - began };
    }
    throw new Error("a connection came about");
  };

  test("to a server that says nothing is given up in its time", async () => {
    using silent = await fakeServer(() => undefined);
    const { code, ms } = await failure(silent.port, 200);
    expect(code).toBe("timeout");
    expect(ms).toBeLessThan(DIAL_TIMEOUT_MS); // not in the time of those who name none
  });

  // The certificate names no address by which the server is reached: it is the pin that counts.
  test("to an address that the certificate does not name comes about, with the pin", async () => {
    const named = await selfSigned("example.org");
    await using server = await startServer({ auth: "none", tls: named });
    const connection = await dial({ ...options, port: server.port, cork: new Cork() });
    const { pin } = connection;
    connection.terminate();
    expect(pin).toBe(named.pin);
  });

  test("that was given up leaves no socket behind", async () => {
    const gone = Promise.withResolvers<void>();
    using silent = await fakeServer((socket) => {
      socket.on("close", gone.resolve).on("end", gone.resolve);
    });
    await failure(silent.port, 100);
    await within("the end of the socket", gone.promise);
  });

  test.each([
    ["speaks plain text", (socket: Socket) => socket.write('\0\0\0\x10{"type":"hello"}')],
    ["closes", (socket: Socket) => socket.end()],
    ["resets", (socket: Socket) => socket.resetAndDestroy()],
    ["sends a broken ServerHello", (socket: Socket) => socket.write(HALF_HELLO)],
  ])("to a server that %s fails as TLS, at once or in its time, with the way out", async (what, greet) => {
    using server = await fakeServer((socket) => {
      socket.once("data", () => greet(socket));
    });
    const { code, hint, ms } = await failure(server.port, 2000);
    expect(["tls", "lost", "timeout"]).toContain(code);
    // Only one that has shown that it speaks plain text is a reason to do so.
    if (what === "speaks plain text") expect(hint).toContain("--no-tls");
    expect(ms).toBeLessThan(DIAL_TIMEOUT_MS);
    expect(server.received.text).toStartWith("\x16\x03");
  });
});

test("options without key, certificate or authority are a fault, never plain text", () => {
  expect(() => serverOptions({ ...identity, key: "" })).toThrow(TypeError);
  expect(() => serverOptions({ ...identity, certificate: "" })).toThrow(TypeError);
  expect(() => clientOptions({ authorities: "" }, "example.org")).toThrow(TypeError);
  for (const authorities of [undefined, "PEM"]) {
    const made = clientOptions({ authorities }, "example.org");
    expect(made).toMatchObject({ minVersion: 0x0304, rejectUnauthorized: authorities !== undefined });
  }
});
