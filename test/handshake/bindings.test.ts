// The binding that a login names: what hello says of it, and the answers to a name that is not accepted.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { ServerOptions } from "../../src/server/options.ts";
import { selfSigned } from "../support/certificates.ts";
import { within } from "../support/attack.ts";
import { Frames } from "../support/frames.ts";
import { tlsClient } from "../support/rogue.ts";
import { PASSWORD, startServer, type TestServer } from "../support/server.ts";

type Json = Record<string, unknown>;

const PROOF = Buffer.alloc(32).toString("base64");
const TOKEN = { type: "login", method: "token", id: "Ab3dE6gH", proof: PROOF };
const RESUME = { type: "login", method: "resume", session: "gone", proof: PROOF, received: 0 };

const servers = new Map<string, TestServer>();
beforeAll(async () => {
  const tls = await selfSigned();
  const start = async (name: string, options: Partial<ServerOptions>) =>
    servers.set(name, await startServer({ penalties: false, ...options }));
  await start("plain", {});
  await start("both", { tls });
  await start("exporter", { tls, bindings: ["tls-exporter"] });
  await start("end point", { tls, bindings: ["tls-server-end-point"] });
});
afterAll(async () => {
  for (const server of servers.values()) await server[Symbol.asyncDispose]();
});

/** The server's hello, and its answers to `logins` on one connection. */
async function converse(name: string, ...logins: object[]): Promise<{ hello: Json; answers: Json[] }> {
  const server = servers.get(name);
  if (server === undefined) throw new Error(`there is no server ${name}`);
  const socket = name === "plain" ? (await server.peer()).socket : await tlsClient(server.port);
  try {
    const frames = new Frames(socket);
    const next = async () => JSON.parse(String(await within("an answer", frames.next()))) as Json;
    const hello = await next();
    const answers: Json[] = [];
    for (const login of logins) {
      frames.json(login);
      answers.push(await next());
    }
    return { hello, answers };
  } finally {
    socket.destroy();
  }
}

describe("hello", () => {
  test.each([
    ["plain", undefined],
    ["both", ["tls-exporter", "tls-server-end-point"]],
    ["exporter", ["tls-exporter"]],
    ["end point", ["tls-server-end-point"]],
  ])("%s: the bindings are %j", async (name, bindings) => {
    expect((await converse(name)).hello["bindings"]).toEqual(bindings);
  });
});

describe("a login", () => {
  const NOT_ALLOWED = { type: "refused", code: "not_allowed" };

  test.each([
    ["plain", "tls-exporter", "without TLS a proof has no binding"],
    ["plain", "", "without TLS a proof has no binding"],
    ["both", "tls-unique", "this server accepts the binding tls-exporter or tls-server-end-point"],
    ["both", "TLS-EXPORTER", "this server accepts the binding tls-exporter or tls-server-end-point"],
    ["both", "", "this server accepts the binding tls-exporter or tls-server-end-point"],
    ["exporter", "tls-server-end-point", "this server accepts the binding tls-exporter"],
    ["end point", "tls-exporter", "this server accepts the binding tls-server-end-point"],
    ["end point", undefined, "this server accepts the binding tls-server-end-point"],
  ])(
    "%s: the binding %j is refused with a reason, and another may follow",
    async (name, binding, message) => {
      const right = { type: "login", method: "password", user: "ann", password: PASSWORD };
      for (const login of [TOKEN, RESUME]) {
        const { answers } = await converse(name, { ...login, binding }, right);
        expect(answers[0]).toEqual({ ...NOT_ALLOWED, message, attempts_left: 2 });
        expect(answers[1]).toMatchObject({ type: "welcome", user: "ann" });
      }
    },
  );

  test.each([
    ["both", "tls-exporter"],
    ["both", "tls-server-end-point"],
    ["both", undefined],
    ["exporter", "tls-exporter"],
    ["end point", "tls-server-end-point"],
    ["plain", undefined],
  ])("%s: with the binding %j the proof is looked at", async (name, binding) => {
    const { answers } = await converse(name, { ...TOKEN, binding }, { ...RESUME, binding });
    expect(answers.map(({ code }) => code)).toEqual(["token_refused", "session_gone"]);
  });

  test.each([[null], [1], [["tls-exporter"]]])("whose binding is %j is no message", async (binding) => {
    for (const login of [TOKEN, RESUME]) {
      const { answers } = await converse("both", { ...login, binding });
      expect(answers[0]).toMatchObject({ type: "error", code: "bad_message" });
    }
  });

  test("by password has no binding: the member is ignored as any unknown one", async () => {
    for (const name of ["plain", "exporter"]) {
      const login = { type: "login", method: "password", user: "ann", password: PASSWORD };
      const { answers } = await converse(name, { ...login, binding: ["tls-unique"] });
      expect(answers[0]).toMatchObject({ type: "welcome", user: "ann" });
    }
  });
});
