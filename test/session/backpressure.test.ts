// Slow readers, slow services and clients that leave in the middle of either: bounded, and accounted for.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { PATIENCE_MS, within } from "../support/attack.ts";
import { tempFolder } from "../support/folder.ts";
import { frame, Peer } from "../support/peer.ts";
import { startServer } from "../support/server.ts";

/** Sends until the server has stopped reading: until a write is not taken for several turns of the loop. */
async function flood(peer: Peer, payload: string, limitBytes: number): Promise<number> {
  const block = Buffer.concat(Array.from({ length: 512 }, () => frame(payload)));
  let sent = 0;
  for (let idle = 0; idle < 50 && sent < limitBytes;) {
    if (peer.socket.writableLength === 0) {
      peer.raw(block);
      sent += block.length;
      idle = 0;
    } else idle++;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return sent;
}

test("a reader that leaves while much is queued for it is gone for good", async () => {
  let closed = 0;
  await using server = await startServer({
    auth: "none",
    service: { message: (session, message) => session.send(message), close: () => void closed++ },
  });
  using peer = await server.peer();
  await peer.enter();
  peer.socket.pause();
  await flood(peer, "x".repeat(8000), 64 * 1024 * 1024);
  peer.reset();
  await server.event("disconnected");
  expect(server.server.sessions).toBe(0);
  expect(closed).toBe(1);
});

test("a service that takes its time is not read ahead for without bound", async () => {
  let handled = 0;
  await using server = await startServer({
    auth: "none",
    service: {
      async message() {
        handled++;
        await new Promise((resolve) => setImmediate(resolve));
      },
    },
  });
  using peer = await server.peer();
  await peer.enter();
  const limit = 256 * 1024 * 1024;
  expect(await flood(peer, "x".repeat(100), limit)).toBeLessThan(limit / 4);
  expect(handled).toBeGreaterThan(0);
  peer.reset();
});

test("stopping waits for messages of a client that has left already", async () => {
  const handled: string[] = [];
  const first = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  await using server = await startServer({
    auth: "none",
    service: {
      async message(_, message) {
        first.resolve();
        await gate.promise;
        handled.push(message.text());
      },
    },
  });
  using peer = await server.peer();
  await peer.enter();
  peer.raw(Buffer.concat(Array.from({ length: 100 }, (_, index) => frame(String(index)))));
  await first.promise;
  peer.reset();
  while (server.server.connections > 0) await new Promise((resolve) => setImmediate(resolve));
  const stopped = server.server.stop(PATIENCE_MS);
  gate.resolve();
  expect(await stopped).toBe(0);
  expect(handled).toEqual(Array.from({ length: 100 }, (_, index) => String(index)));
});

test("those who are told that the server is full take nobody's place", async () => {
  await using server = await startServer({ auth: "none", maxConnections: 1 });
  using one = await server.peer();
  await one.enter();
  using told = await server.peer();
  expect(await told.message()).toMatchObject({ code: "full" });
  one.end();
  await one.closed;
  using next = await server.peer(); // `told` has not closed its side yet
  expect((await next.enter())["type"]).toBe("welcome");
});

test("an end that is being worked on is waited for when the server stops", async () => {
  const gate = Promise.withResolvers<void>();
  const ending = Promise.withResolvers<void>();
  await using server = await startServer({
    auth: "none",
    service: {
      message: () => undefined,
      async end(session) {
        ending.resolve();
        await gate.promise;
        session.send("the sum");
        session.finish();
      },
    },
  });
  using peer = await server.peer();
  await peer.enter();
  peer.control({ type: "end" });
  await ending.promise;
  const stopped = server.server.stop(PATIENCE_MS);
  gate.resolve();
  expect(await peer.text()).toBe("the sum");
  expect(await peer.message()).toMatchObject({ type: "bye", code: "done" });
  peer.end();
  expect(await stopped).toBe(0);
});

describe("a service that sends without end costs nobody else a turn", () => {
  const endless = `
    import { startServer } from ${JSON.stringify(join(import.meta.dir, "../support/server.ts"))};
    const server = await startServer({
      auth: "none",
      service: {
        async message(session) {
          for (;;) {
            session.send("x".repeat(1000));
            await session.writable();
          }
        },
      },
    });
    process.stdout.write(server.port + "\\n");
  `;

  test.each(["reads", "has left", "has said that it leaves"])("while its client %s", async (how) => {
    await using server = start(endless);
    const port = Number(await server.line);
    using reader = await Peer.connect(port);
    await reader.enter({ control: true });
    reader.socket.removeAllListeners("data").on("data", () => undefined);
    reader.send("go");
    if (how === "has left") reader.reset();
    else if (how !== "reads") reader.control({ type: "bye", code: "left", message: "" });
    for (let n = 0; n < 3; n++) {
      using other = await Peer.connect(port);
      expect(await within("hello", other.message())).toMatchObject({ type: "hello" });
    }
  });

  /** In a process of its own: one that never comes to an end would take the test with it. */
  function start(code: string): AsyncDisposable & { line: Promise<string> } {
    const folder = tempFolder();
    const child = Bun.spawn([process.execPath, "-e", code], {
      env: { ...process.env, TMPDIR: folder.path },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    const first = async () => {
      for await (const chunk of child.stdout) return Buffer.from(chunk).toString();
      throw new Error("it said nothing");
    };
    return {
      line: first(),
      async [Symbol.asyncDispose]() {
        child.kill("SIGKILL");
        await child.exited;
        folder[Symbol.dispose]();
      },
    };
  }
});
