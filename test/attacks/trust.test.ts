// parley connect and a server that is not who it should be: nothing but a ClientHello and the handshake leaves before it
// is known to be right, whatever the flags and the environment.

import { createServer } from "node:net";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { TlsIdentity } from "../../src/net/tls.ts";
import {
  addUser,
  PASSWORD,
  portForLater,
  run,
  serve,
  type Options,
  type Result,
} from "../support/executable.ts";
import { authority, selfSigned, type Authority } from "../support/certificates.ts";
import { HELLO } from "../support/fake-server.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";
import { frame, Peer } from "../support/peer.ts";
import { tlsServer, type Rogue } from "../support/rogue.ts";

setDefaultTimeout(90_000);

const PASSWORD_HELLO = { ...HELLO, auth: ["password", "token"] };
const SAY = ["--send", "x", "--count", "1"];
const env = { PARLEY_PASSWORD: PASSWORD };

let folder: TempFolder;
let ca: Authority;
let otherCa: Authority;
const file = (name: string, text = ""): string => {
  const path = join(folder.path, name);
  if (text !== "") writeFileSync(path, text, { mode: 0o600 });
  return path;
};
beforeAll(async () => {
  folder = tempFolder();
  [ca, otherCa] = await Promise.all([authority(), authority("other authority")]);
});
afterAll(() => folder[Symbol.dispose]());

const REFUSED = {
  type: "refused",
  code: "bad_credentials",
  message: "wrong user name or password",
  attempts_left: 0,
};

/** A server that takes whatever a client gives away, and refuses every login. */
const recorder = (identity: TlsIdentity) =>
  tlsServer(identity, (socket, rogue) => {
    socket.write(frame(JSON.stringify(PASSWORD_HELLO)));
    socket.on("data", () => {
      if (rogue.received.includes('"login"')) socket.end(frame(JSON.stringify(REFUSED)));
    });
  });

const goTo = (address: string, flags: string[], options: Options = {}): Promise<Result> =>
  run(["connect", `ann@${address}`, ...SAY, ...flags], { env, ...options });

/** Refused, in so many words, and the server has heard nothing. */
function expectNothingSent(result: Result, rogue: Rogue | undefined, words: string): void {
  expect(result.stderr).toContain(words);
  expect(result.exitCode).toBe(1);
  expect(result.stdout).toBe("");
  expect(rogue?.received ?? "").toBe("");
}

const MEAN: Record<string, string>[] = [
  {},
  { NODE_TLS_REJECT_UNAUTHORIZED: "0", NODE_OPTIONS: "--use-openssl-ca" },
];

