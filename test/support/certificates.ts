// Certificates of the test's own: self-made ones, an authority, and what it signs.

import "reflect-metadata";
import { createPublicKey, randomBytes, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { pinOf, type TlsIdentity } from "../../src/net/tls.ts";

/** From when to when a certificate is valid. */
export interface Dates {
  from: Date;
  to: Date;
}

const EC = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const HOUR = 3_600_000;
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

export interface Authority {
  /** PEM of its own certificate. */
  pem: string;
  /** A key and a certificate for these names, which are addresses where they look like one. */
  issue(...names: string[]): Promise<TlsIdentity>;
  /** As {@link issue}, valid at another time. */
  issueFor(dates: Dates, ...names: string[]): Promise<TlsIdentity>;
  /** A key and a certificate of a client. */
  issueClient(): Promise<TlsIdentity>;
}

const newKeys = () => webcrypto.subtle.generateKey(EC, true, ["sign", "verify"]);
const thisYear = (): Dates => ({
  from: new Date(Date.now() - HOUR),
  to: new Date(Date.now() + 365 * 24 * HOUR),
});
const common = ({ from, to } = thisYear()) => ({
  serialNumber: `01${randomBytes(8).toString("hex")}`,
  notBefore: from,
  notAfter: to,
  signingAlgorithm: EC,
});

async function identity(keys: CryptoKeyPair, certificate: x509.X509Certificate): Promise<TlsIdentity> {
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  const key = `-----BEGIN PRIVATE KEY-----\n${der.toString("base64")}\n-----END PRIVATE KEY-----\n`;
  return { key, certificate: `${certificate.toString("pem")}\n`, pin: pinOf(createPublicKey(key)) };
}

function altNames(names: string[]): x509.SubjectAlternativeNameExtension {
  const isAddress = (name: string) => /^[\d.]+$|:/.test(name);
  return new x509.SubjectAlternativeNameExtension(
    names.map((value) => ({ type: isAddress(value) ? "ip" : "dns", value })),
  );
}

/** A server's certificate that nobody vouches for. */
export async function selfSigned(...names: string[]): Promise<TlsIdentity> {
  const keys = await newKeys();
  const extensions = [altNames(names.length > 0 ? names : ["127.0.0.1", "localhost"])];
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...common(),
    name: "CN=test",
    keys,
    extensions,
  });
  return identity(keys, certificate);
}

/** A certificate authority. */
export async function authority(name = "test authority", dates = thisYear()): Promise<Authority> {
  const own = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...common(dates),
    name: `CN=${name}`,
    keys: own,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ],
  });
  const sign = async (validity: Dates, usage: string, names: string[]) => {
    const keys = await newKeys();
    const signed = await x509.X509CertificateGenerator.create({
      ...common(validity),
      subject: "CN=test server",
      issuer: certificate.subject,
      publicKey: keys.publicKey,
      signingKey: own.privateKey,
      extensions: [altNames(names), new x509.ExtendedKeyUsageExtension([usage])],
    });
    return identity(keys, signed);
  };
  return {
    pem: `${certificate.toString("pem")}\n`,
    issueFor: (validity, ...names) => sign(validity, SERVER_AUTH, names),
    issue: (...names) => sign(thisYear(), SERVER_AUTH, names),
    issueClient: () => sign(thisYear(), CLIENT_AUTH, ["client"]),
  };
}
