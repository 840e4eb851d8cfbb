// Clients that fall behind, and what is queued for all of them: who is slow, who waits, and who has to go.

import { describe, expect, test } from "bun:test";
import { within } from "../support/attack.ts";
import { frame, type Peer } from "../support/peer.ts";
import { DURABLE } from "../support/resume.ts";
import { startServer, type TestServer } from "../support/server.ts";
import type { Service, Session } from "../../src/services/service.ts";

const MIB = 1024 * 1024;
const KIB = 1024;

/** Tells every member what each one says, `times` over. */
const room = (times = 1): Service => ({
  open: (session) => void session.join("all"),
  message(session, message) {
    for (let n = 0; n < times; n++) session.join("all").broadcast(message);
  },
});

async function join(server: TestServer, login: object = { control: true }): Promise<Peer> {
  const peer = await server.peer();
  await peer.enter(login);
  return peer;
}

/** Reads until `text` comes; how many frames came before it. */
async function upTo(peer: Peer, text: string): Promise<number> {
  for (let count = 0; ; count++) {
    const next = await within(text, peer.text());
    if (next === null) throw new Error(`the stream ended after ${count} frames`);
    if (next === text) return count;
  }
}

const dropped = (server: TestServer) => server.events.filter(({ event }) => event === "dropped");

test("a member that does not read is dropped, and the others get everything", async () => {
  await using server = await startServer({ auth: "none", service: room() });
  using slow = await join(server);
  using ann = await join(server);
  using bob = await join(server);
  slow.socket.pause();
  const text = "x".repeat(32 * KIB);
  for (let n = 0; n < 400; n++) {
    ann.send(`${n} ${text}`);
    const [heard, own] = await Promise.all([bob.text(), ann.text()]);
    expect(own).toStartWith(`${n} `);
    expect(heard === own).toBe(true);
  }
  expect((await within("its end", server.event("dropped"))).fields).toMatchObject({
    code: "too_slow",
    conn: 1,
  });
  expect(dropped(server)).toHaveLength(1);
});

describe.each([
  ["without acknowledgements", { control: true }],
  ["with acknowledgements", DURABLE],
])("clients that read, %s,", (_, login) => {
  test("are not dropped for what one turn makes, however much it is", async () => {
    // Each message becomes 64: 1000 small ones in one write are more than any of them may leave unread.
    const many = room(64);
    await using server = await startServer({ auth: "none", service: many });
    const members: Peer[] = [];
    for (let n = 0; n < 4; n++) members.push(await join(server, login));
    const speaker = await join(server);
    const payload = "y".repeat(130);
    speaker.raw(Buffer.concat(Array.from({ length: 1000 }, () => frame(payload))));
    speaker.send("the last");
    const counts = await Promise.all(
      [...members, speaker].map((peer) => acknowledging(peer, login === DURABLE)),
    );
    expect(counts).toEqual(counts.map(() => 1000 * 64));
    expect(dropped(server)).toEqual([]);
    for (const peer of [...members, speaker]) peer[Symbol.dispose]();
  });
});

/** Reads up to the last message, and acknowledges now and then where that was promised. */
async function acknowledging(peer: Peer, acks: boolean): Promise<number> {
  for (let count = 0; ; count++) {
    const next = await within("the last", peer.text());
    if (next === null) throw new Error(`the stream ended after ${count} frames`);
    if (next === "the last") return count;
    if (acks && count % 256 === 255) peer.control({ type: "ack", received: count + 1 });
  }
}

test("what is said for one that does not read waits for it no longer than a moment", async () => {
  await using server = await startServer({ auth: "none", service: room(16) });
  using slow = await join(server);
  slow.socket.pause();
  using ann = await join(server);
  const text = "z".repeat(32 * KIB);
  for (let n = 0; n < 40; n++) ann.send(text);
  ann.send("the last");
  expect(await upTo(ann, "the last")).toBe(40 * 16);
  expect(dropped(server)).toHaveLength(1);
});

describe("what is queued and kept for all clients", () => {
  /** Says much to one that does not read, as often as it is asked to. */
  const talker: Service = {
    async message(session, message) {
      if (message.text() === "echo") return session.send(message);
      for (let n = 0; n < 40; n++) session.send(Buffer.alloc(32 * KIB, "t"));
    },
  };
  const limits = { auth: "none", maxFrame: 64 * KIB, maxBacklog: 2 * MIB, maxQueued: 8 * MIB } as const;

  test("is bounded: the one that holds most goes, and the others are served", async () => {
    await using server = await startServer({ ...limits, service: talker, maxPerUser: 100 });
    using honest = await join(server);
    const deaf: Peer[] = [];
    let most = 0;
    for (let n = 0; n < 12; n++) {
      const peer = await join(server);
      deaf.push(peer);
      peer.socket.pause();
      for (let turn = 0; turn < 3; turn++) peer.send("talk");
      for (let turn = 0; turn < 3; turn++) {
        honest.send("echo");
        expect(await within("an echo", honest.text())).toBe("echo");
        most = Math.max(most, server.server.stats().held);
      }
    }
    expect(most).toBeLessThanOrEqual(9 * MIB);
    for (const peer of deaf) peer[Symbol.dispose]();
  });

  test("counts messages that are not whole", async () => {
    await using server = await startServer({
      ...limits,
      maxFrame: MIB,
      service: talker,
      frameTimeoutMs: 60_000,
    });
    const peers: Peer[] = [];
    const header = Buffer.from([0, 0x10, 0, 0]);
    for (let n = 0; n < 12; n++) {
      const peer = await join(server);
      peers.push(peer);
      peer.raw(Buffer.concat([header, Buffer.alloc(MIB - 1)]));
    }
    await within("the drop", server.event("dropped"));
    expect(server.server.stats().held).toBeLessThanOrEqual(8 * MIB);
    for (const peer of peers) peer[Symbol.dispose]();
  });

  test.each([
    ["that was cut", { control: true }, "disconnected"],
    ["that is detached, and expires", DURABLE, "lost"],
  ] as const)("is given back when a session is over %s", async (_, login, loss) => {
    await using server = await startServer({ ...limits, service: talker });
    const peer = await join(server, login);
    peer.send("talk");
    await within("an answer", peer.frame());
    peer.socket.pause();
    peer.reset();
    await within("its loss", server.event(loss));
    if (loss === "lost") expect(server.server.stats().held).toBeGreaterThan(MIB);
    server.server.terminate();
    await within("its end", server.event("disconnected"));
    expect(server.server.stats().held).toBe(0);
  });
});

test("what is kept for detached sessions is bounded at every moment", async () => {
  let most = 0;
  const sessions: Session[] = [];
  await using server = await startServer({
    auth: "none",
    service: {
      open: (session) => void sessions.push(session),
      message() {
        const bytes = Buffer.alloc(64 * KIB);
        for (let n = 0; n < 50; n++) {
          for (const session of sessions) session.send(bytes);
          most = Math.max(most, server.server.stats().held);
        }
      },
    },
  });
  for (let n = 0; n < 30; n++) {
    const peer = await join(server, DURABLE);
    peer.reset();
    await server.event("lost", n);
  }
  using speaker = await join(server);
  speaker.send("say it");
  await within("an answer", speaker.frame());
  expect(most).toBeGreaterThan(32 * MIB);
  expect(most).toBeLessThanOrEqual(66 * MIB);
});
