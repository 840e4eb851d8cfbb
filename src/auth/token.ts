// Session tokens: issued at a login, proven at the next one, stored only as a digest.
//
//     prly_<id>_<secret><check>     id: 8 random characters, public; secret: 32 random bytes; check: CRC-32
//     K     = SHA-256(secret)                                     the server stores only this
//     proof = secret XOR HMAC-SHA256(K, label ‖ nonce ‖ binding)  the client sends only this
//
// As in SCRAM (RFC 5802 §3), a stolen file does not allow a login, and a recorded proof cannot be replayed.

import { randomBytes, timingSafeEqual } from "node:crypto";
import { crc32 } from "node:zlib";
import type { BindingName } from "../base/bindings.ts";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE = 62n;
const SECRET_BYTES = 32;
const SECRET_LENGTH = 43;
const CHECK_LENGTH = 6;
const ID_LENGTH = 8;
const FORM = /^prly_([0-9A-Za-z]{8})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/;

/** Domain separation: the purpose of a proof. */
export const TOKEN_LABEL = "parley/1 token";
export const RESUME_LABEL = "parley/1 resume";

/** The label of a proof under a binding, so that a proof under one is never one under the other. */
export function boundLabel(label: string, binding: BindingName): string {
  return binding === "tls-server-end-point" ? `${label} end-point` : label;
}

export interface TokenParts {
  /** Public, the key in the file. */
  id: string;
  /** 32 bytes. */
  secret: Uint8Array;
}

/** A fresh token: its parts and its text. */
export function mintToken(): TokenParts & { text: string } {
  const secret = randomBytes(SECRET_BYTES);
  const id = encode(BigInt(`0x${randomBytes(8).toString("hex")}`) % BASE ** BigInt(ID_LENGTH), ID_LENGTH);
  return { id, secret, text: formatToken({ id, secret }) };
}

/** A fresh name for a server: public, 96 random bits. */
export function mintServerName(): string {
  return randomBytes(12).toString("base64url");
}

/** A fresh id for a user's account: public, 96 random bits. */
export function mintUserId(): string {
  return randomBytes(12).toString("base64url");
}

/** The text of a token, with its check digits. */
export function formatToken({ id, secret }: TokenParts): string {
  const body = `${id}_${encode(BigInt(`0x${Buffer.from(secret).toString("hex")}`), SECRET_LENGTH)}`;
  return `prly_${body}${check(body)}`;
}

/** The parts of a token's text; undefined when it is not a token or is mistyped. */
export function parseToken(text: string): TokenParts | undefined {
  const [, id, secretText, checkText] = FORM.exec(text) ?? [];
  if (id === undefined || secretText === undefined || check(`${id}_${secretText}`) !== checkText)
    return undefined;
  const value = decode(secretText);
  if (value >= 1n << 256n) return undefined;
  return { id, secret: Buffer.from(value.toString(16).padStart(2 * SECRET_BYTES, "0"), "hex") };
}

/** K: the digest of a secret that the server keeps, 32 bytes. */
export function tokenKey(secret: Uint8Array): Buffer {
  return Buffer.from(Bun.SHA256.hash(secret).buffer);
}

/** The proof a client sends: 32 bytes. `binding` is the value of a channel binding, or empty on plain TCP. */
export function proveToken(
  secret: Uint8Array,
  label: string,
  nonce: Uint8Array,
  binding: Uint8Array,
): Buffer {
  return xor(secret, mask(tokenKey(secret), label, nonce, binding));
}

/** True when `proof` shows knowledge of the secret whose digest is `key`. Takes constant time. */
export function verifyProof(
  key: Uint8Array,
  proof: Uint8Array,
  label: string,
  nonce: Uint8Array,
  binding: Uint8Array,
): boolean {
  if (proof.length !== SECRET_BYTES || key.length !== SECRET_BYTES) return false;
  const secret = xor(proof, mask(key, label, nonce, binding));
  return timingSafeEqual(tokenKey(secret), key);
}

/** An HMAC. With `createHmac` of node:crypto a proof takes three times as long, and twice the memory (measured with Bun 1.4.5). */
function mask(key: Uint8Array, label: string, nonce: Uint8Array, binding: Uint8Array): Buffer {
  return new Bun.CryptoHasher("sha256", key).update(label).update(nonce).update(binding).digest();
}

function xor(a: Uint8Array, b: Uint8Array): Buffer {
  return Buffer.from(a.map((byte, index) => byte ^ b[index]!));
}

function check(body: string): string {
  return encode(BigInt(crc32(body)), CHECK_LENGTH);
}

function encode(value: bigint, length: number): string {
  let text = "";
  for (let rest = value; text.length < length; rest /= BASE) text = ALPHABET[Number(rest % BASE)]! + text;
  return text;
}

function decode(text: string): bigint {
  let value = 0n;
  for (const digit of text) value = value * BASE + BigInt(ALPHABET.indexOf(digit));
  return value;
}
