// A server's identity: the key is what stays, the certificate is made anew for it whenever it will not do.

import { createPrivateKey, X509Certificate } from "node:crypto";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ParleyError } from "../../src/base/errors.ts";
import { endPointOf, isPin } from "../../src/net/tls.ts";
import { loadIdentity, loadOrCreateIdentity, readAuthorities } from "../../src/net/tls-identity.ts";
import { authority, selfSigned } from "../support/certificates.ts";
import { end_point } from "../vectors/wire.json";
import { tempFolder, type TempFolder } from "../support/folder.ts";

let folder: TempFolder;
let keyFile: string;
let certificateFile: string;
beforeEach(() => {
  folder = tempFolder();
  keyFile = join(folder.path, "tls-key.pem");
  certificateFile = join(folder.path, "tls-cert.pem");
});
afterEach(() => folder[Symbol.dispose]());

const own = () => loadOrCreateIdentity(keyFile, certificateFile);
const given = () => loadIdentity(keyFile, certificateFile);
const put = (key: string, certificate: string) => {
  writeFileSync(keyFile, key, { mode: 0o600 });
  writeFileSync(certificateFile, certificate);
};

/** The message and hint of the ParleyError that `work` ends with; any other fault is passed on. */
async function refusal(work: () => unknown): Promise<string> {
  try {
    await work();
    return "nothing";
  } catch (error) {
    if (error instanceof ParleyError) return `${error.message} (${error.hint ?? ""})`;
    throw error;
  }
}

const DAYS = 86_400_000;
const HAS_OPENSSL = Bun.which("openssl") !== null;

describe("one's own", () => {
  test("is made once, privately, a P-256 key with a certificate for ten years", async () => {
    const made = await own();
    expect(isPin(made.pin)).toBe(true);
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    expect(statSync(certificateFile).mode & 0o777).toBe(0o600);
    const certificate = new X509Certificate(made.certificate);
    expect(certificate.checkPrivateKey(createPrivateKey(made.key))).toBe(true);
    expect(createPrivateKey(made.key).asymmetricKeyDetails?.namedCurve).toBe("prime256v1");
    expect(Date.parse(certificate.validTo) - Date.now()).toBeWithin(3640 * DAYS, 3651 * DAYS);
    expect(Date.parse(certificate.validFrom)).toBeLessThan(Date.now());
    expect(certificate.subjectAltName).toContain("IP Address:127.0.0.1");
    expect(certificate.ca).toBe(false);
    expect(await own()).toEqual(made);
  });

  test.skipIf(!HAS_OPENSSL)("has the pin that openssl computes", async () => {
    const { pin } = await own();
    const script = `openssl x509 -in "$1" -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64`;
    const computed = execFileSync("sh", ["-c", script, "sh", certificateFile], { encoding: "utf8" });
    expect(pin).toBe(`sha256/${computed.trim()}`);
  });

  test.each([
    ["lost", () => rmSync(certificateFile)],
    ["empty", () => writeFileSync(certificateFile, "")],
    ["garbage", () => writeFileSync(certificateFile, "-----BEGIN CERTIFICATE-----\nAAAA\n")],
    ["cut", () => writeFileSync(certificateFile, readFileSync(certificateFile).subarray(0, 300))],
  ])("has a new certificate when that is %s, and the same pin", async (_, harm) => {
    const { pin, key, certificate } = await own();
    harm();
    const again = await own();
    expect([again.pin, again.key]).toEqual([pin, key]);
    expect(again.certificate).not.toBe(certificate);
    expect(readFileSync(certificateFile, "utf8")).toBe(again.certificate);
    expect(new X509Certificate(again.certificate).checkPrivateKey(createPrivateKey(key))).toBe(true);
  });

  test("has a new certificate when that is another key's, or ends within a month", async () => {
    const { pin } = await own();
    for (const certificate of [(await selfSigned()).certificate, await shortLived(keyFile)]) {
      writeFileSync(certificateFile, certificate);
      const again = await own();
      expect(again.pin).toBe(pin);
      expect(again.certificate).not.toBe(certificate);
    }
  });

  test.each(["", "garbage", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])(
    "is not made anew when the key is %j: every pin would be void",
    async (text) => {
      writeFileSync(keyFile, text, { mode: 0o600 });
      expect(await refusal(own)).toContain(`${keyFile} holds no private key`);
      expect(readFileSync(keyFile, "utf8")).toBe(text);
    },
  );

  test("is refused when others could read the key, with the command that mends it", async () => {
    await own();
    chmodSync(keyFile, 0o644);
    expect(await refusal(own)).toContain(`chmod 600 ${keyFile}`);
  });

  test("made twice at once is one", async () => {
    const all = await Promise.all(Array.from({ length: 8 }, own));
    expect(new Set(all.map(({ pin }) => pin)).size).toBe(1);
    expect((await own()).pin).toBe(all[0]?.pin ?? "");
  });

  test.skipIf(!HAS_OPENSSL)("says so when its key is of another kind: RSA", async () => {
    execFileSync("sh", ["-c", `umask 077; openssl genrsa 2048 > "$1" 2>/dev/null`, "sh", keyFile]);
    expect(await refusal(own)).toContain("--tls-cert");
  });

  test("… or another curve", async () => {
    const script = `umask 077; openssl ecparam -name secp384r1 -genkey -noout > "$1"`;
    execFileSync("sh", ["-c", script, "sh", keyFile]);
    expect(await refusal(own)).toContain("--tls-cert");
  });

  test("says so when the certificate is a folder", async () => {
    mkdirSync(certificateFile);
    expect(await refusal(own)).toContain(certificateFile);
  });
});

