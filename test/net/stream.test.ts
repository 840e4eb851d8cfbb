// A byte stream over real sockets, TCP and Unix, dialled and accepted, against the sockets of node:net.

import { createServer, connect, type Server, type Socket } from "node:net";
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { PAUSE_OUTPUT_BYTES } from "../../src/base/limits.ts";
import { listen } from "../../src/net/bind.ts";
import { dialStream, streamHandlers, type Stream, type StreamAddress } from "../../src/net/stream.ts";
import { tempFolder } from "../support/folder.ts";

const folder = tempFolder();
afterAll(() => folder[Symbol.dispose]());
const cleanups: (() => void)[] = [];
afterEach(() => cleanups.splice(0).forEach((cleanup) => cleanup()));

const TIMEOUT_MS = 10_000;
const MIB = 1024 * 1024;
let sockets = 0;

/** What a stream has reported, in order; bytes as their count so far. */
class Heard {
  readonly events: string[] = [];
  bytes = 0;
  received: Buffer[] = [];
  /** What `data` returns. */
  hold: Promise<void> | undefined;
  readonly closed: Promise<Error | undefined>;
  readonly ended: Promise<void>;
  #close!: (error: Error | undefined) => void;
  #end!: () => void;

  constructor(stream: Stream) {
    this.closed = new Promise((resolve) => (this.#close = resolve));
    this.ended = new Promise((resolve) => (this.#end = resolve));
    stream.start({
      data: (bytes) => {
        this.bytes += bytes.length;
        this.received.push(Buffer.from(bytes));
        return this.hold;
      },
      end: () => {
        this.events.push(`end after ${this.bytes}`);
        this.#end();
      },
      closed: (error) => {
        this.events.push(error === undefined ? "closed" : "reset");
        this.#close(error);
      },
    });
  }
}

interface Pair {
  stream: Stream;
  peer: Socket;
  released: () => number;
}

async function listening(kind: "tcp" | "unix"): Promise<{ server: Server; address: StreamAddress }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  cleanups.push(() => server.close());
  if (kind === "unix") {
    const path = `${folder.path}/${sockets++}.sock`;
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return { server, address: { unix: path } };
  }
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, address: { host: "127.0.0.1", port: (server.address() as { port: number }).port } };
}

async function dialled(kind: "tcp" | "unix"): Promise<Pair> {
  const { server, address } = await listening(kind);
  const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
  let released = 0;
  const stream = await dialStream(address, { timeoutMs: TIMEOUT_MS, released: () => released++ });
  const peer = await accepted;
  peer.on("error", () => undefined);
  cleanups.push(() => peer.destroy());
  return { stream, peer, released: () => released };
}

async function accepted(): Promise<Pair> {
  let released = 0;
  const { promise, resolve } = Promise.withResolvers<Stream>();
  const listener = listen("127.0.0.1", 0, streamHandlers(resolve, { released: () => released++ }));
  cleanups.push(() => listener.stop(true));
  const peer = connect({ port: listener.port, host: "127.0.0.1", allowHalfOpen: true });
  peer.pause();
  peer.on("error", () => undefined);
  cleanups.push(() => peer.destroy());
  return { stream: await promise, peer, released: () => released };
}

/** Everything that `peer` reads until the end. */
function readAll(peer: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  peer.on("data", (chunk: Buffer) => chunks.push(chunk));
  return new Promise((resolve) => {
    peer.on("end", () => resolve(Buffer.concat(chunks)));
    peer.resume();
  });
}

const noise = (length: number) =>
  Buffer.from(crypto.getRandomValues(new Uint8Array(65536)))
    .toString("latin1")
    .repeat(Math.ceil(length / 65536))
    .slice(0, length);

const KINDS = {
  "dialled over TCP": () => dialled("tcp"),
  "dialled over a Unix socket": () => dialled("unix"),
  "accepted over TCP": accepted,
};

describe.each(Object.entries(KINDS))("a stream %s", (_, open) => {
  test("our end first, the peer's later: all arrives both ways, and then it is closed", async () => {
    const { stream, peer, released } = await open();
    const heard = new Heard(stream);
    const sent = Buffer.from(noise(3 * MIB), "latin1");
    void stream.write(sent);
    stream.endWriting();
    expect((await readAll(peer)).equals(sent)).toBe(true);
    expect(heard.events).toEqual([]);
    peer.end(sent);
    expect(await heard.closed).toBeUndefined();
    expect(heard.events).toEqual([`end after ${sent.length}`, "closed"]);
    expect(Buffer.concat(heard.received).equals(sent)).toBe(true);
    expect(released()).toBe(1);
  });

  test("the peer's end first, ours later", async () => {
    const { stream, peer, released } = await open();
    const heard = new Heard(stream);
    const sent = Buffer.from(noise(3 * MIB), "latin1");
    peer.end(sent);
    await heard.ended;
    expect(heard.events).toEqual([`end after ${sent.length}`]);
    void stream.write(sent);
    stream.endWriting();
    expect((await readAll(peer)).equals(sent)).toBe(true);
    expect(await heard.closed).toBeUndefined();
    expect(released()).toBe(1);
  });

  test("the end waits while bytes are still being taken", async () => {
    const { stream, peer } = await open();
    const heard = new Heard(stream);
    const { promise, resolve } = Promise.withResolvers<void>();
    heard.hold = promise;
    peer.end("x");
    while (heard.bytes === 0) await new Promise(setImmediate);
    expect(heard.events).toEqual([]);
    resolve();
    await heard.ended;
    expect(heard.events).toEqual(["end after 1"]);
  });

  test("what came before start is delivered then", async () => {
    const { stream, peer } = await open();
    await new Promise<void>((resolve) => peer.end("early", resolve));
    const heard = new Heard(stream);
    await heard.ended;
    expect(heard.events).toEqual(["end after 5"]);
  });

  test("a peer that does not read makes the writer wait with 256 KiB queued", async () => {
    const { stream, peer } = await open();
    const heard = new Heard(stream);
    const piece = Buffer.alloc(64 * 1024, "x");
    let sent = 0;
    let pending: void | Promise<void> = undefined;
    while (pending === undefined && sent < 64 * MIB) {
      pending = stream.write(piece);
      sent += piece.length;
    }
    expect(pending).toBeInstanceOf(Promise);
    expect(stream.queued).toBeGreaterThan(PAUSE_OUTPUT_BYTES);
    expect(stream.queued).toBeLessThanOrEqual(PAUSE_OUTPUT_BYTES + piece.length);
    const read = readAll(peer);
    await pending;
    expect(stream.queued).toBeLessThanOrEqual(PAUSE_OUTPUT_BYTES);
    stream.endWriting();
    expect((await read).length).toBe(sent);
    expect(heard.events).toEqual([]);
  });

  test("a reader that is busy holds the peer", async () => {
    const { stream, peer } = await open();
    const heard = new Heard(stream);
    const { promise, resolve } = Promise.withResolvers<void>();
    heard.hold = promise;
    const total = 32 * MIB;
    let isAllTaken = false;
    peer.end(Buffer.alloc(total), () => (isAllTaken = true));
    while (heard.bytes === 0) await new Promise(setImmediate);
    // Loopback has taken all that it holds when the count of unsent bytes rests.
    for (let last = -1; last !== peer.bytesWritten;) {
      last = peer.bytesWritten;
      for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    }
    expect(isAllTaken).toBe(false);
    expect(heard.bytes).toBeLessThan(MIB);
    heard.hold = undefined;
    resolve();
    await heard.ended;
    expect(heard.bytes).toBe(total);
  });

  test("what waits in the queue is given up with the peer", async () => {
    const { stream, peer } = await open();
    const heard = new Heard(stream);
    const pending = stream.write(Buffer.alloc(32 * MIB));
    expect(pending).toBeInstanceOf(Promise);
    peer.destroy();
    expect(await heard.closed).toBeInstanceOf(Error);
    await pending;
    expect(stream.queued).toBe(0);
    expect(heard.events.at(-1)).toBe("reset");
    expect(stream.write(Buffer.from("x"))).toBeUndefined();
  });

  test("a peer that has closed both ways is a reset for the next bytes, and an end for the end", async () => {
    const gone = await open();
    const first = new Heard(gone.stream);
    gone.peer.resume().end();
    gone.peer.destroy();
    await first.ended;
    while (!gone.stream.isClosed) {
      void gone.stream.write(Buffer.from("x"));
      await new Promise(setImmediate);
    }
    expect(await first.closed).toBeInstanceOf(Error);
    const left = await open();
    const second = new Heard(left.stream);
    left.peer.destroy();
    await second.ended;
    left.stream.endWriting();
    expect(await second.closed).toBeUndefined();
    expect(left.released()).toBe(1);
  });
});

describe.each(Object.entries({ dialled: () => dialled("tcp"), accepted }))("a TCP stream, %s", (_, open) => {
  test.each(["idle", "after our end", "after its end", "while it is held"])(
    "a reset of the peer is an error: %s",
    async (when) => {
      const { stream, peer, released } = await open();
      const heard = new Heard(stream);
      if (when === "after our end") {
        stream.endWriting();
        await readAll(peer);
      }
      if (when === "after its end") {
        peer.end();
        await heard.ended;
      }
      if (when === "while it is held") {
        heard.hold = new Promise(() => undefined);
        peer.write("x");
        while (heard.bytes === 0) await new Promise(setImmediate);
      }
      peer.resetAndDestroy();
      expect(await heard.closed).toBeInstanceOf(Error);
      expect(heard.events.at(-1)).toBe("reset");
      expect(released()).toBe(1);
    },
  );

  test.each(["idle", "after our end", "after its end"])("our reset is one for the peer: %s", async (when) => {
    const { stream, peer, released } = await open();
    const heard = new Heard(stream);
    peer.resume();
    if (when === "after our end") stream.endWriting();
    if (when === "after its end") {
      peer.end();
      await heard.ended;
    }
    const failed = new Promise<{ code?: string }>((resolve) => peer.on("error", resolve));
    stream.reset();
    expect((await failed).code).toMatch(/ECONNRESET|EPIPE/);
    expect(await heard.closed).toBeUndefined();
    expect(released()).toBe(1);
  });
});

describe("a dial", () => {
  test("says why it fails, and gives its socket back", async () => {
    const { server, address } = await listening("tcp");
    await new Promise((resolve) => server.close(resolve));
    let released = 0;
    const options = { timeoutMs: TIMEOUT_MS, released: () => released++ };
    expect(await dialStream(address, options).catch((error: unknown) => error)).toMatchObject({
      code: "refused",
    });
    const missing = { unix: `${folder.path}/nothing.sock` };
    expect(await dialStream(missing, options).catch((error: unknown) => error)).toMatchObject({
      name: "DialError",
    });
    expect(released).toBe(2);
  });

  test("that a path too long for a socket is no way, is an error as any other", async () => {
    let released = 0;
    const address = { unix: `/${"x".repeat(300)}` };
    const dialling = dialStream(address, { timeoutMs: TIMEOUT_MS, released: () => released++ });
    expect(await dialling.catch((error: unknown) => error)).toMatchObject({ name: "DialError" });
    expect(released).toBe(1);
  });

  test("with a signal that was aborted before gives its socket back, too", async () => {
    const { address } = await listening("tcp");
    const gone = Promise.withResolvers<void>();
    const signal = AbortSignal.abort(new Error("left"));
    const dialling = dialStream(address, { timeoutMs: TIMEOUT_MS, signal, released: gone.resolve });
    expect(await dialling.catch((error: unknown) => error)).toMatchObject({ message: "left" });
    await gone.promise;
  });

  test("that was given up does not leave a stream behind", async () => {
    const { server, address } = await listening("tcp");
    const closed = new Promise<void>((resolve) =>
      server.once("connection", (peer) => {
        peer.on("error", () => undefined);
        peer.on("close", () => resolve());
        peer.resume();
      }),
    );
    const gone = Promise.withResolvers<void>();
    const controller = new AbortController();
    const dialling = dialStream(address, {
      timeoutMs: TIMEOUT_MS,
      signal: controller.signal,
      released: gone.resolve,
    });
    controller.abort(new Error("left"));
    expect(await dialling.catch((error: unknown) => error)).toMatchObject({ message: "left" });
    await gone.promise;
    await closed;
  });
});