describe.each(MEAN)("with %j in the environment", (mean) => {
  const mood = { env: { ...env, ...mean } };

  test("an unknown server is refused without a terminal, and hears nothing", async () => {
    const identity = await selfSigned();
    using rogue = await recorder(identity);
    const result = await goTo(rogue.address, ["--tls"], mood);
    expectNothingSent(result, rogue, `its key is ${identity.pin}`);
    expect(result.stderr).toContain("--accept-new");
  });

  test("a changed key is refused, --accept-new or not, and hears nothing; --pin with it is the way out", async () => {
    using data = tempFolder();
    const [known, changed] = await Promise.all([selfSigned(), selfSigned()]);
    using rogue = await recorder(changed);
    const entry = { server: rogue.address, pin: known.pin, since: new Date().toISOString() };
    const servers = JSON.stringify({ version: 1, servers: [entry] });
    writeFileSync(join(data.path, "known-servers.json"), servers, { mode: 0o600 });
    const options = { ...mood, data: data.path };
    for (const flags of [[], ["--tls"], ["--accept-new"], ["--tls", "--accept-new"]]) {
      const result = await goTo(rogue.address, flags, options);
      expectNothingSent(result, rogue, "has changed from");
      expect(result.stderr).toContain(changed.pin);
    }
    await goTo(rogue.address, ["--pin", changed.pin], options);
    expect(rogue.received).toContain(PASSWORD);
  });

  test("--pin refuses any other key, also a known one", async () => {
    using data = tempFolder();
    const [right, wrong] = await Promise.all([selfSigned(), selfSigned()]);
    using rogue = await recorder(wrong);
    const entry = { server: rogue.address, pin: wrong.pin, since: new Date().toISOString() };
    const servers = JSON.stringify({ version: 1, servers: [entry] });
    writeFileSync(join(data.path, "known-servers.json"), servers, { mode: 0o600 });
    const others: [flags: string[], exit: number][] = [
      [[], 1],
      [["--accept-new"], 2],
      [["--tls-ca", file("other.pem", otherCa.pem)], 1],
    ];
    for (const [flags, exit] of others) {
      const result = await goTo(rogue.address, ["--pin", right.pin, ...flags], { ...mood, data: data.path });
      expect(result.exitCode).toBe(exit);
      expect(rogue.received).toBe("");
    }
  });

  test("--tls-ca takes whom it vouches for, and no other authority's, no other name's, no self-made one", async () => {
    const trusted = ["--tls-ca", file("ca.pem", ca.pem)];
    const foreign = { ...mood, env: { ...mood.env, NODE_EXTRA_CA_CERTS: file("other.pem", otherCa.pem) } };
    const wrong: [string, TlsIdentity][] = [
      ["other authority", await otherCa.issue("127.0.0.1")],
      ["other address", await ca.issue("127.0.0.2", "example.org")],
      ["self-made", await selfSigned("127.0.0.1")],
    ];
    for (const [what, identity] of wrong) {
      using rogue = await recorder(identity);
      const result = await goTo(rogue.address, trusted, what === "other authority" ? foreign : mood);
      expectNothingSent(result, rogue, "cannot trust the certificate of ");
    }
    using right = await recorder(await ca.issue("127.0.0.1"));
    await goTo(right.address, trusted, mood);
    expect(right.received).toContain(PASSWORD);
  });

  test("--tls-ca holds the name against the certificate", async () => {
    const trusted = ["--tls-ca", file("ca.pem", ca.pem)];
    using rogue = await recorder(await ca.issue("127.0.0.1"));
    const result = await goTo(`localhost:${rogue.port}`, trusted, mood);
    expectNothingSent(result, rogue, "cannot trust the certificate of ");
    using named = await recorder(await ca.issue("localhost"));
    await goTo(`localhost:${named.port}`, trusted, mood);
    expect(named.received).toContain(PASSWORD);
  });

  test("a server known by its key is never talked to in plain text, though it is on this machine", async () => {
    using data = tempFolder();
    const heard: Buffer[] = [];
    const plain = createServer((socket) => {
      socket.on("data", (chunk: Buffer) => heard.push(chunk)).on("error", () => undefined);
      socket.write(frame(JSON.stringify(PASSWORD_HELLO)));
    });
    await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
    const address = `127.0.0.1:${(plain.address() as { port: number }).port}`;
    const entry = { server: address, pin: (await selfSigned()).pin, since: new Date().toISOString() };
    const servers = JSON.stringify({ version: 1, servers: [entry] });
    writeFileSync(join(data.path, "known-servers.json"), servers, { mode: 0o600 });
    const result = await goTo(address, [], { ...mood, data: data.path });
    plain.close();
    expectNothingSent(result, undefined, "does not speak TLS 1.3");
    expect(Buffer.concat(heard).toString("latin1")).not.toContain(PASSWORD);
    expect(Buffer.concat(heard).subarray(0, 2).toString("hex")).toBe("1603");
  });
});

