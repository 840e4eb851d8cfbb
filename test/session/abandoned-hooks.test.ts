// Hooks that are still at work when nobody hears them any more: they are told, and what does not listen is not waited for.

import { describe, expect, test } from "bun:test";
import { setTimeout as delay } from "node:timers/promises";
import { SessionClosedError, type Session } from "../../src/services/service.ts";
import { PATIENCE_MS } from "../support/attack.ts";
import { startServer, type TestServer } from "../support/server.ts";

const LONG_MS = 1_000_000;

/** A server whose service is at work on `hook` as soon as somebody is in; `done` is how that ended. */
async function working(hook: (session: Session) => Promise<void>, leftHookMs = LONG_MS) {
  const begun = Promise.withResolvers<Session>();
  const done = Promise.withResolvers<unknown>();
  const closed = Promise.withResolvers<void>();
  const server = await startServer({
    auth: "none",
    abandonedHookMs: leftHookMs,
    service: {
      async open(session) {
        begun.resolve(session);
        const pending = hook(session);
        pending.then(done.resolve, done.resolve);
        await pending;
      },
      message: () => undefined,
      close: () => closed.resolve(),
    },
  });
  return { server, begun: begun.promise, done: done.promise, closed: closed.promise };
}

function faults(server: TestServer): string[] {
  return server.events.map(({ event }) => event).filter((event) => event.startsWith("service-"));
}

async function stream(session: Session): Promise<void> {
  for (;;) {
    session.send("more");
    await session.writable();
  }
}

describe("a hook is told that nobody hears it", () => {
  test.each<[string, (session: Session) => Promise<void>]>([
    ["by what it awaits when it sends", stream],
    ["by the signal of a timer", (session) => delay(LONG_MS, undefined, { signal: session.signal })],
    [
      "by the signal itself",
      (session) =>
        new Promise((_, reject) => {
          session.signal.addEventListener("abort", () => reject(session.signal.reason as Error));
        }),
    ],
  ])("%s, when its client is gone: that is no failure", async (_, hook) => {
    const { server, begun, done, closed } = await working(hook);
    await using _server = server;
    using peer = await server.peer();
    await peer.enter();
    await begun;
    peer.reset();
    expect(SessionClosedError.is(await done)).toBe(true);
    await closed;
    await server.event("disconnected");
    expect(faults(server)).toEqual([]);
    expect(server.server.sessions).toBe(0);
  });

  test("when it has finished itself", async () => {
    const { server, begun } = await working(async (session) => session.finish());
    await using _server = server;
    using peer = await server.peer();
    await peer.enter();
    const { signal } = await begun;
    expect(signal.aborted).toBe(true);
    expect(signal.reason).toBeInstanceOf(SessionClosedError);
    peer.end();
    await peer.closed;
  });

  test("not while the client may come back", async () => {
    const { server, begun } = await working(() => delay(LONG_MS, undefined, { ref: false }));
    await using _server = server;
    using peer = await server.peer();
    await peer.enter({ control: true, resume_for: 60 });
    const session = await begun;
    peer.reset();
    await server.event("lost");
    expect(session.signal.aborted).toBe(false);
  });

  test("what it throws for another reason is a failure, as ever", async () => {
    const { server } = await working(async (session) => {
      session.signal.throwIfAborted();
      throw new Error("broken");
    });
    await using _server = server;
    using peer = await server.peer();
    await peer.enter();
    expect((await server.event("service-failed")).fields["reason"]).toContain("broken");
    peer.reset();
  });
});

test("a hook that does not listen is not waited for, and its talk to nobody ends", async () => {
  const ticker = async (session: Session) => {
    for (;;) {
      session.send("tick");
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const { server, begun, done, closed } = await working(ticker, 1);
  await using _server = server;
  using peer = await server.peer();
  await peer.enter();
  await begun;
  peer.reset();
  await closed;
  expect((await server.event("service-busy")).fields["conn"]).toBe((await begun).id);
  await server.event("disconnected");
  expect(await done).toBeInstanceOf(SessionClosedError);
  expect(faults(server)).toEqual(["service-busy"]);
  expect(await server.server.stop(PATIENCE_MS)).toBe(0);
});
