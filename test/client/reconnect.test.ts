// The client's side of a conversation that outlives its connection: what the reader or the user does meanwhile.

import { describe, expect, spyOn, test } from "bun:test";
import type { Client } from "../../src/client/client.ts";
import { connectClient } from "../../src/client/connect.ts";
import { MAX_ANSWER_BYTES, MAX_UNACKNOWLEDGED_FRAMES, RETRY_FIRST_MS } from "../../src/base/limits.ts";
import { DelayedAckTimer, AckTracker } from "../../src/delivery/ack-tracker.ts";
import { Reconnector } from "../../src/client/reconnect.ts";
import { ServerError } from "../../src/handshake/errors.ts";
import type { Welcome } from "../../src/wire/message.ts";
import { until, within } from "../support/attack.ts";
import { cuttingProxy } from "../support/cutting-proxy.ts";
import { fakeServer, HELLO, WELCOME } from "../support/fake-server.ts";
import { frame } from "../support/peer.ts";
import { startServer } from "../support/server.ts";

const BAD = "b".charCodeAt(0);

function fail(): never {
  throw new Error("broken");
}

async function connect(
  port: number,
  onResumed: (afterMs: number) => void = () => undefined,
): Promise<Client & { losses: string[] }> {
  const losses: string[] = [];
  const client = await connectClient({
    host: "127.0.0.1",
    port,
    retry: {
      times: Infinity,
      forMs: 60_000,
      resend: false,
      onLost: (reason) => void losses.push(reason),
      onResumed: ({ afterMs }) => onResumed(afterMs),
    },
  });
  return Object.assign(client, { losses });
}

test.each(["reset", "end"] as const)(
  "what is sent while an answer is being dealt with and the connection is cut (%s) is not lost",
  async (how) => {
    await using server = await startServer({ auth: "none" });
    using proxy = await cuttingProxy({ port: server.port });
    const client = await connect(proxy.port);
    const got: string[] = [];
    const gate = Promise.withResolvers<void>();
    const outcome = client.converse(async (payload) => {
      got.push(Buffer.from(payload).toString());
      if (got.length === 1) await gate.promise;
    });
    client.send("1");
    await until("answers", ["1"], () => got);
    proxy.cutAll(how);
    await server.event("lost"); // not until there is no socket: the client may be back before anybody looks
    client.send("2");
    await until("losses", 1, () => client.losses.length);
    client.send("3");
    gate.resolve();
    client.end();
    expect(await within("the end", outcome)).toMatchObject({ kind: "bye", code: "done" });
    expect([got, client.unacknowledged]).toEqual([["1", "2", "3"], 0]);
  },
);

test("a client that leaves while it is coming back leaves no session behind", async () => {
  await using server = await startServer({ auth: "none" });
  using proxy = await cuttingProxy({ port: server.port });
  const client = await connect(proxy.port);
  const outcome = client.converse(() => undefined);
  client.send("1");
  await until("awaited", 0, () => client.unacknowledged);
  // It leaves between its resume and the answer to that.
  proxy.options.tap = (_, bytes) => void (bytes.includes('"resume"') && client.leave());
  proxy.cutAll("reset");
  expect(await within("the end", outcome)).toMatchObject({ kind: "left" });
  await until("sessions", 0, () => server.server.sessions);
}, 120_000);

test.each([
  ["one message of the longest", 8 * 1024 * 1024, 1],
  ["many at once, where little may be left unread", 64 * 1024, 100],
])("the answers to what it may send are no reason to lose one that reads: %s", async (_, maxFrame, count) => {
  await using server = await startServer({ auth: "none", maxFrame, maxBacklog: 64 * 1024 });
  const client = await connect(server.port);
  const outcome = client.converse(() => undefined);
  for (let n = 0; n < count; n++) {
    client.send(new Uint8Array(maxFrame));
    await client.writable();
  }
  client.end();
  expect(await within("the end", outcome)).toMatchObject({ kind: "bye", code: "done" });
  expect(client.received).toBe(count);
  expect(client.losses).toEqual([]);
});

test("one that has too much unconfirmed when it is back goes on waiting", async () => {
  await using server = await startServer({
    auth: "none",
    service: { message: () => new Promise(() => undefined) }, // takes nothing
  });
  using proxy = await cuttingProxy({ port: server.port });
  const returned = Promise.withResolvers<void>();
  const client = await connect(proxy.port, () => returned.resolve());
  const outcome = client.converse(() => undefined);
  for (let n = 0; n < MAX_UNACKNOWLEDGED_FRAMES + 5; n++) client.send(`${n}`);
  let hasRoom = false;
  void client.writable()?.then(() => (hasRoom = true));
  proxy.cutAll("reset");
  await within("the return", returned.promise);
  await Bun.sleep(0);
  expect(hasRoom).toBe(false);
  expect(client.unacknowledged).toBeGreaterThan(MAX_UNACKNOWLEDGED_FRAMES);
  client.leave();
  await outcome;
});

