// A credential that ends, ends its session for good: from that moment there is no coming back, no further answer, and no
// program that runs on.

import { describe, expect, test } from "bun:test";
import { disableUser, removeUser, revokeTokens, setPassword } from "../../src/auth/accounts.ts";
import type { Document } from "../../src/auth/document.ts";
import { proveToken, RESUME_LABEL } from "../../src/auth/token.ts";
import { until } from "../support/attack.ts";
import type { Peer } from "../support/peer.ts";
import { PASSWORD, startServer, type TestServer } from "../support/server.ts";

const ENDS: [string, (draft: Document) => unknown][] = [
  ["disabled", (draft) => disableUser(draft, "ann", undefined, new Date())],
  ["removed", (draft) => removeUser(draft, "ann")],
  ["given another password", (draft) => setPassword(draft, "ann", "x", false, new Date())],
  ["logged out", (draft) => revokeTokens(draft, () => true)],
];

const DURABLE = { control: true, resume_for: 60 };

async function comeBack(
  server: TestServer,
  welcome: Record<string, unknown>,
): Promise<Record<string, unknown>> {
  using peer = await server.peer();
  const nonce = Buffer.from(String((await peer.message())["nonce"]), "base64");
  const key = Buffer.from(String(welcome["resume_key"]), "base64");
  const proof = proveToken(key, RESUME_LABEL, nonce, new Uint8Array(0)).toString("base64");
  peer.json({ type: "login", method: "resume", session: welcome["session"], proof, received: 0, ...DURABLE });
  return await peer.message();
}

describe.each(ENDS)("a user who is %s", (_, end) => {
  /** A service that talks on, and notices its end. */
  async function start(): Promise<{ server: TestServer; closed: () => number }> {
    let closed = 0;
    const server = await startServer({
      service: {
        message(session, message) {
          session.send(message);
        },
        close: () => void closed++,
      },
    });
    return { server, closed: () => closed };
  }

  async function talk(server: TestServer): Promise<{ peer: Peer; welcome: Record<string, unknown> }> {
    const peer = await server.peer();
    const welcome = await peer.logIn("ann", PASSWORD, DURABLE);
    peer.send("one");
    expect(await peer.text()).toBe("one");
    return { peer, welcome };
  }

  test("hears bye, and cannot come back while that connection is still open", async () => {
    const { server, closed } = await start();
    await using _ = server;
    const { peer, welcome } = await talk(server);
    using __ = peer;
    peer.answersFin = false; // it keeps its side open, as long as it likes
    await server.store?.change(end);
    expect(await peer.message()).toMatchObject({ type: "bye" });
    expect(closed()).toBe(1);
    for (let tries = 0; tries < 3; tries++) {
      expect(await comeBack(server, welcome)).toMatchObject({ type: "refused", code: "session_gone" });
    }
    peer.send("two");
    peer.end();
    expect(await peer.rest()).toEqual([]);
  });

  test("cannot come back after a loss", async () => {
    const { server, closed } = await start();
    await using _ = server;
    const { peer, welcome } = await talk(server);
    peer.reset();
    await server.event("lost");
    await server.store?.change(end);
    expect(await comeBack(server, welcome)).toMatchObject({ type: "refused", code: "session_gone" });
    expect(closed()).toBe(1);
  });

  test("who reads nothing keeps no service", async () => {
    const { server, closed } = await start();
    await using _ = server;
    const { peer } = await talk(server);
    using __ = peer;
    peer.socket.pause();
    for (let n = 0; n < 64; n++) peer.send(Buffer.alloc(64 * 1024));
    await server.store?.change(end);
    await until("the service's end", 1, closed);
  });
});
