// What the log says of a session that sleeps, comes back, or does not: whose line it is, and why it ended.

import { expect, test } from "bun:test";
import { disableUser } from "../../src/auth/accounts.ts";
import { within } from "../support/attack.ts";
import { reconnect, DURABLE, resumeOf } from "../support/resume.ts";
import { PASSWORD, startServer, type TestServer } from "../support/server.ts";

/** ann, logged in and lost again. */
async function sleeping(server: TestServer): Promise<void> {
  using peer = await server.peer();
  await peer.logIn("ann", PASSWORD, DURABLE);
  const lost = server.events.length;
  peer.reset();
  await within("lost", server.event("lost", lost));
}

test("a line of a session that has come back has both its numbers", async () => {
  await using server = await startServer();
  using peer = await server.peer();
  const resume = resumeOf(await peer.logIn("ann", PASSWORD, DURABLE));
  peer.reset();
  expect((await server.event("lost")).fields["session"]).toBeUndefined();
  const [again] = await reconnect(server.port, resume, 0);
  using _ = again;
  const own = {
    conn: 2,
    peer: `127.0.0.1:${again.socket.localPort}`,
    user: "ann",
    session: 1,
  };
  const { fields } = await within("resumed", server.event("resumed"));
  expect(fields).toEqual({ ...own, detached_ms: expect.any(Number) });
  again.control({ type: "bye", code: "left", message: "" });
  again.end();
  const end = await within("disconnected", server.event("disconnected"));
  expect(end.fields).toEqual({ ...own, received: 0, bye: "left", error: undefined });
});

test.each([
  ["nobody came back in time", "expired", { keepaliveMs: 100, resumeForMs: 100 }, () => undefined],
  ["another needed the place", "crowded_out", { maxPerUser: 1 }, sleeping],
  [
    "its user was disabled",
    "disabled",
    {},
    ({ store }: TestServer) => store?.change((draft) => disableUser(draft, "ann", undefined, new Date())),
  ],
  ["the server stopped", "shutting_down", {}, ({ server }: TestServer) => server.stop()],
] as const)("a session that sleeps says why it ended: %s", async (_, bye, options, end) => {
  await using server = await startServer(options);
  await sleeping(server);
  await end(server);
  const { fields } = await within("disconnected", server.event("disconnected"));
  expect(fields).toMatchObject({ conn: 1, user: "ann", bye, error: undefined });
  const expiry = server.events.find(({ event }) => event === "session-expired");
  if (bye !== "expired" && bye !== "crowded_out") expect(expiry).toBeUndefined();
  else
    expect(expiry?.fields).toMatchObject({
      conn: 1,
      user: "ann",
      code: bye,
      detached_ms: expect.any(Number),
    });
});

test("whoever leaves with a reset after `bye` has left all the same: that is no error", async () => {
  await using server = await startServer({ auth: "none" });
  const peers = await Promise.all([server.peer(), server.peer()]);
  await Promise.all([peers[0].enter(DURABLE), peers[1].enter()]);
  const stopped = server.server.stop();
  for (const peer of peers) {
    expect(await within("bye", peer.message())).toMatchObject({ type: "bye", code: "shutting_down" });
    peer.reset();
  }
  await stopped;
  const ends = server.events.filter(({ event }) => event === "disconnected");
  for (const { fields } of ends) expect(fields).toMatchObject({ bye: "shutting_down", error: undefined });
  expect(ends).toHaveLength(2);
  expect(server.events.filter(({ level }) => level !== "info")).toEqual([]);
});