test("a message in whose hook the service finishes is confirmed, unless the service only hands it on", async () => {
  for (const handsOn of [false, true]) {
    await using server = await startServer({
      auth: "none",
      service: {
        acksOnHandOff: handsOn,
        async message(session) {
          await Promise.resolve();
          session.send("that is all");
          session.finish();
          await new Promise(() => undefined);
        },
      },
    });
    const client = await connect(server.port);
    const got: string[] = [];
    const outcome = client.converse((payload) => void got.push(Buffer.from(payload).toString()));
    client.send("go");
    expect(await within("the end", outcome)).toMatchObject({ kind: "bye", code: "done" });
    expect([got, client.unacknowledged]).toEqual([["that is all"], handsOn ? 1 : 0]);
  }
});

test.each([
  ["throws", () => fail()],
  ["rejects", () => Promise.reject(new Error("broken"))],
])("a message whose hook %s is not confirmed, those before it are", async (_, breaks) => {
  await using server = await startServer({
    auth: "none",
    service: { message: (_session, message) => (message.bytes[0] === BAD ? breaks() : undefined) },
  });
  const client = await connect(server.port);
  const outcome = client.converse(() => undefined);
  for (const text of ["good", "good", "bad", "good"]) client.send(text);
  expect(await within("the end", outcome)).toMatchObject({ kind: "bye", code: "service_failed" });
  expect([client.sent, client.unacknowledged]).toEqual([4, 2]);
});

describe("the first try after a loss", () => {
  /** Comes back `times` after losses, each brought about by `lose`; how long it was away each time. */
  async function absences(
    times: number,
    lose: (client: Client, cut: () => void) => Promise<void>,
  ): Promise<number[]> {
    using _ = spyOn(Math, "random").mockReturnValue(0.99); // the longest pauses there are
    await using server = await startServer({ auth: "none" });
    using proxy = await cuttingProxy({ port: server.port });
    const away: number[] = [];
    const client = await connect(proxy.port, (ms) => void away.push(ms));
    const outcome = client.converse(() => undefined);
    for (let n = 1; n <= times; n++) {
      await lose(client, () => proxy.cutAll("reset"));
      await until("returns", n, () => away.length);
    }
    client.leave();
    await within("the end", outcome);
    return away;
  }

  test("is made at once when the connection had got the conversation further", async () => {
    const away = await absences(6, async (client, cut) => {
      const { received } = client;
      client.send("1");
      await until("answers", received + 1, () => client.received);
      cut();
    });
    expect(Math.min(...away)).toBeLessThan(RETRY_FIRST_MS / 2); // a busy machine takes its time, but not always
  });

  test("waits when it had not", async () => {
    const away = await absences(3, (_, cut) => Promise.resolve(cut()));
    // On a busy machine a connection may have held for long enough to be believed, but not always.
    expect(Math.max(...away)).toBeGreaterThan(RETRY_FIRST_MS * 0.9);
  });
});

test("an answer that the client cannot take ends the conversation: it would come again", async () => {
  await using server = await startServer({
    auth: "none",
    maxBacklog: 64 * 1024 * 1024,
    service: { message: (session) => session.send(new Uint8Array(MAX_ANSWER_BYTES + 1)) },
  });
  const client = await connect(server.port);
  const outcome = client.converse(() => undefined);
  client.send("go");
  expect(await within("the end", outcome)).toMatchObject({
    kind: "fault",
    reason: expect.stringContaining("over the limit"),
  });
  expect(client.losses).toEqual([]);
  await until("sessions", 0, () => server.server.sessions);
});

test("a server that asks for more patience than a timer has is not asked again at once", async () => {
  const none = () => undefined;
  const welcome: Welcome = { type: "welcome", user: null, known: false };
  const loss = { reason: "lost", progress: 1, welcome, received: 0, isOver: () => false };
  /** Tries twice, if it lives to see that; how often it has. */
  function comingBack(retryAfter: number) {
    const way = { tries: 0, end: Promise.resolve<unknown>(undefined) };
    const reconnect = (): Promise<never> => {
      way.tries++;
      return Promise.reject(new ServerError("turned_away", "busy", "busy", { retryAfter }));
    };
    const durability = { times: 2, forMs: Infinity, resend: false, reconnect, onLost: none, onResumed: none };
    way.end = new Reconnector().reconnect(durability, loss);
    return way;
  }
  const patient = comingBack(1e8);
  await until("tries", 1, () => patient.tries);
  const other = comingBack(0);
  await within("the end of another", other.end);
  expect([patient.tries, other.tries]).toEqual([1, 2]);
});