describe("one that is given", () => {
  test("is taken as it is, a chain too", async () => {
    const signer = await authority();
    const made = await signer.issue("example.org");
    put(made.key, made.certificate + signer.pem);
    expect(given()).toEqual({ ...made, certificate: made.certificate + signer.pem });
  });

  test("whose parts do not belong together is refused, naming both", async () => {
    const [one, other] = await Promise.all([selfSigned(), selfSigned()]);
    put(one.key, other.certificate);
    const said = await refusal(given);
    expect(said).toContain(keyFile);
    expect(said).toContain(certificateFile);
  });

  test.each([
    ["there is no key", () => rmSync(keyFile), "tls-key.pem"],
    ["there is no certificate", () => rmSync(certificateFile), "tls-cert.pem"],
    ["the key is empty", () => writeFileSync(keyFile, ""), "tls-key.pem"],
    ["the certificate is empty", () => writeFileSync(certificateFile, ""), "tls-cert.pem"],
    ["the certificate is a key", () => writeFileSync(certificateFile, readFileSync(keyFile)), "tls-cert.pem"],
    ["others can read the key", () => chmodSync(keyFile, 0o644), "chmod 600"],
  ])("is refused when %s, naming the file", async (_, harm, words) => {
    const { key, certificate } = await selfSigned();
    put(key, certificate);
    harm();
    expect(await refusal(given)).toContain(words);
  });

  test.each([
    [
      "certificate",
      () => certificateFile,
      "holds a certificate in DER, not in PEM",
      "openssl x509 -inform der",
    ],
    ["key", () => keyFile, "holds no private key in PEM", "openssl pkey -inform der"],
  ])(
    "whose %s is in DER is refused, with the command that makes PEM of it",
    async (_, path, words, command) => {
      const { key, certificate } = await selfSigned();
      put(key, certificate);
      const pem = readFileSync(path(), "utf8");
      writeFileSync(path(), Buffer.from(pem.replace(/-----[^-]+-----/g, ""), "base64"));
      const said = await refusal(given);
      expect(said).toContain(`${path()} ${words}`);
      expect(said).toContain(`${command} -in ${path()} -out ${path()}.pem`);
    },
  );

  test("with a damaged certificate above it is refused", async () => {
    const { key, certificate } = await selfSigned();
    put(key, `${certificate}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`);
    expect(await refusal(given)).toContain(`${certificateFile} holds a damaged certificate`);
  });

  // As certbot lays them out: what has a name of its own is a link to the newest.
  test("may be named by symbolic links", async () => {
    const { key, certificate, pin } = await selfSigned();
    put(key, certificate);
    const link = join(folder.path, "privkey.pem");
    symlinkSync(keyFile, link);
    expect(loadIdentity(link, certificateFile).pin).toBe(pin);
  });
});

test("the end point is SHA-256 of the first certificate in DER, whatever its signature: that of the vector", async () => {
  const pem = `-----BEGIN CERTIFICATE-----\n${end_point.certificate_der_base64}\n-----END CERTIFICATE-----\n`;
  const ca = await authority();
  for (const certificate of [pem, pem + ca.pem]) {
    const endPoint = endPointOf({ key: "", pin: "", certificate });
    expect(Buffer.from(endPoint).toString("hex")).toBe(end_point.end_point_hex);
  }
  const other = endPointOf({ key: "", pin: "", certificate: ca.pem + pem });
  expect(Buffer.from(other).toString("hex")).not.toBe(end_point.end_point_hex);
});

test("authorities are PEM, and a file without any is refused", async () => {
  const { pem } = await authority();
  const path = join(folder.path, "ca.pem");
  writeFileSync(path, pem);
  expect(readAuthorities(path)).toBe(pem);
  for (const text of ["", "garbage", (await selfSigned()).key]) {
    writeFileSync(path, text);
    expect(await refusal(() => readAuthorities(path))).toContain("holds no certificate in PEM");
  }
  writeFileSync(path, Buffer.concat([Buffer.from("# J\xf6rg's\n", "latin1"), Buffer.from(pem)]));
  expect(readAuthorities(path)).toContain(pem);
  expect(await refusal(() => readAuthorities(join(folder.path, "none")))).toContain("there is no file");
});

/** A certificate of the key in `path` that ends in a few days. */
async function shortLived(path: string): Promise<string> {
  const script = `openssl req -x509 -key "$1" -days 20 -subj /CN=parley`;
  return HAS_OPENSSL ? Bun.$`sh -c ${script} sh ${path}`.text() : (await selfSigned()).certificate;
}
