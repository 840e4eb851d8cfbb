// A server's key and certificate. It makes them when it first needs them and keeps them in the data folder, unless files are given.
//
// The key is the identity. A lost or expired certificate is made again for the same key, so that every pin stays valid.

import {
  createPrivateKey,
  createPublicKey,
  randomBytes,
  webcrypto,
  X509Certificate,
  type KeyObject,
} from "node:crypto";
import { hostname } from "node:os";
import { ParleyError } from "../base/errors.ts";
import { certificatesIn, pinOf, timeFlaw, type TlsIdentity } from "./tls.ts";
import { LockedFile } from "../files/locked-file.ts";
import { FileError } from "../files/file-error.ts";
import { readPrivateFile, readPublicBytes, readPublicFile } from "../files/private-file.ts";
import { shellQuote } from "../base/shell-quote.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
/** Ten years, since clients trust the pin. */
const VALID_MS = 3650 * DAY_MS;
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";

/**
 * The identity at `keyFile` and `certificateFile`. Missing files are created.
 *
 * @throws {FileError} when other users can read the key, or it cannot be written.
 * @throws {ParleyError} `failed` when a file is damaged.
 */
export async function loadOrCreateIdentity(keyFile: string, certificateFile: string): Promise<TlsIdentity> {
  let key = readPrivateFile(keyFile).text;
  if (key === null) {
    const { privateKey } = await webcrypto.subtle.generateKey(ECDSA, true, ["sign", "verify"]);
    const made = pem("PRIVATE KEY", await webcrypto.subtle.exportKey("pkcs8", privateKey));
    const isOurs = await new LockedFile(keyFile).create(() => made);
    key = isOurs ? made : (readPrivateFile(keyFile).text ?? ""); // else another process was first
  }
  const privateKey = parseKey(key, keyFile);
  let certificate = readPublicFile(certificateFile);
  if (certificate === undefined || needsRenewal(certificate, privateKey)) {
    certificate = await issue(privateKey, keyFile);
    await new LockedFile(certificateFile).replace(certificate);
  }
  return { key, certificate, pin: pinOf(createPublicKey(privateKey)) };
}

/** The file that {@link loadOrCreateIdentity} would create; undefined when both exist. @throws as that function. */
export function missingPart(keyFile: string, certificateFile: string): string | undefined {
  const key = readPrivateFile(keyFile).text;
  if (key === null) return keyFile;
  const certificate = readPublicFile(certificateFile);
  const isGood = certificate !== undefined && !needsRenewal(certificate, parseKey(key, keyFile));
  return isGood ? undefined : certificateFile;
}

/**
 * An identity from elsewhere, with PEM in both files.
 *
 * @throws {FileError} when other users can read the key.
 * @throws {ParleyError} `failed` when a file cannot be read, or the key does not match the certificate.
 */
export function loadIdentity(keyFile: string, certificateFile: string): TlsIdentity {
  const key = readGivenKey(keyFile);
  const privateKey = parseKey(key, keyFile);
  const { text: certificate, certificates } = readCertificates(certificateFile);
  if (certificates[0]?.checkPrivateKey(privateKey) !== true) {
    throw new ParleyError(
      "failed",
      `the key in ${keyFile} does not match the certificate in ${certificateFile}`,
    );
  }
  return { key, certificate, pin: pinOf(createPublicKey(privateKey)) };
}

/** The reason why a server's certificate, or one above it in its file, is not valid at the time `at`. */
export function certificateFlaw({ certificate }: TlsIdentity, at = Date.now()): string | undefined {
  return certificatesIn(certificate)
    .map((one) => timeFlaw(one, at))
    .find((flaw) => flaw !== undefined);
}

/** The certificate authorities in a PEM file. @throws {ParleyError} `failed` when there are none. */
export function readAuthorities(path: string): string {
  return readCertificates(path).text;
}

function readCertificates(path: string): { text: string; certificates: X509Certificate[] } {
  const bytes = readPublicBytes(path);
  if (bytes === undefined) throw new ParleyError("failed", `there is no file ${path}`);
  const text = new TextDecoder().decode(bytes);
  try {
    return { text, certificates: certificatesIn(text) };
  } catch (error) {
    if (isDer(bytes)) {
      const file = shellQuote(path);
      throw new ParleyError("failed", `${path} holds a certificate in DER, not in PEM`, {
        hint: `convert it: openssl x509 -inform der -in ${file} -out ${file}.pem`,
      });
    }
    const isDamaged = text.includes("-----BEGIN CERTIFICATE-----");
    const what = isDamaged ? "a damaged certificate" : "no certificate in PEM";
    throw new ParleyError("failed", `${path} holds ${what}`, { cause: error });
  }
}

function isDer(bytes: Uint8Array): boolean {
  if (bytes[0] !== DER_SEQUENCE) return false;
  try {
    new X509Certificate(bytes);
    return true;
  } catch {
    return false;
  }
}

/** The first bytes of every certificate in DER. */
const DER_SEQUENCE = 0x30;

function readGivenKey(path: string): string {
  try {
    const { text } = readPrivateFile(path);
    if (text !== null) return text;
  } catch (error) {
    if (!(error instanceof FileError) || error.code !== "corrupt") throw error;
    const file = shellQuote(path);
    throw new ParleyError("failed", `${path} holds no private key in PEM`, {
      hint: `if it is in DER, convert it: openssl pkey -inform der -in ${file} -out ${file}.pem`,
    });
  }
  throw new ParleyError("failed", `there is no file ${path}`);
}

function parseKey(text: string, path: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch (error) {
    const isLocked = text.includes("ENCRYPTED");
    throw new ParleyError("failed", `${path} holds ${isLocked ? "an encrypted" : "no"} private key in PEM`, {
      hint: isLocked
        ? "store the key without a passphrase, so that the server can start without a person"
        : undefined,
      cause: error,
    });
  }
}

/** True for a certificate of another key, a damaged one, and one that expires within a month. */
function needsRenewal(text: string, key: KeyObject): boolean {
  try {
    const certificate = new X509Certificate(text);
    return !certificate.checkPrivateKey(key) || Date.parse(certificate.validTo) < Date.now() + 30 * DAY_MS;
  } catch {
    return true; // our own certificate, which only carries the key: it can be replaced
  }
}

const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A self-made certificate for `key`. The library takes a tenth of a second to load, hence only here. */
async function issue(key: KeyObject, path: string): Promise<string> {
  if (key.asymmetricKeyType !== "ec" || key.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    throw new ParleyError("failed", `cannot make a certificate for ${path}: it is not a P-256 key`, {
      hint: "give both files with --tls-cert and --tls-key",
    });
  }
  await import("reflect-metadata"); // required by a dependency of the library
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
