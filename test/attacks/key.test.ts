// The shared key under attack, each attack performed over sockets by somebody who has not got it: reflection, downgrade,
// replay, and lies about lengths.

import { createHmac } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { SharedKey } from "../../src/auth/shared-key.ts";
import { connectClient } from "../../src/client/connect.ts";
import type { ClientOptions } from "../../src/client/options.ts";
import { ServerError } from "../../src/handshake/errors.ts";
import { CROWD, within } from "../support/attack.ts";
import { fakeServer, HELLO } from "../support/fake-server.ts";
import { Frames, nextOf } from "../support/frames.ts";
import { PASSWORD, startServer, type TestServer } from "../support/server.ts";

const BYTES = Buffer.from("parley-test-key-0123456789abcdef");
/** Of one process each: what one has outstanding the other does not know. */
const newKey = (allowMd5 = false) => new SharedKey(BYTES, { allowMd5 });
const CHALLENGE = "#CHALLENGE#";
const FROM_SERVER = Buffer.concat([Buffer.from(`${CHALLENGE}{sha256}parley-s`), Buffer.alloc(40, 5)]);
const hmac = (digest: string, message: Uint8Array) => createHmac(digest, BYTES).update(message).digest();
const respond = (message: Uint8Array) => Buffer.concat([Buffer.from("{sha256}"), hmac("sha256", message)]);

/** What a client that has the key came to; "in" when it got as far as sending its login. */
async function tryClient(options: Partial<ClientOptions> & { port: number }): Promise<string> {
  const credential = () => Promise.resolve({ method: "password" as const, user: "ann", password: PASSWORD });
  try {
    const client = await connectClient({ host: "127.0.0.1", key: newKey(), credential, ...options });
    client.leave();
    return "in";
  } catch (error) {
    if (error instanceof ServerError) return error.message;
    throw error;
  }
}

const SECRETS = [PASSWORD, '"login"', "proof", '"ann"'];
const secretsIn = (bytes: string) => SECRETS.filter((secret) => bytes.includes(secret));

let server: TestServer;
beforeAll(async () => {
  server = await startServer({ ...CROWD, key: newKey(), penalties: false });
});
afterAll(() => server[Symbol.asyncDispose]());

/** A peer that has read the server's challenge, and the challenge. */
async function challenged(): Promise<{ frames: Frames; challenge: Buffer } & Disposable> {
  const { socket } = await server.peer();
  const frames = new Frames(socket);
  const challenge = (await frames.next())?.subarray(CHALLENGE.length) ?? Buffer.alloc(0);
  return { frames, challenge, [Symbol.dispose]: () => void socket.destroy() };
}

describe("a server without the key", () => {
  test.each([
    ["of the same process", true],
    ["of another process", false],
  ])("gets no help from a second client %s: 0 of 10", async (_, isSame) => {
    const shared = newKey();
    const asked: Buffer[] = [];
    const answers: string[] = [];
    const clients: Frames[] = [];
    using rogue = await fakeServer((socket) => clients.push(new Frames(socket)));
    for (let round = 0; round < 10; round++) {
      const outcome = tryClient({ port: rogue.port, key: shared });
      const victim = await nextOf(clients);
      victim.send(FROM_SERVER);
      await victim.next(); // its response, which the rogue cannot check
      victim.send("#WELCOME#");
      const challenge = (await victim.next()) ?? Buffer.alloc(0);
      asked.push(challenge);
      const oracle = tryClient({ port: rogue.port, key: isSame ? shared : newKey() });
      const second = await nextOf(clients);
      second.send(challenge);
      const help = await within("the oracle's answer", second.rest());
      answers.push(...help.map((payload) => payload.toString("latin1")));
      expect(await oracle).toMatch(/sent .*back/);
      second.socket.destroy();
      victim.send(help[0] ?? "{sha256}".padEnd(40, "?"));
      expect(await within("the victim", outcome)).toContain("a different key");
      victim.socket.destroy();
    }
    expect(answers).toEqual([]);
    expect(new Set(asked.map((challenge) => challenge.toString("hex"))).size).toBe(10);
    expect(secretsIn(rogue.received.text)).toEqual([]);
  });

  test("that sends the client's own challenge back as its response is refused", async () => {
    using rogue = await fakeServer((socket) => {
      const frames = new Frames(socket);
      frames.send(FROM_SERVER);
      void frames.next().then(async () => {
        frames.send("#WELCOME#");
        frames.send((await frames.next()) ?? "");
      });
    });
    expect(await tryClient({ port: rogue.port })).toContain("did not answer the challenge");
    expect(secretsIn(rogue.received.text)).toEqual([]);
  });

  test("that says it is welcome without proving anything gets no login", async () => {
    using rogue = await fakeServer((socket) => {
      const frames = new Frames(socket);
      frames.send(FROM_SERVER);
      for (const lie of ["#WELCOME#", "#WELCOME#", JSON.stringify(HELLO)]) frames.send(lie);
    });
    expect(await tryClient({ port: rogue.port })).toContain("did not answer");
    expect(secretsIn(rogue.received.text)).toEqual([]);
  });

  test("that asks for MD5 gets no answer at all, and the client says how to allow it", async () => {
    using rogue = await fakeServer((socket) => new Frames(socket).send(`${CHALLENGE}${"r".repeat(20)}`));
    expect(await tryClient({ port: rogue.port })).toContain("--allow-md5");
    expect(rogue.received.text).toBe("");
    for (const prefix of ["{md5}", "{sha1}", ""]) {
      using other = await fakeServer((socket) =>
        new Frames(socket).send(CHALLENGE + prefix + "r".repeat(40)),
      );
      expect(await tryClient({ port: other.port, key: newKey(true) })).toContain("an unknown digest");
      expect(other.received.text).toBe("");
    }
  });

  test("that plays back what a real one said is refused", async () => {
    const recorded: Buffer[] = [];
    {
      using peer = await server.peer();
      const frames = new Frames(peer.socket);
      const first = (await frames.next()) ?? Buffer.alloc(0);
      frames.send(respond(first.subarray(CHALLENGE.length)));
      recorded.push(first, (await frames.next()) ?? Buffer.alloc(0));
      frames.send(Buffer.concat([Buffer.from(`${CHALLENGE}{sha256}parley-c`), Buffer.alloc(40, 8)]));
      recorded.push((await frames.next()) ?? Buffer.alloc(0));
    }
    expect(recorded[1]?.toString()).toBe("#WELCOME#");
    using rogue = await fakeServer((socket) => {
      for (const payload of recorded) new Frames(socket).send(payload);
    });
    expect(await tryClient({ port: rogue.port })).toContain("a different key");
    expect(secretsIn(rogue.received.text)).toEqual([]);
  });
});

