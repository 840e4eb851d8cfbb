// Sessions that are resumed while they have a connection: what the replaced ones may cost, and that they end.

import { expect, test } from "bun:test";
import type { Service } from "../../src/services/service.ts";
import { within } from "../support/attack.ts";
import { DURABLE, payloads, resumeLogin, resumeOf, type Resume } from "../support/resume.ts";
import type { Peer } from "../support/peer.ts";
import { PASSWORD, startServer, type TestServer } from "../support/server.ts";

const OUTPUT_BYTES = 12 * 1024 * 1024;
/** Says at once more than the kernel takes for a client that does not read. */
const talkative: Service = {
  open: (session) => {
    for (let sent = 0; sent < OUTPUT_BYTES; sent += 8192) session.send("x".repeat(8192));
  },
  message: () => undefined,
};
const RESUMES = 20;

/** A peer that has resumed a session, of which it has received nothing. */
async function resuming(server: TestServer, resume: Resume, reads = true): Promise<Peer> {
  const peer = await server.peer();
  const login = resumeLogin(resume, 0, await peer.message());
  if (!reads) peer.socket.pause();
  const seen = server.events.length;
  peer.json(login);
  await within("a resumed session", server.event("resumed", seen));
  return peer;
}

test("a client that resumes its session in a loop, and reads nothing, has one connection: others are let in", async () => {
  await using server = await startServer({
    service: talkative,
    maxConnections: 3,
    maxBacklog: 2 * OUTPUT_BYTES,
    penalties: false,
  });
  const first = await server.peer();
  const resume = resumeOf(await first.logIn("ann", PASSWORD, DURABLE));
  first.socket.pause();
  const peers = [first];
  for (let n = 0; n < RESUMES; n++) {
    peers.push(await resuming(server, resume, false));
    // The one before has unread output, which is kept for the new one: it was reset.
    expect(server.server.connections).toBe(1);
  }
  using other = await server.peer();
  expect(await other.logIn("ann", PASSWORD)).toMatchObject({ type: "welcome" });
  for (const peer of peers) peer[Symbol.dispose]();
});

test("nor has one that reads, and does not close the replaced ones, more than two; it is told", async () => {
  await using server = await startServer({ maxPerUser: 1, penalties: false });
  let last = await server.peer();
  const peers = [last];
  const resume = resumeOf(await last.logIn("ann", PASSWORD, DURABLE));
  for (let n = 0; n < RESUMES; n++) {
    last.answersFin = false;
    const next = await resuming(server, resume);
    peers.push(next);
    expect(await next.message()).toMatchObject({ type: "welcome", resumed: true });
    expect(await last.message()).toMatchObject({ type: "bye", code: "replaced" });
    expect(server.server.connections).toBeLessThanOrEqual(2);
    last = next;
  }
  last.send("mine");
  expect(await payloads(last, 1)).toEqual(["mine"]);
  last.control({ type: "bye", code: "left", message: "" });
  for (const peer of peers) peer[Symbol.dispose]();
});
