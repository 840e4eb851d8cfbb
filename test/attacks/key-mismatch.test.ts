// One side has a shared key and the other has none, or another one, with and without --bare: both say so in words, not
// only when their time is over, and close.

import { describe, expect, test } from "bun:test";
import { SharedKey } from "../../src/auth/shared-key.ts";
import { connectClient } from "../../src/client/connect.ts";
import { messageOf, ParleyError } from "../../src/base/errors.ts";
import { HELLO_TIMEOUT_MS } from "../../src/base/limits.ts";
import { within } from "../support/attack.ts";
import { fakeServer } from "../support/fake-server.ts";
import { Frames } from "../support/frames.ts";
import { frame } from "../support/peer.ts";
import { startServer, type TestServer } from "../support/server.ts";

const KEY = () => new SharedKey(Buffer.from("parley-test-key-0123456789abcdef"));
const OTHER = () => new SharedKey(Buffer.from("another-test-key-0123456789abcde"));
/** Both sides have said what is the matter before any time of theirs is over. */
const AT_ONCE_MS = HELLO_TIMEOUT_MS - 1000;

interface Attempt {
  said: string;
  ms: number;
}

/** What a client says that comes to a server which is not as it thinks. */
async function attempt(
  port: number,
  bare: boolean,
  key: SharedKey | undefined,
  timeoutMs?: number,
): Promise<Attempt> {
  const began = performance.now();
  const notices: Attempt[] = [];
  const note = (said: string) => notices.push({ said, ms: performance.now() - began });
  const onNoChallenge = () => note("the server has not asked for the key");
  try {
    const client = await connectClient({ host: "127.0.0.1", port, bare, key, timeoutMs, onNoChallenge });
    const outcome = await client.converse(() => undefined);
    note("reason" in outcome ? outcome.reason : outcome.kind);
  } catch (error) {
    note(error instanceof ParleyError ? `${error.message} (${error.hint ?? ""})` : messageOf(error));
  }
  return notices[0] ?? { said: "nothing", ms: Infinity };
}

const reasonOf = (server: TestServer) =>
  server.events.find(({ event }) => event === "key-refused")?.fields["reason"] ?? "nothing";

test("a connection that is lost during the exchange says nothing of the key: it is tried again", async () => {
  let connections = 0;
  using server = await fakeServer((socket) => {
    connections++;
    const challenge = Buffer.concat([Buffer.from("#CHALLENGE#{sha256}parley-s"), Buffer.alloc(40, 7)]);
    socket.write(frame(challenge));
    socket.once("data", () => socket.end()); // as a server that is ended just then
  });
  const options = { host: "127.0.0.1", port: server.port, key: KEY() };
  const failure: unknown = await connectClient(options).catch((error: unknown) => error);
  expect(failure).toMatchObject({ name: "ServerError", serverCode: "closed" });
  expect((failure as ParleyError).hint).toContain("--key-file");
  expect(connections).toBe(1);
});

test("a client that is cut off during the exchange is not shut out as one with a wrong key is", async () => {
  await using server = await startServer({ auth: "none", key: KEY() });
  for (let cuts = 1; cuts <= 6; cuts++) {
    using peer = await server.peer();
    await peer.frame();
    peer.raw(Buffer.from([0, 0, 0, 40, 0x7b])); // the beginning of a response
    peer.send("");
    peer.end();
    await peer.rest();
  }
  const client = await connectClient({ host: "127.0.0.1", port: server.port, key: KEY() });
  client.leave();
});