describe("a client without the key", () => {
  test("that sends the challenge back, or a second connection's, is refused", async () => {
    using first = await challenged();
    using second = await challenged();
    first.frames.send(first.challenge);
    second.frames.send(first.challenge);
    for (const { frames } of [first, second]) {
      expect((await within("the end", frames.rest())).map(String)).toEqual(["#FAILURE#"]);
    }
    expect(first.challenge.equals(second.challenge)).toBe(false);
  });

  test("that plays back a recorded answer is refused", async () => {
    using first = await challenged();
    const response = respond(first.challenge);
    first.frames.send(response);
    expect(String(await first.frames.next())).toBe("#WELCOME#");
    using second = await challenged();
    second.frames.send(response);
    expect((await within("the end", second.frames.rest())).map(String)).toEqual(["#FAILURE#"]);
  });

  test("that answers with any other length is refused, and over 256 bytes before it has sent them", async () => {
    const lengths = [0, 1, 8, 15, 16, 17, 20, 31, 32, 33, 39, 40, 41, 48, 56, 64, 255, 256];
    const said = await Promise.all(
      lengths.map(async (length) => {
        using peer = await challenged();
        peer.frames.send(Buffer.concat([Buffer.from("{sha256}"), Buffer.alloc(256, 1)]).subarray(0, length));
        return (await within(`the end after ${length}`, peer.frames.rest())).map(String);
      }),
    );
    expect(said).toEqual(lengths.map(() => ["#FAILURE#"]));
    using liar = await challenged();
    liar.frames.socket.write(Buffer.from([0, 0, 1, 1]));
    const last = (await within("the end", liar.frames.rest())).map(String);
    expect(last.join()).not.toContain("#WELCOME#");
  });

  test("that has only the MD5 of it is refused, and the log says what would let it in", async () => {
    const before = server.events.length;
    using peer = await challenged();
    peer.frames.send(hmac("md5", peer.challenge));
    expect((await within("the end", peer.frames.rest())).map(String)).toEqual(["#FAILURE#"]);
    const logged = server.events.slice(before).find(({ event }) => event === "key-refused");
    expect(logged?.fields["reason"]).toBe(
      "right key, but the peer speaks HMAC-MD5 (Python 3.11 or older): see --allow-md5",
    );
  });

  test("that logs in at once, without waiting for the key exchange, is not heard", async () => {
    using peer = await server.peer();
    const frames = new Frames(peer.socket);
    frames.send("#WELCOME#");
    frames.json({ type: "login", method: "password", user: "ann", password: PASSWORD });
    const said = (await within("the end", frames.rest())).map(String);
    expect(said.slice(1)).toEqual(["#FAILURE#"]);
  });
});

describe("a peer with the key that asks what it should not", () => {
  const LONG = Buffer.alloc(40, 6);
  test.each([
    ["the server's own label", Buffer.concat([Buffer.from("{sha256}parley-s"), LONG])],
    ["19 bytes", Buffer.alloc(19, 6)],
    ["20 raw bytes", Buffer.alloc(20, 6)],
    ["no digest", LONG],
    ["MD5 by name", Buffer.concat([Buffer.from("{md5}"), LONG])],
  ])("gets no answer: %s", async (_, message) => {
    using peer = await challenged();
    peer.frames.send(respond(peer.challenge));
    expect(String(await peer.frames.next())).toBe("#WELCOME#");
    peer.frames.send(Buffer.concat([Buffer.from(CHALLENGE), message]));
    expect(await within("the end", peer.frames.rest())).toEqual([]);
  });

  test("gets no answer to another connection's challenge either", async () => {
    using one = await challenged();
    using other = await challenged();
    one.frames.send(respond(one.challenge));
    await one.frames.next();
    one.frames.send(Buffer.concat([Buffer.from(CHALLENGE), other.challenge]));
    expect(await within("the end", one.frames.rest())).toEqual([]);
  });
});
