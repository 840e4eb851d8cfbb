// One server under several names: which are this machine, where plain text will do, and what is remembered of it.

import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { addUser, PASSWORD, run, serve } from "../../support/executable.ts";
import { selfSigned } from "../../support/certificates.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";

setDefaultTimeout(90_000);

const NOBODY = ["--auth", "none"];
const HAS_IPV6 = Object.values(networkInterfaces()).some((all) =>
  all?.some(({ address }) => address === "::1"),
);
const IPV6 = HAS_IPV6 ? ["::1", "[::1]", "0:0:0:0:0:0:0:1"] : [];

let folder: TempFolder;
const at = (name: string) => join(folder.path, name);
beforeEach(() => (folder = tempFolder()));
afterEach(() => folder[Symbol.dispose]());

/** Lets the client know `server` by the key of another one. */
async function know(server: string): Promise<void> {
  const { pin } = await selfSigned();
  const servers = [{ server, pin, since: "2026-11-05T23:59:59.000Z" }];
  writeFileSync(at("known-servers.json"), JSON.stringify({ version: 1, servers }), { mode: 0o600 });
}

const connect = (host: string, ...flags: string[]) => run(["connect", host, ...flags], { data: folder.path });

test.each([
  "LOCALHOST",
  "localhost.",
  "parley.localhost",
  "127.1",
  "127.0.1",
  "0x7f.1",
  "2130706433",
  "::ffff:127.0.0.1",
  "::FFFF:7f00:1",
])("%s is this machine: plain text will do", async (host) => {
  await using server = await serve(NOBODY);
  const { port } = server;
  const name = host.includes(":") ? `[${host}]` : host;
  const said = await connect(`${name}:${port}`, "--send", "x");
  expect(said).toMatchObject({ exitCode: 0, stdout: "x\n", stderr: "" });
  await server.stop();
});

test.each([...IPV6, "LOCALHOST", "localhost.", "0x7f.1", "parley.localhost"])(
  "serve --host %s is for this machine alone: without TLS",
  async (host) => {
    await using server = await serve([...NOBODY, "--host", host]);
    expect(server.ready["tls"]).toBeNull();
    const name = /:.*:/.test(host) ? "[0:0:0::1]" : "LocalHost";
    const said = await connect(`${name}:${server.port}`, "--send", "x");
    expect(said).toMatchObject({ exitCode: 0, stdout: "x\n", stderr: "" });
    await server.stop();
  },
);

test("--metrics takes the same names for this machine", async () => {
  await using server = await serve([...NOBODY, "--metrics", "LOCALHOST:0"]);
  expect(String(server.ready["metrics"])).toMatch(/^LOCALHOST:\d+$/);
  await server.stop();
});

test("a token is one server's, however that is written; an address is another one", async () => {
  await addUser(folder.path);
  await using server = await serve([], { data: folder.path });
  const options = { data: at("client"), env: { PARLEY_PASSWORD: PASSWORD } };
  await run(["connect", `ann@LOCALHOST:${server.port}`, "--send", "x"], options);
  const again = ["connect", `localhost.:${server.port}`, "--send", "x"];
  expect(await run(again, { data: at("client") })).toMatchObject({ exitCode: 0, stdout: "x\n" });
  const other = await run(["connect", `ann@${server.address}`, "--send", "x"], { data: at("client") });
  expect(other).toMatchObject({ exitCode: 2, stdout: "" });
  await server.stop();
});

describe("a server of this machine that is remembered for TLS, and speaks plain text now,", () => {
  const REMEMBERED = "has been known as a TLS server since 2026-11-05, but ";
  const hint = (server: string) =>
    `\nparley: hint: forget it if it no longer has TLS: parley connect --forget ${server}\n`;

  test("is named as that, costs no penalty, and is talked to once it is forgotten", async () => {
    await using server = await serve(NOBODY);
    const name = `localhost:${server.port}`;
    await know(`LOCALHOST:${server.port}`);
    for (const spelling of ["localhost", "LOCALHOST", "localhost."]) {
      const typed = `${spelling}:${server.port}`;
      const { exitCode, stdout, stderr } = await connect(typed, "--send", "x");
      expect([exitCode, stdout]).toEqual([1, ""]);
      expect(stderr).toBe(`parley: error: ${typed} ${REMEMBERED}does not speak TLS 1.3${hint(typed)}`);
    }
    const forgotten = await connect(`LOCALHOST.:${server.port}`, "--forget");
    expect(forgotten).toMatchObject({ exitCode: 0, stdout: "" });
    expect(forgotten.stderr).toBe(`forgot the key of ${name}; session tokens are kept\n`);
    expect(await connect(name, "--send", "x")).toMatchObject({ exitCode: 0, stdout: "x\n", stderr: "" });
    await server.stop();
  });

  test("is named as that with bare frames, and with a shared key", async () => {
    for (const flags of [["--bare"], ["--key-file", at("key"), ...NOBODY]]) {
      await using server = await serve(flags);
      await know(server.address);
      const own = flags.filter((flag) => !NOBODY.includes(flag));
      const { exitCode, stderr } = await connect(server.address, ...own, "--send", "x");
      expect(exitCode).toBe(1);
      expect(stderr).toStartWith(`parley: error: ${server.address} ${REMEMBERED}`);
      expect(stderr).toEndWith(hint(server.address));
      await server.stop();
    }
  });

  test("is not named as that where a flag asks for TLS", async () => {
    await using server = await serve(NOBODY);
    await know(server.address);
    for (const flag of ["--tls", "--accept-new"]) {
      const { stderr } = await connect(server.address, flag, "--send", "x");
      expect(stderr).toStartWith(`parley: error: ${server.address} does not speak TLS 1.3\n`);
      expect(stderr).not.toContain("--forget");
    }
    await server.stop();
  });
});

test("--forget of a server that is not known ends with 1, and of a damaged file too, which stays", async () => {
  const none = await connect("127.0.0.1:1", "--forget");
  expect([none.exitCode, none.stdout]).toEqual([1, ""]);
  expect(none.stderr).toStartWith("parley: error: no stored key of 127.0.0.1:1\nparley: hint: ");
  writeFileSync(at("known-servers.json"), "{", { mode: 0o600 });
  const damaged = await connect("127.0.0.1:1", "--forget");
  expect(damaged.exitCode).toBe(1);
  expect(damaged.stderr).toContain("known-servers.json is damaged");
  expect(await Bun.file(at("known-servers.json")).text()).toBe("{");
});

test("--accept-new alone speaks TLS, on this machine too", async () => {
  await using server = await serve([...NOBODY, "--tls"]);
  expect(await connect(server.address, "--accept-new", "--send", "x")).toMatchObject({
    exitCode: 0,
    stdout: "x\n",
    stderr: "",
  });
  expect(await connect(server.address, "--send", "y")).toMatchObject({ exitCode: 0, stdout: "y\n" });
  await server.stop();
});