describe("a certificate that is refused", () => {
  const past = { from: new Date("2020-01-01"), to: new Date("2021-02-03") };
  const future = { from: new Date("2090-04-05"), to: new Date("2091-01-01") };
  const clock = /check the clock of this machine \(20\d\d-/;
  const other = /put the authority that signed it into --tls-ca/;

  test.each<[what: string, why: string, hint: RegExp, authority: () => Promise<Authority>, names: string[]]>([
    [
      "names another host",
      "it is not valid for 127.0.0.1",
      /issue a certificate for this name/,
      () => authority(),
      ["a.example"],
    ],
    [
      "comes from a past authority",
      "an authority in --tls-ca expired on 2021-02-03",
      clock,
      () => authority("x", past),
      [],
    ],
    [
      "comes from a coming one",
      "an authority in --tls-ca is not valid before 2090-04-05",
      clock,
      () => authority("x", future),
      [],
    ],
  ])("since it %s, says that", async (what, why, hint, signer, names) => {
    const ours = await signer();
    using rogue = await recorder(await ours.issue(...(names.length > 0 ? names : ["127.0.0.1"])));
    const path = file(`${what}.pem`, ours.pem);
    const result = await goTo(rogue.address, ["--tls-ca", path]);
    expectNothingSent(result, rogue, `cannot trust the certificate of ${rogue.address}: ${why}\n`);
    expect(result.stderr).toMatch(hint);
  });

  test.each([
    ["expired", past, "it expired on 2021-02-03"],
    ["is not valid yet", future, "it is not valid before 2090-04-05"],
  ])("since it %s itself, says that, and looks at the clock", async (_, dates, why) => {
    using rogue = await recorder(await ca.issueFor(dates, "127.0.0.1"));
    const result = await goTo(rogue.address, ["--tls-ca", file("ca.pem", ca.pem)]);
    expectNothingSent(result, rogue, `cannot trust the certificate of ${rogue.address}: ${why}\n`);
    expect(result.stderr).toMatch(clock);
  });

  test("since nobody vouches for it, says that, and who could", async () => {
    for (const identity of [await selfSigned("127.0.0.1"), await otherCa.issue("127.0.0.1")]) {
      using rogue = await recorder(identity);
      const result = await goTo(rogue.address, ["--tls-ca", file("ca.pem", ca.pem)]);
      expectNothingSent(result, rogue, ": no authority in --tls-ca signed it\n");
      expect(result.stderr).toMatch(other);
    }
  });

  test("is looked at under the name that the address or host usually has", async () => {
    using rogue = await recorder(await ca.issue("127.0.0.1", "localhost"));
    const trusted = ["--tls-ca", file("ca.pem", ca.pem)];
    for (const host of ["127.1", "LOCALHOST", "localhost."]) {
      rogue.received = "";
      await goTo(`${host}:${rogue.port}`, trusted);
      expect(rogue.received).toContain(PASSWORD);
    }
  });
});

describe("an empty or broken option", () => {
  test.each([
    ["--pin", ""],
    ["--pin", "sha256/abc"],
    ["--pin", `sha256/${"A".repeat(44)}`],
    ["--tls-ca", ""],
    ["--key-file", ""],
  ])("%s %j ends with 2 or 1, before anything is dialled", async (flag, value) => {
    using rogue = await recorder(await selfSigned());
    for (const argv of [[flag, value], [`${flag}=${value}`]]) {
      const { exitCode, stderr } = await goTo(rogue.address, ["--tls", ...argv]);
      expect(exitCode).toBe(2);
      expect(stderr).toContain(flag);
    }
    expect(rogue.channels).toBe(0);
  });

  test.each([
    ["empty", ""],
    ["garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
  ])("a file for --tls-ca that is %s ends with 1, before anything is dialled", async (name, text) => {
    using rogue = await recorder(await selfSigned());
    const path = file(`${name}.pem`);
    writeFileSync(path, text);
    const { exitCode, stderr } = await goTo(rogue.address, ["--tls-ca", path]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(path);
    expect(rogue.channels).toBe(0);
  });
});

test("an authority in DER is called that, with the command that makes PEM of it", async () => {
  const path = file("an authority.der");
  writeFileSync(path, Buffer.from(ca.pem.replace(/-----[^-]+-----/g, ""), "base64"));
  const { exitCode, stderr } = await goTo("127.0.0.1:1", ["--tls-ca", path]);
  expect(exitCode).toBe(1);
  expect(stderr).toStartWith(`parley: error: ${path} holds a certificate in DER, not in PEM\n`);
  const command = /parley: hint: convert it: (openssl .*)\n/.exec(stderr)?.[1] ?? "false";
  if (Bun.which("openssl") === null) return;
  expect(await Bun.spawn(["sh", "-c", command]).exited).toBe(0);
  using rogue = await recorder(await ca.issue("127.0.0.1"));
  await goTo(rogue.address, ["--tls-ca", `${path}.pem`]);
  expect(rogue.received).toContain(PASSWORD);
});

test("--accept-new remembers the server: from then on TLS by itself, and another key is refused", async () => {
  using data = tempFolder();
  await addUser(data.path);
  await using server = await serve(["--tls"], { data: data.path });
  const options = { data: join(data.path, "client") };
  expect((await goTo(server.address, ["--tls", "--accept-new"], options)).stdout).toBe("x\n");
  expect((await goTo(server.address, [], options)).stdout).toBe("x\n");
  expect((await goTo(server.address, ["--pin", String(server.ready["tls"])], options)).stdout).toBe("x\n");
  await server.stop();
});

test("a token issued over TLS is neither sent nor accepted in plain text", async () => {
  using data = tempFolder();
  await addUser(data.path);
  const client = { data: join(data.path, "client"), env: {} };
  const port = portForLater();
  const at = ["--strict-port", "--port", String(port)];
  await using first = await serve(["--tls", ...at], { data: data.path });
  const { address } = first;
  expect((await goTo(address, ["--tls", "--accept-new"], { ...client, env })).exitCode).toBe(0);
  expect((await goTo(address, [], client)).exitCode).toBe(0); // by the token: no password was given
  await first.stop();
  await using plain = await serve(at, { data: data.path });
  const refused = await goTo(address, ["--no-tls", "--trace"], client);
  expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
  expect(refused.stderr).toContain("has been known as a TLS server since");
  expect((await run(["connect", "--forget", address], client)).exitCode).toBe(0);
  const lured = await goTo(address, ["--no-tls", "--trace"], client);
  expect(lured.exitCode).toBe(2);
  expect(lured.stderr).toContain("missing password");
  expect(lured.stderr).not.toContain("proof");

  // Even somebody who shows it by hand, with a right proof for a plain channel, is refused.
  const { parseToken, proveToken, TOKEN_LABEL } = await import("../../src/auth/token.ts");
  const stored = (await Bun.file(join(client.data, "tokens.json")).json()) as { tokens: { token: string }[] };
  const token = parseToken(stored.tokens[0]?.token ?? "");
  expect(token).toBeDefined();
  using peer = await Peer.connect(port);
  const { nonce } = (await peer.message()) as { nonce: string };
  const { id = "", secret = new Uint8Array(32) } = token ?? {};
  const proof = proveToken(secret, TOKEN_LABEL, Buffer.from(nonce, "base64"), Buffer.alloc(0));
  peer.json({ type: "login", method: "token", id, proof: proof.toString("base64") });
  expect(await peer.message()).toMatchObject({ type: "refused", code: "token_refused" });
  peer.end();
  await plain.stop();
});
