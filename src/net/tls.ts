// TLS for parley: 1.3 only, so that the exporter names exactly one channel. A client trusts the pin of the server's key, or a
// certificate authority.
//
// Without key and certificate Bun 1.4.5 listens in plain text (measured): so this file requires both, and sets every option
// itself.

import { createHash, X509Certificate, type KeyObject } from "node:crypto";
import type { Socket, TLSOptions } from "bun";
import type { BindingName, Bindings } from "../base/bindings.ts";

/** A server's certificate and key in PEM, and the pin of the key. */
export interface TlsIdentity {
  key: string;
  certificate: string;
  pin: string;
}

/** The requirements of a client. */
export interface TlsDemand {
  /** The trusted authorities in PEM; without them no certificate is trusted, and the caller must check the pin. */
  authorities: string | undefined;
  /** Set when TLS is required only because the server has had it since this day. */
  knownSince?: string | undefined;
}

const TLS_1_3 = 0x0304;

/** Bun 1.4.5 accepts only the number (measured); its types have neither form. */
type Options = TLSOptions & { minVersion: number };

export function serverOptions({ key, certificate }: TlsIdentity): TLSOptions {
  if (key === "" || certificate === "") throw new TypeError("TLS needs a key and a certificate");
  const options: Options = {
    key,
    cert: certificate,
    requestCert: false,
    rejectUnauthorized: false,
    minVersion: TLS_1_3,
  };
  return options;
}

export function clientOptions({ authorities }: TlsDemand, host: string): TLSOptions {
  if (authorities === "") throw new TypeError("no authority to believe");
  const trust =
    authorities === undefined
      ? { rejectUnauthorized: false }
      : { ca: authorities, rejectUnauthorized: true, serverName: host };
  const options: Options = { ...trust, minVersion: TLS_1_3 };
  return options;
}

/** `sha256/` and the base64 SHA-256 of a public key (its SPKI in DER): the key is the identity, and not the certificate. */
export function pinOf(publicKey: KeyObject): string {
  const spki = publicKey.export({ type: "spki", format: "der" });
  return `sha256/${createHash("sha256").update(spki).digest("base64")}`;
}

/** True for a pin as {@link pinOf} makes it. */
export function isPin(text: string): boolean {
  return /^sha256\/[A-Za-z0-9+/]{43}=$/.test(text);
}

/** The certificates in a PEM text. @throws {Error} when there is none, or one is damaged. */
export function certificatesIn(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs) ?? [pem];
  return blocks.map((block) => new X509Certificate(block));
}

/** The reason why a certificate is not valid at the time `at`: it expired, expires, or is not valid yet. */
export function timeFlaw({ validFrom, validTo }: X509Certificate, at = Date.now()): string | undefined {
  const end = Date.parse(validTo);
  if (end < at) return `${end < Date.now() ? "expired" : "expires"} on ${dayOf(validTo)}`;
  return Date.parse(validFrom) > at ? `is not valid before ${dayOf(validFrom)}` : undefined;
}

function dayOf(time: string): string {
  return new Date(time).toISOString().slice(0, 10);
}

/** The pin of the peer of an established channel. */
export function peerPin(socket: Socket<unknown>): string | undefined {
  const certificate = peerCertificate(socket);
  return certificate === undefined ? undefined : pinOf(certificate.publicKey);
}

export function peerCertificate(socket: Socket<unknown>): X509Certificate | undefined {
  return socket.getPeerX509Certificate();
}

/** SHA-256 of the server's own certificate, the first one in its file: the value of the binding `tls-server-end-point`. */
export function endPointOf({ certificate }: TlsIdentity): Uint8Array {
  const [own] = certificatesIn(certificate);
  if (own === undefined) throw new TypeError("TLS needs a certificate");
  return createHash("sha256").update(own.raw).digest();
}

/** The bindings of a channel of this server. */
export function serverBindings(
  socket: Socket<unknown>,
  endPoint: Uint8Array,
  accepted: readonly BindingName[],
): Bindings {
  return new Map(
    accepted.map((name) => [name, name === "tls-server-end-point" ? endPoint : exporterOf(socket)]),
  );
}

/** The binding of a channel of this client: always the exporter. */
export function clientBindings(socket: Socket<unknown>): Bindings {
  return new Map([["tls-exporter", exporterOf(socket)]]);
}

/** 32 bytes that only the two ends of this channel know (RFC 9266). */
function exporterOf(socket: Socket<unknown>): Uint8Array {
  // By Bun's types this returns nothing.
  const bytes: unknown = socket.exportKeyingMaterial(32, "EXPORTER-Channel-Binding", Buffer.alloc(0));
  if (bytes instanceof Uint8Array && bytes.length === 32) return bytes;
  throw new Error("this TLS channel has no exporter");
}
