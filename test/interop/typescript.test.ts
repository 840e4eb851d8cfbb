// clients/typescript/parley.ts and a server, with Bun and with Node: passwords and tokens, TLS and the shared key, many messages at
// once, and a session through many cuts.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { ROOT } from "../docs/markdown.ts";
import { cuttingProxy } from "../support/cutting-proxy.ts";
import { addUser, PASSWORD, serve, type Serving } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { findNode, stripTypes } from "../support/node.ts";

setDefaultTimeout(90_000);

const folder = tempFolder();
const keyFile = join(folder.path, "shared-key");
let plain: Serving;
let secure: Serving;
let bare: Serving;
beforeAll(async () => {
  await addUser(folder.path);
  [plain, secure, bare] = await Promise.all([
    serve(["--penalties", "off"], { data: folder.path }),
    serve(["--tls", "--key-file", keyFile, "--penalties", "off"], { data: folder.path }),
    serve(["--bare"]),
  ]);
  stripTypes(folder.path, ["clients/typescript/parley.ts", "test/interop/talk.ts"]);
});
afterAll(async () => {
  for (const server of [plain, secure, bare]) await server.stop();
  folder[Symbol.dispose]();
});

const runtimes: [name: string, argv: () => string[]][] = [
  ["Bun", () => [process.execPath, join(ROOT, "test/interop/talk.ts")]],
];
const node = findNode();
if (node !== undefined) runtimes.push(["Node", () => [node, join(folder.path, "test/interop/talk.mjs")]]);

const ann = { host: "127.0.0.1", user: "ann" };

describe.each(runtimes)("with %s", (_, argv) => {
  /** Sends so many lines, and returns what the program says. */
  const talk = async (options: Record<string, unknown>, count: number, isGlued = false) => {
    const child = Bun.spawn([...argv(), JSON.stringify([options, count, isGlued])], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (code !== 0) throw new Error(err);
    return JSON.parse(out) as Record<string, unknown>;
  };

  test("a password, then the token; a thousand messages in one turn", async () => {
    const { port } = plain;
    const first = await talk({ ...ann, port, password: PASSWORD, wantsToken: true }, 1000, true);
    expect(first).toMatchObject({ user: "ann", isSame: true, count: 1000, losses: 0 });
    expect(first["token"]).toMatch(/^prly_/);
    const second = await talk({ ...ann, port, token: first["token"] }, 10);
    expect(second).toEqual({ user: "ann", isSame: true, count: 10, losses: 0, resumed: 0 });
  });

  test("a token that is refused, then the password", async () => {
    const token = "prly_Ab3dE6gH_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf4diXcE";
    const outcome = await talk({ ...ann, port: plain.port, token, password: PASSWORD }, 1);
    expect(outcome).toMatchObject({ user: "ann", isSame: true });
  });

  test.each(["tls-exporter", "tls-server-end-point"])(
    "TLS, pin, key and token, bound by %s",
    async (binding) => {
      const key = readFileSync(keyFile, "utf8");
      const options = { ...ann, port: secure.port, pin: secure.ready["tls"], key, binding };
      const first = await talk({ ...options, password: PASSWORD, wantsToken: true }, 100);
      expect(first).toMatchObject({ user: "ann", isSame: true });
      expect(await talk({ ...options, token: first["token"] }, 10)).toMatchObject({
        isSame: true,
        losses: 0,
      });
    },
  );

  test("a password, where the server accepts no proof that is bound to the certificate", async () => {
    await using exporter = await serve(["--tls", "--bindings", "tls-exporter"], { data: folder.path });
    const token = "prly_Ab3dE6gH_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf4diXcE";
    const options = { ...ann, port: exporter.port, pin: exporter.ready["tls"], token, password: PASSWORD };
    const outcome = await talk({ ...options, binding: "tls-server-end-point" }, 1);
    expect(outcome).toMatchObject({ user: "ann", isSame: true });
    await exporter.stop();
  });

  test("a wrong key, a wrong pin and a wrong password are errors", async () => {
    const key = readFileSync(keyFile, "utf8");
    const { port, ready } = secure;
    const pin = ready["tls"];
    const wrongKey = { ...ann, port, pin, key: "ab".repeat(32), password: PASSWORD };
    const wrongPin = { ...ann, port, pin: `sha256/${"A".repeat(43)}=`, key, password: PASSWORD };
    const wrongPassword = { ...ann, port: plain.port, password: "wrong horse" };
    const outcomes = await Promise.allSettled([wrongKey, wrongPin, wrongPassword].map((one) => talk(one, 1)));
    const reasons = outcomes.map((outcome) => (outcome.status === "rejected" ? String(outcome.reason) : ""));
    for (const [index, code] of ["key_refused", "untrusted", "bad_credentials"].entries()) {
      expect(reasons[index]).toContain(code);
    }
  });

  test("bare frames", async () => {
    const outcome = await talk({ host: "127.0.0.1", port: bare.port, bare: true }, 500);
    expect(outcome).toMatchObject({ isSame: true, losses: 0 });
  });

  test.each(["plain", "secure"])("50 cuts of a %s connection lose and double nothing", async (way) => {
    const server = way === "plain" ? plain : secure;
    using proxy = await cuttingProxy({
      port: server.port,
      cuts: 50,
      seed: 7,
      least: 20_000,
      most: 60_000,
      first: 5000,
    });
    const trust = way === "plain" ? {} : { pin: server.ready["tls"], key: readFileSync(keyFile, "utf8") };
    const outcome = await talk({ ...ann, ...trust, port: proxy.port, password: PASSWORD }, 40_000);
    expect(outcome).toMatchObject({ isSame: true, count: 40_000 });
    expect(proxy.done).toBe(50);
    expect(Number(outcome["losses"])).toBeGreaterThan(30);
  });
});