describe.each([
  ["with a login", false],
  ["bare", true],
])("%s", (_, bare) => {
  test("the server has a key, the client none", async () => {
    await using server = await startServer({ auth: "none", bare, key: KEY() });
    const { said, ms } = await attempt(server.port, bare, undefined);
    expect(said).toContain("the server requires a shared key");
    expect(said).toContain("--key-file");
    expect(ms).toBeLessThan(AT_ONCE_MS);
    expect((await server.event("key-refused")).fields["reason"]).toContain("it may have no key");
  });

  const logInAnyway = async (login: object) => {
    await using server = await startServer({ auth: "none", bare, key: KEY() });
    using peer = await server.peer();
    const frames = new Frames(peer.socket);
    frames.json(login);
    expect((await within("the end", frames.rest())).map(String).slice(1)).toEqual(["#FAILURE#"]);
    expect(reasonOf(server)).toBe("the peer has no key: it did not answer the challenge");
  };
  test("the server has a key, the client logs in without: it is told in words of the exchange", () =>
    logInAnyway({ type: "login", method: "password", user: "ann", password: "x" }));
  // The shortest login has 32 bytes, as many as a bare HMAC-SHA256.
  test("… by the shortest login there is", () => logInAnyway({ type: "login", method: "none" }));

  test("both have a key, and not the same", async () => {
    await using server = await startServer({ auth: "none", bare, key: KEY() });
    const { said, ms } = await attempt(server.port, bare, OTHER());
    expect(said).toContain("a different key");
    expect(ms).toBeLessThan(AT_ONCE_MS);
    expect((await server.event("key-refused")).fields["reason"]).toBe("the peer has a different key");
  });
});

test("the client has a key, the server none: with a login both say so", async () => {
  await using server = await startServer({ auth: "none" });
  const { said, ms } = await attempt(server.port, false, KEY());
  expect(said).toContain("the server does not use a shared key (start the server with --key-file");
  expect(ms).toBeLessThan(AT_ONCE_MS);
  expect((await server.event("key-refused")).fields["reason"]).toContain("this server does not");
});

test("the client has a key, the server none and is bare: neither speaks, and the client says so before it gives up", async () => {
  await using server = await startServer({ auth: "none", bare: true });
  const { said } = await attempt(server.port, true, KEY(), 3000);
  expect(said).toBe("the server has not asked for the key");
});

test("the same key, the client bare and the server not: the client says that a login is wanted", async () => {
  await using server = await startServer({ auth: "none", key: KEY() });
  const { said, ms } = await attempt(server.port, true, KEY());
  expect(said).toContain("the server requires a login");
  expect(ms).toBeLessThan(AT_ONCE_MS);
});

test("the same key, the server bare and the client not: it gives up in its time and names --bare", async () => {
  await using server = await startServer({ auth: "none", bare: true, key: KEY() });
  expect((await attempt(server.port, false, KEY(), 2000)).said).toContain("--bare");
});

// A server may have to say something else than what the key exchange expects; the key is not the reason then.
describe("a client with a key that is turned away", () => {
  test("before it was asked for the key hears why", async () => {
    await using server = await startServer({ auth: "none", key: KEY(), maxConnections: 1 });
    using first = await server.peer();
    await new Frames(first.socket).next();
    const { said } = await attempt(server.port, false, KEY());
    expect(said).toContain("the server is full (1 connection):");
  });

  test("in the middle of the exchange hears why", async () => {
    using rogue = await fakeServer((socket) => {
      const frames = new Frames(socket);
      frames.send(Buffer.concat([Buffer.from("#CHALLENGE#{sha256}parley-s"), Buffer.alloc(40, 1)]));
      void frames.next().then(() => {
        const message = "the server is shutting down";
        frames.json({ type: "error", code: "shutting_down", message });
        socket.end();
      });
    });
    expect((await attempt(rogue.port, false, KEY())).said).toContain("shutting down");
  });
});

test("a bare client that is turned away does not take the reason for an answer", async () => {
  await using server = await startServer({ bare: true, maxConnections: 1 });
  using first = await server.peer();
  const client = await connectClient({ host: "127.0.0.1", port: server.port, bare: true });
  const answers: string[] = [];
  const outcome = await client.converse((payload) => void answers.push(Buffer.from(payload).toString()));
  expect(first.isClosed).toBe(false);
  expect(answers).toEqual([]);
  expect(outcome).toEqual({ kind: "ended", early: true });
});
