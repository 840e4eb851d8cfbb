// Proofs that are bound to the server's certificate, from Python's ssl module as it is: it has no exporter. The shared key, a token
// and a resume, with hashlib and hmac.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { addUser, PASSWORD, serve, type Serving } from "../support/executable.ts";
import { authority } from "../support/certificates.ts";
import { tempFolder } from "../support/folder.ts";
import { findPythons } from "../support/pythons.ts";

setDefaultTimeout(90_000);

const SCRIPT = join(import.meta.dir, "end_point.py");

const pythons = findPythons();
if (pythons.length === 0) {
  test.skip("there is no Python 3 on this machine: its tests are left out", () => {});
}

const folder = tempFolder();
const key = join(folder.path, "shared-key");
const FLAGS = ["--tls", "--penalties", "off", "--key-file", key];
const servers = new Map<string, Serving>();
beforeAll(async () => {
  await addUser(folder.path);
  const ca = await authority();
  const { key: privateKey, certificate } = await ca.issue("127.0.0.1");
  const chain = join(folder.path, "chain.pem");
  const keyFile = join(folder.path, "chain-key.pem");
  writeFileSync(chain, certificate + ca.pem);
  writeFileSync(keyFile, privateKey, { mode: 0o600 });
  const start = (...argv: string[]) => serve([...FLAGS, ...argv], { data: folder.path });
  servers.set("its own certificate", await start());
  servers.set("one from an authority", await start("--tls-cert", chain, "--tls-key", keyFile));
  servers.set("the exporter alone", await start("--bindings", "tls-exporter"));
});
afterAll(async () => {
  for (const server of servers.values()) await server.stop();
  folder[Symbol.dispose]();
});

describe.each(pythons)("Python $version", ({ path: python }) => {
  const run = async (server: string) => {
    const argv = [python, SCRIPT, String(servers.get(server)?.port), "ann", PASSWORD, key];
    const child = Bun.spawn(argv, { stdout: "pipe", stderr: "pipe" });
    const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    const isOld = out === "no TLS 1.3\n";
    return { isOld, code, out, err };
  };

  test.each(["its own certificate", "one from an authority"])(
    "proves key, token and session to a server with %s",
    async (server) => {
      const { isOld, ...outcome } = await run(server);
      const out = isOld ? outcome.out : "tls-exporter tls-server-end-point\n";
      expect(outcome).toEqual({ code: 0, out, err: "" });
    },
  );

  test("does not come in to a server that accepts the exporter alone", async () => {
    const { isOld, code, err } = await run("the exporter alone");
    if (isOld) return;
    expect(code).toBe(1);
    expect(err).toContain('assert self.receive() == b"#WELCOME#"');
  });
});
