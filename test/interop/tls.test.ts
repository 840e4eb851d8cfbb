// TLS against Python's ssl module: each Python that knows TLS 1.3 speaks the protocol by hand; one that offers no more
// than TLS 1.2 is refused.

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { addUser, PASSWORD, serve, type Serving } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { findPythons } from "../support/pythons.ts";

setDefaultTimeout(90_000);

const SCRIPT = join(import.meta.dir, "tls_by_hand.py");
const OLD = `
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.maximum_version = ssl.TLSVersion.TLSv1_2
try:
    channel = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=60))
    print("came about:", channel.version())
except ssl.SSLError as error:
    print("refused")
`;

const pythons = findPythons().filter(({ version }) => Number(version.split(".")[1]) >= 7);
if (pythons.length === 0) {
  test.skip("there is no Python 3.7 or later on this machine: its tests are left out", () => {});
}

const folder = tempFolder();
let server: Serving;
beforeAll(async () => {
  await addUser(folder.path);
  server = await serve(["--tls", "--penalties", "off"], { data: folder.path });
});
afterAll(async () => {
  await server.stop();
  folder[Symbol.dispose]();
});

async function python(path: string, ...argv: string[]): Promise<{ code: number; said: string }> {
  const child = Bun.spawn([path, ...argv], { stdout: "pipe", stderr: "pipe" });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, said: (out + err).trim() };
}

describe.each(pythons)("Python $version", ({ path }) => {
  test("logs in over TLS 1.3, knows the server by its pin, and everything comes back", async () => {
    const pin = String(server.ready["tls"]);
    const { code, said } = await python(path, SCRIPT, String(server.port), pin, "ann", PASSWORD);
    expect({ code, said }).toEqual({
      code: 0,
      said: said === "no TLS 1.3" ? said : "all came back",
    });
  });

  test("that offers no more than TLS 1.2 gets no channel", async () => {
    const { code, said } = await python(path, "-c", OLD, String(server.port));
    expect({ code, said }).toEqual({ code: 0, said: "refused" });
  });
});
