// A server's key and certificate: its own, made when first needed and kept in the data folder, or those it is given.
//
// The key is the identity: a certificate that is lost or worn out is made anew for the same key, and every pin holds.

import {
  createPrivateKey,
  createPublicKey,
  randomBytes,
  webcrypto,
  X509Certificate,
  type KeyObject,
} from "node:crypto";
import { hostname } from "node:os";
import { ParleyError } from "./errors.ts";
import { pinOf, type TlsIdentity } from "./net/tls.ts";
import { LockedFile } from "./files/locked-file.ts";
import { readPrivateFile, readPublicFile } from "./files/private-file.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
/** Ten years: it is the pin that is believed. */
const VALID_MS = 3650 * DAY_MS;
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";

/**
 * The identity at `keyFile` and `certificateFile`, made where it is missing.
 *
 * @throws {FileError} when the key can be read by others, or cannot be written.
 * @throws {ParleyError} `failed` when a file is damaged.
 */
export async function ownIdentity(keyFile: string, certificateFile: string): Promise<TlsIdentity> {
  let key = readPrivateFile(keyFile).text;
  if (key === null) {
    const { privateKey } = await webcrypto.subtle.generateKey(ECDSA, true, ["sign", "verify"]);
    const made = pem("PRIVATE KEY", await webcrypto.subtle.exportKey("pkcs8", privateKey));
    const isOurs = await new LockedFile(keyFile).create(() => made);
    key = isOurs ? made : (readPrivateFile(keyFile).text ?? ""); // else another process was first
  }
  const privateKey = parseKey(key, keyFile);
  let certificate = readPublicFile(certificateFile);
  if (certificate === undefined || isWornOut(certificate, privateKey)) {
    certificate = await issue(privateKey, keyFile);
    await new LockedFile(certificateFile).replace(certificate);
  }
  return { key, certificate, pin: pinOf(createPublicKey(privateKey)) };
}

/** The file that {@link ownIdentity} would make; undefined when both are there. @throws as that does. */
export function missingPart(keyFile: string, certificateFile: string): string | undefined {
  const key = readPrivateFile(keyFile).text;
  if (key === null) return keyFile;
  const certificate = readPublicFile(certificateFile);
  const isGood = certificate !== undefined && !isWornOut(certificate, parseKey(key, keyFile));
  return isGood ? undefined : certificateFile;
}

/**
 * An identity made elsewhere, PEM in both files.
 *
 * @throws {FileError} when the key can be read by others.
 * @throws {ParleyError} `failed` when one cannot be read, or they do not belong together.
 */
export function givenIdentity(keyFile: string, certificateFile: string): TlsIdentity {
  const key = readPrivateFile(keyFile).text;
  if (key === null) throw new ParleyError("failed", `there is no file ${keyFile}`);
  const privateKey = parseKey(key, keyFile);
  const certificate = readPem(certificateFile);
  if (!parseCertificate(certificate, certificateFile).checkPrivateKey(privateKey)) {
    throw new ParleyError("failed", `the key in ${keyFile} is not that of ${certificateFile}`);
  }
  return { key, certificate, pin: pinOf(createPublicKey(privateKey)) };
}

/** The certificate authorities in a PEM file. @throws {ParleyError} `failed` when there are none. */
export function readAuthorities(path: string): string {
  const text = readPem(path);
  parseCertificate(text, path);
  return text;
}

function readPem(path: string): string {
  const text = readPublicFile(path);
  if (text !== undefined) return text;
  throw new ParleyError("failed", `there is no file ${path}`);
}

function parseKey(text: string, path: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch (error) {
    const isLocked = text.includes("ENCRYPTED");
    throw new ParleyError("failed", `${path} holds ${isLocked ? "an encrypted" : "no"} private key in PEM`, {
      hint: isLocked ? "a server that starts by itself needs it without its passphrase" : undefined,
      cause: error,
    });
  }
}

function parseCertificate(text: string, path: string): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch (error) {
    throw new ParleyError("failed", `${path} holds no certificate in PEM`, { cause: error });
  }
}

/** Is it not this key's, damaged, or past its time within a month? */
function isWornOut(text: string, key: KeyObject): boolean {
  try {
    const certificate = new X509Certificate(text);
    return !certificate.checkPrivateKey(key) || Date.parse(certificate.validTo) < Date.now() + 30 * DAY_MS;
  } catch {
    return true; // ours, and only a wrapping of the key: a new one is as good
  }
}

const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A self-made certificate for `key`. The library takes a tenth of a second to load, hence only here. */
async function issue(key: KeyObject, path: string): Promise<string> {
  if (key.asymmetricKeyType !== "ec" || key.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    throw new ParleyError("failed", `${path} is no P-256 key, so no certificate can be made for it`, {
      hint: "name both files with --tls-cert and --tls-key",
    });
  }
  await import("reflect-metadata"); // what the library's own dependency asks for
  const x509 = await import("@peculiar/x509");
  const { subtle } = webcrypto;
  const pkcs8 = key.export({ type: "pkcs8", format: "der" });
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  const now = Date.now();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: `01${randomBytes(15).toString("hex")}`,
    name: "CN=parley",
    notBefore: new Date(now - 60 * 60 * 1000),
    notAfter: new Date(now + VALID_MS),
    keys: {
      privateKey: await subtle.importKey("pkcs8", pkcs8, ECDSA, false, ["sign"]),
      publicKey: await subtle.importKey("spki", spki, ECDSA, true, ["verify"]),
    },
    signingAlgorithm: ECDSA,
    extensions: [
      new x509.BasicConstraintsExtension(false),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([SERVER_AUTH]),
      new x509.SubjectAlternativeNameExtension([
        { type: "dns", value: "localhost" },
        { type: "dns", value: hostname() },
        { type: "ip", value: "127.0.0.1" },
        { type: "ip", value: "::1" },
      ]),
    ],
  });
  return `${certificate.toString("pem")}\n`;
}

function pem(label: string, der: ArrayBuffer): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
