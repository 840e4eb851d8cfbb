// Sessions that nobody can come back to, and what it costs to try.

import { describe, expect, test } from "bun:test";
import { disableUser, removeUser, revokeTokens, setPassword } from "../../src/auth/accounts.ts";
import type { Document } from "../../src/auth/document.ts";
import { REFUSAL_DELAYS_MS } from "../../src/base/limits.ts";
import { PATIENCE_MS, until, within } from "../support/attack.ts";
import { reconnect, DURABLE, payloads, resumeLogin, resumeOf } from "../support/resume.ts";
import { frame, Peer } from "../support/peer.ts";
import { PASSWORD, startServer } from "../support/server.ts";

const GONE = { type: "refused", code: "session_gone" };

test("a wrong proof costs no attempt, no penalty and no delay, and another login may follow", async () => {
  await using server = await startServer();
  using peer = await server.peer();
  const resume = resumeOf(await peer.logIn("ann", PASSWORD, DURABLE));
  const began = performance.now();
  // Logins refused so often would be delayed by far more than this takes.
  for (let n = 0; n < REFUSAL_DELAYS_MS.length; n += 3) {
    using other = await server.peer();
    const hello = await other.message();
    for (let wrong = n; wrong < n + 3; wrong++) {
      other.json(resumeLogin({ ...resume, key: Buffer.alloc(32, wrong) }, 0, hello));
      expect(await other.message()).toMatchObject({ ...GONE, attempts_left: 3 });
    }
    other.json({ type: "login", method: "password", user: "ann", password: PASSWORD, resume_for: 0 });
    expect(await other.message()).toMatchObject({ type: "welcome" });
  }
  expect(performance.now() - began).toBeLessThan(REFUSAL_DELAYS_MS.reduce((sum, delay) => sum + delay));
  peer.send("still mine");
  expect(await payloads(peer, 1)).toEqual(["still mine"]);
  peer.control({ type: "bye", code: "left", message: "" });
});

test("clients that leave when they hear that their session is gone cost their address nothing", async () => {
  await using server = await startServer({ auth: "none" });
  const gone = { session: "gone", key: Buffer.alloc(32) };
  for (let n = 0; n < 40; n++) {
    const [peer, answer] = await reconnect(server.port, gone, 0);
    using _ = peer;
    expect(answer).toMatchObject(GONE);
  }
});

test("a proof that was recorded is worth nothing on another connection", async () => {
  await using server = await startServer({ auth: "none" });
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter(DURABLE));
  using first = await server.peer();
  const login = resumeLogin(resume, 0, await first.message());
  using other = await server.peer();
  await other.message();
  other.json(login);
  expect(await other.message()).toMatchObject(GONE);
  first.json(login);
  expect(await first.message()).toMatchObject({ resumed: true });
  first.control({ type: "bye", code: "left", message: "" });
});

test("the newer resume wins; the older connection is told, and the session has one", async () => {
  await using server = await startServer({ auth: "none" });
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter(DURABLE));
  const [second] = await reconnect(server.port, resume, 0);
  using _ = second;
  expect(await within("bye", peer.message())).toMatchObject({ type: "bye", code: "replaced" });
  peer.send("too late");
  const [third, welcome] = await reconnect(server.port, resume, 0);
  using __ = third;
  expect(welcome).toMatchObject({ resumed: true, received: 0 });
  expect(await within("bye", second.message())).toMatchObject({ type: "bye", code: "replaced" });
  third.send("mine");
  expect(await payloads(third, 1)).toEqual(["mine"]);
  expect(server.server.sessions).toBe(1);
  third.control({ type: "bye", code: "left", message: "" });
  await until("sessions", 0, () => server.server.sessions);
});

describe("a credential that ends, ends the session that sleeps", () => {
  const ends: [string, (draft: Document) => void][] = [
    ["token revoked", (draft) => void revokeTokens(draft, () => true)],
    ["user disabled", (draft) => disableUser(draft, "ann", undefined, new Date())],
    ["user removed", (draft) => removeUser(draft, "ann")],
    ["password changed", (draft) => setPassword(draft, "ann", "new", false, new Date())],
  ];
  for (const phase of ["talking", "finished"] as const) {
    test.each(ends)(`while it was ${phase}: %s`, async (_, end) => {
      await using server = await startServer();
      using peer = await server.peer();
      const resume = resumeOf(await peer.logIn("ann", PASSWORD, DURABLE));
      peer.send("x");
      if (phase === "finished") peer.control({ type: "end" });
      await within("an answer", peer.frame());
      peer.reset();
      await server.event("lost");
      await server.store?.change((draft) => {
        end(draft);
      });
      const [again, answer] = await reconnect(server.port, resume, 0);
      using __ = again;
      expect(answer).toMatchObject(GONE);
      await until("sessions", 0, () => server.server.sessions);
    });
  }
});

test("one that said it will not come back (resume_for 0) cannot", async () => {
  await using server = await startServer({ auth: "none" });
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter({ control: true, resume_for: 0 }));
  const [again, answer] = await reconnect(server.port, resume, 0);
  using _ = again;
  expect(answer).toMatchObject(GONE);
});

test("one that claims to have received more than was sent is refused, and its older connection goes on", async () => {
  await using server = await startServer({ auth: "none" });
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter(DURABLE));
  const [again, answer] = await reconnect(server.port, resume, 5);
  using _ = again;
  expect(answer["type"]).not.toBe("welcome");
  peer.control({ type: "bye", code: "left", message: "" });
});

test("one that never acknowledged, and had more answers than are kept, is gone when it comes back", async () => {
  const line = "x".repeat(1000);
  await using server = await startServer({
    auth: "none",
    resumeForMs: 10 * PATIENCE_MS,
  });
  using peer = await server.peer();
  const resume = resumeOf(await peer.enter({ control: true, resume_for: undefined }));
  for (let n = 0; n < 5000; n++) peer.send(line);
  await payloads(peer, 5000);
  peer.reset();
  await until("sockets", 0, () => server.server.connections);
  const [again, answer] = await reconnect(server.port, resume, 5000);
  using _ = again;
  expect(answer).toMatchObject(GONE);
  expect(server.server.sessions).toBe(0);
});

test("sessions that sleep are not without number: neither one user's, nor everybody's", async () => {
  await using server = await startServer({ maxPerUser: 3, maxConnections: 20, penalties: false });
  for (let n = 0; n < 40; n++) {
    const peer = await Peer.connect(server.port);
    await peer.logIn("ann", PASSWORD, DURABLE);
    peer.reset();
    await until("sockets", 0, () => server.server.connections);
  }
  expect(server.server.sessions).toBeLessThanOrEqual(20);
}, 120_000);

test("those who came back over a connection that was gone already are counted among them", async () => {
  await using server = await startServer({ maxPerUser: 3, penalties: false });
  for (let n = 0; n < 10; n++) {
    const peer = await Peer.connect(server.port);
    const resume = resumeOf(await peer.logIn("ann", PASSWORD, DURABLE));
    peer.reset();
    await until("sockets", 0, () => server.server.connections);
    const again = await Peer.connect(server.port);
    const wrong = { type: "login", method: "password", user: "ann", password: "not hers" };
    const login = resumeLogin(resume, 0, await again.message());
    // The end is there before the second login is read: the first one takes the time of a hash.
    again.socket.end(Buffer.concat([wrong, login].map((message) => frame(JSON.stringify(message)))));
    await until("sockets", 0, () => server.server.connections);
  }
  expect(server.events.some(({ event }) => event === "resumed")).toBe(true);
  expect(server.server.sessions).toBeLessThanOrEqual(3);
});
