// A man in the middle of TLS with a certificate of his own: he passes everything on, reads along, and gains nothing, with
// the shared key from the first meeting on, and with a session token even when the client believes him.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { SharedKey } from "../../src/auth/shared-key.ts";
import { parseToken, type TokenParts } from "../../src/auth/token.ts";
import { connectClient } from "../../src/client/connect.ts";
import type { ClientOptions, Credential } from "../../src/client/options.ts";
import { ServerError } from "../../src/handshake/errors.ts";
import { proveToken, TOKEN_LABEL } from "../../src/auth/token.ts";
import type { TlsIdentity } from "../../src/net/tls.ts";
import { CROWD } from "../support/attack.ts";
import { selfSigned } from "../support/certificates.ts";
import { Frames, nextOf } from "../support/frames.ts";
import { manInTheMiddle, tlsClient, tlsServer } from "../support/rogue.ts";
import { PASSWORD, startServer, type TestServer } from "../support/server.ts";

const CHALLENGE = "#CHALLENGE#";
const newKey = () => new SharedKey(Buffer.from("parley-test-key-0123456789abcdef"));

/** What a client came to; "in" when it was let in. */
async function tryClient(options: Partial<ClientOptions> & { port: number }): Promise<string> {
  const credential = () =>
    Promise.resolve<Credential>({ method: "password", user: "ann", password: PASSWORD });
  try {
    const client = await connectClient({ host: "127.0.0.1", key: newKey(), credential, ...options });
    client.leave();
    return "in";
  } catch (error) {
    if (error instanceof ServerError) return `${error.serverCode}: ${error.message}`;
    throw error;
  }
}

const SECRETS = [PASSWORD, '"login"', "proof", '"ann"'];
const secretsIn = (bytes: string) => SECRETS.filter((secret) => bytes.includes(secret));
const TLS = { authorities: undefined };

/** Believes everybody, and notes whom. */
const acceptNew = () => {
  const met: string[] = [];
  return { met, check: () => false, confirmNew: (pin: string) => Promise.resolve(void met.push(pin)) };
};

let own: TlsIdentity;
let foreign: TlsIdentity;
beforeAll(async () => {
  [own, foreign] = await Promise.all([selfSigned(), selfSigned()]);
});

describe("with the shared key", () => {
  let encrypted: TestServer;
  beforeAll(async () => {
    encrypted = await startServer({ ...CROWD, key: newKey(), tls: own, penalties: false });
  });
  afterAll(() => encrypted[Symbol.asyncDispose]());

  test("is found out at the first meeting, though the client would believe anybody: 0 of 20", async () => {
    using middle = await manInTheMiddle(foreign, encrypted.port);
    const trust = acceptNew();
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, () => tryClient({ port: middle.port, tls: TLS, trust })),
    );
    expect(outcomes.filter((outcome) => !outcome.includes("a different key"))).toEqual([]);
    expect(middle.channels).toBe(20);
    expect(trust.met).toEqual([]); // his key is not remembered
    expect(middle.passed).toContain(CHALLENGE); // he did pass everything on
    expect(secretsIn(middle.received + middle.passed)).toEqual([]);
    expect(encrypted.events.filter(({ event }) => event === "logged-in")).toEqual([]);
  });

  test("who relays to a client's second channel learns nothing from it", async () => {
    const channels: Frames[] = [];
    using rogue = await tlsServer(foreign, (socket) => channels.push(new Frames(socket)));
    const options = { port: rogue.port, tls: TLS, trust: acceptNew() };
    const victim = tryClient(options);
    const first = await nextOf(channels);
    const oracle = tryClient(options);
    const second = await nextOf(channels);
    const message = Buffer.concat([Buffer.from(`${CHALLENGE}{sha256}`), Buffer.alloc(40, 2)]);
    first.send(message);
    second.send(message);
    const [one, other] = [await first.next(), await second.next()];
    expect(one).toHaveLength(40);
    expect(one?.equals(other ?? Buffer.alloc(0))).toBe(false); // the same question, two channels, two answers
    for (const frames of [first, second]) frames.send("#FAILURE#");
    for (const outcome of [await victim, await oracle]) expect(outcome).toContain("a different key");
  });

  test("is not there: the same client comes in to the server itself, and remembers it", async () => {
    const trust = acceptNew();
    const outcome = await tryClient({ port: encrypted.port, tls: TLS, trust });
    expect(outcome).toBe("in");
    expect(trust.met).toEqual([own.pin]);
  });
});

describe("with a session token", () => {
  let server: TestServer;
  let token: TokenParts;
  beforeAll(async () => {
    server = await startServer({ ...CROWD, tls: own, penalties: false });
    const credential = () =>
      Promise.resolve<Credential>({ method: "password", user: "ann", password: PASSWORD });
    const options = { host: "127.0.0.1", port: server.port, tls: TLS, trust: acceptNew(), credential };
    const client = await connectClient(options);
    token = parseToken(client.welcome?.token ?? "") ?? { id: "", secret: new Uint8Array() };
    client.leave();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  /** A client that shows its token, and gives up when that is refused. */
  const reconnect = (port: number) =>
    tryClient({
      port,
      key: undefined,
      tls: TLS,
      trust: acceptNew(),
      credential: (_, refused) =>
        refused === undefined
          ? Promise.resolve<Credential>({ method: "token", token })
          : Promise.reject(new ServerError("login_refused", refused.code, refused.message)),
    });

  test("a proof that he passed on lets nobody in: 0 of 20", async () => {
    using middle = await manInTheMiddle(foreign, server.port);
    const before = server.events.length;
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => reconnect(middle.port)));
    expect(outcomes.filter((outcome) => !outcome.startsWith("token_refused"))).toEqual([]);
    expect(middle.received.match(/"proof"/g)).toHaveLength(20);
    const events = server.events.slice(before).map(({ event }) => event);
    expect(events.filter((event) => event === "logged-in")).toEqual([]);
    expect(events.filter((event) => event === "login-refused")).toHaveLength(20);
    expect(await reconnect(server.port)).toBe("in");
  });

  test("a proof made for one channel, or for none, is refused on another, and its own is taken", async () => {
    const outcomes: string[] = [];
    for (const made of ["nothing", "another", "own"]) {
      const [here, there] = [await tlsClient(server.port), await tlsClient(server.port)];
      const frames = new Frames(here);
      const hello = JSON.parse(String(await frames.next())) as { nonce: string };
      const exporterOf = (socket: typeof here) =>
        socket.exportKeyingMaterial(32, "EXPORTER-Channel-Binding", Buffer.alloc(0));
      const bindings = { nothing: Buffer.alloc(0), another: exporterOf(there), own: exporterOf(here) };
      const binding = bindings[made as keyof typeof bindings];
      const proof = proveToken(token.secret, TOKEN_LABEL, Buffer.from(hello.nonce, "base64"), binding);
      frames.json({ type: "login", method: "token", id: token.id, proof: proof.toString("base64") });
      const answer = JSON.parse(String(await frames.next())) as { type: string };
      outcomes.push(`${made}: ${answer.type}`);
      here.destroy();
      there.destroy();
    }
    expect(outcomes).toEqual(["nothing: refused", "another: refused", "own: welcome"]);
  });
});
