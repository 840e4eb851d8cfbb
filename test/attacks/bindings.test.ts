// What each channel binding is worth against a man in the middle of TLS who passes everything on. With a certificate of his own he
// gains nothing under either. With the stolen private key of the server he gets in where the proof is bound to the certificate.

import { createHash } from "node:crypto";
import { connect, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { SharedKey } from "../../src/auth/shared-key.ts";
import { boundLabel, parseToken, proveToken, RESUME_LABEL, TOKEN_LABEL } from "../../src/auth/token.ts";
import { BINDING_NAMES, type Binding, type BindingName } from "../../src/base/bindings.ts";
import { connectClient } from "../../src/client/connect.ts";
import type { Credential } from "../../src/client/options.ts";
import { ServerError } from "../../src/handshake/errors.ts";
import type { TlsIdentity } from "../../src/net/tls.ts";
import { CROWD, within } from "../support/attack.ts";
import { selfSigned } from "../support/certificates.ts";
import { Frames } from "../support/frames.ts";
import { DURABLE, resumeOf, type Json } from "../support/resume.ts";
import { manInTheMiddle, tlsClient, tlsServer } from "../support/rogue.ts";
import { PASSWORD, startServer, type TestServer } from "../support/server.ts";

const newKey = () => new SharedKey(Buffer.from("parley-test-key-0123456789abcdef"));
const PROOFS = ["key", "token", "resume"] as const;
type Proof = (typeof PROOFS)[number];

let own: TlsIdentity;
let foreign: TlsIdentity;
/** By what they accept: each with the shared key, and without it. */
const servers = new Map<string, { keyed: TestServer; open: TestServer }>();
beforeAll(async () => {
  [own, foreign] = await Promise.all([selfSigned(), selfSigned()]);
  for (const [name, bindings] of [
    ["both", undefined],
    ["the exporter", ["tls-exporter"]],
  ] as const) {
    const options = { ...CROWD, tls: own, penalties: false, bindings };
    const [keyed, open] = [await startServer({ ...options, key: newKey() }), await startServer(options)];
    servers.set(name, { keyed, open });
  }
});
afterAll(async () => {
  for (const { keyed, open } of servers.values()) {
    await keyed[Symbol.asyncDispose]();
    await open[Symbol.asyncDispose]();
  }
});

const serverFor = (proof: Proof, accepted: string): TestServer => {
  const pair = servers.get(accepted);
  if (pair === undefined) throw new Error(`no server accepts ${accepted}`);
  return proof === "key" ? pair.keyed : pair.open;
};

/** As an honest client sees it, at its end of its own channel. */
function bindingOf(socket: TLSSocket, name: BindingName): Binding {
  if (name === "tls-exporter") {
    return { name, value: socket.exportKeyingMaterial(32, "EXPORTER-Channel-Binding", Buffer.alloc(0)) };
  }
  const { raw } = socket.getPeerCertificate();
  return { name, value: createHash("sha256").update(raw).digest() };
}

const json = async (frames: Frames): Promise<Json> =>
  JSON.parse(String(await within("an answer", frames.next()))) as Json;

/** Sends an honest proof to `port`: the code of the refusal, or "in". `port` is the server's, or that of a man before it. */
async function prove(proof: Proof, name: BindingName, port: number, server: number): Promise<string> {
  // Token and session are from the server itself, before he came.
  const first = proof === "key" ? undefined : await tlsClient(server);
  const socket = await tlsClient(port);
  try {
    const frames = new Frames(socket);
    const binding = bindingOf(socket, name);
    if (first === undefined) {
      const challenge = (await within("a challenge", frames.next())) ?? Buffer.alloc(0);
      const key = newKey().on(new Map([[binding.name, binding.value]]));
      frames.send(key.respond("client", challenge.subarray("#CHALLENGE#".length)));
      const answer = String(await within("an answer", frames.next()));
      return answer === "#WELCOME#" ? "in" : answer;
    }
    const begun = new Frames(first);
    await json(begun);
    begun.json({ type: "login", method: "password", user: "ann", password: PASSWORD, ...DURABLE });
    const welcome = await json(begun);
    const nonce = Buffer.from(String((await json(frames))["nonce"]), "base64");
    const isExporter = name === "tls-exporter";
    const named = isExporter ? {} : { binding: name };
    const by = (secret: Uint8Array, label: string) =>
      proveToken(secret, boundLabel(label, name), nonce, binding.value).toString("base64");
    if (proof === "token") {
      const token = parseToken(String(welcome["token"]));
      if (token === undefined) throw new Error("no token");
      const shown = by(token.secret, TOKEN_LABEL);
      frames.json({ type: "login", method: "token", id: token.id, proof: shown, ...named });
    } else {
      const { session, key } = resumeOf(welcome);
      const shown = by(key, RESUME_LABEL);
      frames.json({ type: "login", method: "resume", session, proof: shown, received: 0, ...named });
    }
    const { type, code } = await json(frames);
    return type === "welcome" ? "in" : String(code);
  } finally {
    socket.destroy();
    first?.destroy();
  }
}

const REFUSALS = { key: "#FAILURE#", token: "token_refused", resume: "session_gone" };

describe.each([...PROOFS])("a proof of the %s", (proof) => {
  test.each([...BINDING_NAMES])("bound by %s is taken by the server itself", async (name) => {
    const { port } = serverFor(proof, "both");
    expect(await prove(proof, name, port, port)).toBe("in");
  });

  test.each([...BINDING_NAMES])(
    "bound by %s is refused when a man with another certificate passes it on",
    async (name) => {
      const { port } = serverFor(proof, "both");
      using middle = await manInTheMiddle(foreign, port);
      expect(await prove(proof, name, middle.port, port)).toBe(REFUSALS[proof]);
      expect(middle.passed).not.toBe(""); // the server's answer came through him
    },
  );

  test.each([
    ["tls-exporter", REFUSALS[proof]],
    ["tls-server-end-point", "in"],
  ] as const)("bound by %s, passed on by a man with the server's private key: %s", async (name, outcome) => {
    const { port } = serverFor(proof, "both");
    using middle = await manInTheMiddle(own, port);
    expect(await prove(proof, name, middle.port, port)).toBe(outcome);
    expect(middle.channels).toBe(1);
  });

  test("bound to the certificate is refused where the exporter alone is accepted, with and without a man", async () => {
    const { port } = serverFor(proof, "the exporter");
    const refused = proof === "key" ? "#FAILURE#" : "not_allowed";
    for (const identity of [own, foreign]) {
      using middle = await manInTheMiddle(identity, port);
      expect(await prove(proof, "tls-server-end-point", middle.port, port)).toBe(refused);
    }
    expect(await prove(proof, "tls-server-end-point", port, port)).toBe(refused);
    expect(await prove(proof, "tls-exporter", port, port)).toBe("in");
  });
});

test("parley's own client uses the exporter, though a man with the private key takes it out of hello", async () => {
  const { port } = serverFor("token", "both");
  const both = '"bindings":["tls-exporter","tls-server-end-point"]';
  const one = '"bindings":["tls-server-end-point"]'.padEnd(both.length);
  const trust = { check: (pin: string) => pin === own.pin, confirmNew: () => Promise.resolve() };
  const tls = { authorities: undefined };
  const common = { host: "127.0.0.1", tls, trust };
  const byPassword: Credential = { method: "password", user: "ann", password: PASSWORD };
  const client = await connectClient({ ...common, port, credential: () => Promise.resolve(byPassword) });
  const token = parseToken(client.welcome?.token ?? "");
  client.leave();
  if (token === undefined) throw new Error("no token");
  const logIn = async (at: number) => {
    const credential = (_: unknown, refused?: { code: string; message: string }) =>
      refused === undefined
        ? Promise.resolve<Credential>({ method: "token", token })
        : Promise.reject(new ServerError("login_refused", refused.code, refused.message));
    try {
      (await connectClient({ ...common, port: at, credential })).leave();
      return "in";
    } catch (error) {
      if (error instanceof ServerError) return error.serverCode;
      throw error;
    }
  };
  let rewritten = 0;
  using middle = await tlsServer(own, (victim) => {
    const server = connect({ port, host: "127.0.0.1", rejectUnauthorized: false });
    server.on("data", (chunk: Buffer) => {
      const text = chunk.toString("latin1");
      if (text.includes(both)) rewritten++;
      victim.write(Buffer.from(text.replace(both, one), "latin1"));
    });
    server.on("error", () => victim.destroy());
    victim.on("close", () => server.destroy());
    victim.pipe(server);
  });
  expect(await logIn(middle.port)).toBe("token_refused");
  expect(rewritten).toBe(1);
  expect(middle.received).toContain('"proof"');
  expect(middle.received).not.toContain("end-point");
  expect(await logIn(port)).toBe("in");
});
