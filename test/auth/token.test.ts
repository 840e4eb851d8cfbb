// Session tokens: the text against published vectors and against typing errors, the proof against every way of not
// knowing the secret.

import { describe, expect, test } from "bun:test";
import { BINDING_NAMES } from "../../src/base/bindings.ts";
import {
  boundLabel,
  formatToken,
  mintToken,
  parseToken,
  proveToken,
  RESUME_LABEL,
  TOKEN_LABEL,
  tokenKey,
  verifyProof,
} from "../../src/auth/token.ts";
import { token, token_proofs } from "../vectors/wire.json";

const fromHex = (text: string): Uint8Array => Uint8Array.fromHex(text);
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

describe("text", () => {
  test("is that of the vector, both directions", () => {
    const secret = fromHex(token.secret_hex);
    expect(formatToken({ id: token.id, secret })).toBe(token.token);
    expect(token.token).toBe(`prly_${token.id}_${token.secret_text}${token.check}`);
    const parts = parseToken(token.token);
    expect(parts?.id).toBe(token.id);
    expect(parts?.secret.toHex()).toBe(token.secret_hex);
  });

  test.each(["00".repeat(32), `${"00".repeat(31)}01`, "ff".repeat(32)])("keeps all 32 bytes of %s", (hex) => {
    const text = formatToken({ id: "00000000", secret: fromHex(hex) });
    expect(text).toHaveLength(63);
    expect(parseToken(text)?.secret.toHex()).toBe(hex);
  });

  test("2000 minted tokens are all different, well formed, and come back whole", () => {
    const seen = new Set<string>();
    for (let count = 0; count < 2000; count++) {
      const { id, secret, text } = mintToken();
      expect(text).toMatch(/^prly_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}$/);
      const parts = parseToken(text);
      expect([parts?.id, parts?.secret.toHex()]).toEqual([id, secret.toHex()]);
      seen.add(id).add(secret.toHex());
    }
    expect(seen.size).toBe(4000);
  });

  test("every wrong character is noticed, wherever it is", () => {
    const text = token.token;
    const accepted: string[] = [];
    for (let at = 0; at < text.length; at++) {
      for (const wrong of `${ALPHABET}_- é`) {
        const typo = `${text.slice(0, at)}${wrong}${text.slice(at + 1)}`;
        if (wrong !== text[at] && parseToken(typo) !== undefined) accepted.push(typo);
      }
    }
    expect(accepted).toEqual([]);
  });

  test("two neighbours swapped, one missing and one doubled are noticed", () => {
    const text = token.token;
    const accepted: string[] = [];
    for (let at = 0; at < text.length; at++) {
      const [here = "", next = ""] = text.slice(at);
      const head = text.slice(0, at);
      const swapped = `${head}${next}${here}${text.slice(at + 2)}`;
      for (const typo of [swapped, head + text.slice(at + 1), head + here + text.slice(at)]) {
        if (typo !== text && parseToken(typo) !== undefined) accepted.push(typo);
      }
    }
    expect(accepted).toEqual([]);
  });

  test("space around it, and a secret of more than 256 bits, are no token", () => {
    for (const text of ["", ` ${token.token}`, `${token.token}\n`, token.token.toLowerCase()]) {
      expect(parseToken(text)).toBeUndefined();
    }
    // A right check over a number that 32 bytes cannot hold.
    const body = `${token.id}_${"z".repeat(43)}`;
    let rest = Bun.hash.crc32(body);
    let check = "";
    for (; check.length < 6; rest = Math.floor(rest / 62)) check = `${ALPHABET[rest % 62]}${check}`;
    expect(parseToken(`prly_${body}${check}`)).toBeUndefined();
  });
});

describe("proof", () => {
  const vectors = token_proofs.map((vector) => ({
    label: vector.label,
    bound: vector.binding_hex === "" ? "plain TCP" : "TLS",
    secret: fromHex(vector.secret_hex),
    key: fromHex(vector.stored_key_hex),
    nonce: fromHex(vector.nonce_hex),
    binding: fromHex(vector.binding_hex),
    proof: vector.proof_base64,
  }));

  test.each(vectors)("of the vector ($label, $bound)", ({ secret, key, label, nonce, binding, proof }) => {
    expect(tokenKey(secret).toHex()).toBe(key.toHex());
    expect(proveToken(secret, label, nonce, binding).toString("base64")).toBe(proof);
    expect(verifyProof(key, Buffer.from(proof, "base64"), label, nonce, binding)).toBe(true);
  });

  test("has a label of its own under each binding", () => {
    const labels = [TOKEN_LABEL, RESUME_LABEL].flatMap((label) =>
      BINDING_NAMES.map((name) => boundLabel(label, name)),
    );
    expect(labels).toEqual([
      "parley/1 token",
      "parley/1 token end-point",
      "parley/1 resume",
      "parley/1 resume end-point",
    ]);
    expect(new Set(vectors.map(({ label }) => label))).toEqual(new Set(labels));
  });

  test("holds for its own key, label, nonce and binding alone", () => {
    for (const a of vectors) {
      const proof = Buffer.from(a.proof, "base64");
      for (const b of vectors) {
        expect(verifyProof(a.key, proof, b.label, a.nonce, b.binding)).toBe(a === b);
      }
      const otherNonce = a.nonce.with(23, a.nonce[23]! ^ 1);
      expect(verifyProof(a.key, proof, a.label, otherNonce, a.binding)).toBe(false);
      const otherKey = a.key.with(0, a.key[0]! ^ 0x80);
      expect(verifyProof(otherKey, proof, a.label, a.nonce, a.binding)).toBe(false);
      for (let bit = 0; bit < 256; bit++) {
        const changed = Uint8Array.from(proof).with(bit >> 3, proof[bit >> 3]! ^ (1 << (bit & 7)));
        expect(verifyProof(a.key, changed, a.label, a.nonce, a.binding)).toBe(false);
      }
    }
  });

  test("cannot be made from the stored key, used as the secret, under its own mask, or as the proof", () => {
    for (const { secret, key, label, nonce, binding, proof } of vectors) {
      // Whoever has the key can compute the mask, and put anything under it but the secret.
      const right = Buffer.from(proof, "base64");
      const underMask = key.map((byte, at) => byte ^ secret[at]! ^ right[at]!);
      expect(verifyProof(key, underMask, label, nonce, binding)).toBe(false);
      expect(verifyProof(key, proveToken(key, label, nonce, binding), label, nonce, binding)).toBe(false);
      expect(verifyProof(key, key, label, nonce, binding)).toBe(false);
      expect(verifyProof(key, new Uint8Array(32), label, nonce, binding)).toBe(false);
    }
  });

  test("of another length is wrong, and so is a key", () => {
    const { key, label, nonce, binding, ...vector } = vectors[0]!;
    const proof = Buffer.from(vector.proof, "base64");
    for (const length of [0, 31, 33]) {
      const resized = Buffer.concat([proof, Buffer.alloc(1)]).subarray(0, length);
      expect(verifyProof(key, resized, label, nonce, binding)).toBe(false);
      expect(verifyProof(new Uint8Array(length), proof, label, nonce, binding)).toBe(false);
    }
  });
});