test("what is told to a new session is never less than nothing", async () => {
  const welcome = {
    ...WELCOME,
    session: "s",
    resume_key: Buffer.alloc(32).toString("base64"),
    resume_for: 60,
  };
  let connections = 0;
  let client: Awaited<ReturnType<typeof connect>> | undefined;
  using server = await fakeServer(async (socket, received) => {
    const isFirst = connections++ === 0;
    const seen = received.text.length;
    socket.write(frame(JSON.stringify(HELLO)));
    await until("a login", true, () => received.text.slice(seen).includes('"login"'));
    if (!isFirst) {
      const gone = { type: "refused", code: "session_gone", message: "gone", attempts_left: 2 };
      socket.write(frame(JSON.stringify(gone)));
      await until("another login", true, () => received.text.slice(seen).includes('"method":"none"'));
    }
    socket.write(frame(JSON.stringify(welcome)));
    if (!isFirst) return;
    socket.write(frame("1"));
    await until("messages", 1, () => client?.received);
    socket.write(frame("2"));
    await until("messages", 2, () => client?.received);
    socket.resetAndDestroy();
  });
  client = await connect(server.port);
  const gate = Promise.withResolvers<void>();
  const { losses } = client;
  const outcome = client.converse(() => (client?.received === 2 ? gate.promise : undefined));
  await until("connections", 2, () => connections);
  await until("losses", 1, () => losses.length);
  let told = 0;
  const later = new AckTracker(new DelayedAckTimer(), {
    processed: () => 1,
    bytesReceived: () => 0,
    sendAck: () => void told++,
  });
  later.turnEnded(); // it is told after all that was due before
  await until("acknowledgements", 1, () => told);
  expect(server.received.text).not.toContain('"received":-');
  gate.resolve();
  client.leave();
  await outcome;
});

describe("a server that was killed after it had received a message, and before its hook was done with it", () => {
  const SESSION = { ...WELCOME, keepalive: 60, resume_for: 60 };
  const GONE = { type: "refused", code: "session_gone", message: "gone", attempts_left: 2 };
  const control = (message: object) => frame(JSON.stringify(message), true);

  test.each([
    [false, ["three"], 1],
    [true, ["two", "three"], 0],
  ])("--resend %p: only what was acknowledged is confirmed", async (resend, sentAgain, unconfirmed) => {
    let connections = 0;
    using server = await fakeServer(async (socket, received) => {
      const number = ++connections;
      const seen = received.text.length;
      const see = (text: string) => until(text, true, () => received.text.slice(seen).includes(text));
      socket.write(frame(JSON.stringify(HELLO)));
      await see('"login"');
      if (number === 1) {
        const key = { session: "one", resume_key: Buffer.alloc(32).toString("base64") };
        socket.write(frame(JSON.stringify({ ...SESSION, ...key })));
        await see("two");
        socket.write(control({ type: "ack", received: 1 }));
        await until("one confirmed", 1, () => client?.unacknowledged);
        return void socket.resetAndDestroy();
      }
      if (number === 2) {
        socket.write(frame(JSON.stringify({ ...SESSION, session: "one", resumed: true, received: 2 })));
        await until("resumed", 1, () => resumed);
        return void socket.resetAndDestroy(); // killed
      }
      socket.write(frame(JSON.stringify(GONE)));
      await see('"method":"none"');
      const key = { session: "two", resume_key: Buffer.alloc(32).toString("base64") };
      socket.write(frame(JSON.stringify({ ...SESSION, ...key })));
      await see("three");
      socket.write(control({ type: "ack", received: sentAgain.length }));
      socket.write(control({ type: "bye", code: "done", message: "", status: 0 }));
    });
    let resumed = 0;
    const client: Client = await connectClient({
      host: "127.0.0.1",
      port: server.port,
      retry: {
        times: Infinity,
        forMs: 60_000,
        resend,
        onLost: () => undefined,
        onResumed: ({ isNew }) => {
          resumed++;
          if (isNew) client.send("three");
        },
      },
    });
    const outcome = client.converse(() => undefined);
    client.send("one");
    client.send("two");
    expect(await within("the end", outcome)).toMatchObject({ kind: "bye", code: "done" });
    // Two sessions' messages, as they stand on the wire.
    const messages = [...server.received.text.matchAll(/(?<=\0\0\0.)(?:one|two|three)/gs)].map(
      ([text]) => text,
    );
    expect(messages).toEqual(["one", "two", ...sentAgain]);
    expect([client.unconfirmed, client.answersMayBeMissing]).toEqual([unconfirmed, true]);
  });
});
