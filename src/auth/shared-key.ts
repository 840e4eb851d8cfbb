// The shared key. Only a peer with the key can answer a random challenge, by a keyed hash.
//
//     challenge  M = {sha256} ‖ label ‖ 40 random bytes       label: the side that challenges, parley-s or parley-c
//     response   {d} ‖ HMAC-d(key, M), d chosen by the side that answers
//
// Wire-compatible with CPython's multiprocessing.connection: 3.12 and later challenge with {sha256} ‖ 40 bytes and no
// label; 3.11 and older with 20 bytes and no prefix, and they answer with HMAC-MD5, which is refused unless allowed.

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Bindings } from "../base/bindings.ts";
import { ParleyError } from "../base/errors.ts";
import { plural } from "../base/plural.ts";

/** `bad_challenge`: a challenge that must not be answered. `bad_response`: the peer does not have the same key. */
export class KeyError extends ParleyError<"bad_challenge" | "bad_response"> {
  override name = "KeyError";
}

/** The side of the connection. */
export type KeySide = "server" | "client";

/** Shortest key, in bytes: 128 bits. `--key-file` makes 32. */
export const MIN_KEY_BYTES = 16;
export const KEY_BYTES = 32;

/** Digests of a response, and the bytes of each. */
const DIGESTS: ReadonlyMap<string, number> = new Map([
  ["sha256", 32],
  ["sha384", 48],
  ["sha3_256", 32],
  ["sha3_384", 48],
]);
const MD5_BYTES = 16;
const LABELS: Record<KeySide, string> = { server: "parley-s", client: "parley-c" };
/** The same number as in CPython. */
const RANDOM_BYTES = 40;
/** A challenge of CPython 3.11 and older is this long and has no prefix; no challenge is shorter. */
const MIN_CHALLENGE_BYTES = 20;

export interface SharedKeyOptions {
  /** Allow HMAC-MD5 in both directions, for CPython 3.11 and older. */
  allowMd5?: boolean;
}

/** One key, and the open challenges that this process has sent with it. */
export class SharedKey {
  readonly allowMd5: boolean;
  readonly #key: Uint8Array;
  readonly #outstanding = new Set<string>();

  /** @throws {RangeError} when `key` is too short, or has the same HMAC as a shorter key. */
  constructor(key: Uint8Array, options: SharedKeyOptions = {}) {
    const flaw = keyFlaw(key);
    if (flaw !== undefined) throw new RangeError(flaw);
    this.#key = key;
    this.allowMd5 = options.allowMd5 ?? false;
  }

  /**
   * The key for one connection. Over TLS there is one for each of its bindings: a machine in the middle has another channel and
   * another certificate on each side, and so different keys.
   */
  on(bindings: Bindings): ConnectionKey {
    const bound = [...bindings].map(([name, value]) =>
      hmac("sha256", this.#key, [Buffer.from(`parley ${name} v1`), value]),
    );
    return new ConnectionKey(bound.length === 0 ? [this.#key] : bound, this.allowMd5, this.#outstanding);
  }
}

export class ConnectionKey {
  readonly #keys: readonly Uint8Array[];
  readonly #allowMd5: boolean;
  readonly #outstanding: Set<string>;
  /** The key that the peer has used; the first one until then. */
  #key: Uint8Array;

  /** @param keys the peer may use any of them, and gets its answer under the same one. */
  constructor(keys: readonly Uint8Array[], allowMd5: boolean, outstanding: Set<string>) {
    const [first] = keys;
    if (first === undefined) throw new RangeError("a connection needs a key");
    this.#keys = keys;
    this.#key = first;
    this.#allowMd5 = allowMd5;
    this.#outstanding = outstanding;
  }

  /** A challenge for the peer; pass it to {@link settle} when the exchange ends, also after a failure. */
  challenge(side: KeySide, random: Uint8Array = randomBytes(RANDOM_BYTES)): Buffer {
    const message = Buffer.concat([Buffer.from(`{sha256}${LABELS[side]}`), random]);
    this.#outstanding.add(message.toString("latin1"));
    return message;
  }

  settle(challenge: Buffer): void {
    this.#outstanding.delete(challenge.toString("latin1"));
  }

  /**
   * The response to a peer's challenge.
   *
   * @param side the side that answers.
   * @throws {KeyError} `bad_challenge` for a challenge that no honest peer sends: one of ours (reflection), one with an unknown
   *   digest, or with MD5 when that is not allowed.
   */
  respond(side: KeySide, challenge: Buffer): Buffer {
    if (challenge.length < MIN_CHALLENGE_BYTES) {
      throw badChallenge(
        `the challenge has ${plural(challenge.length, "byte")}, fewer than ${MIN_CHALLENGE_BYTES}`,
      );
    }
    if (this.#outstanding.has(challenge.toString("latin1"))) {
      throw badChallenge("the peer sent our own challenge back: it does not have the key");
    }
    const digest = prefixOf(challenge, false);
    if (digest === undefined && challenge.length === MIN_CHALLENGE_BYTES) {
      if (this.#allowMd5) return hmac("md5", this.#key, [challenge]);
      throw badChallenge("the peer speaks HMAC-MD5 (Python 3.11 or older): see --allow-md5");
    }
    if (digest === undefined) throw badChallenge("the challenge names an unknown digest");
    if (
      challenge
        .subarray(digest.length + 2)
        .toString("latin1")
        .startsWith(LABELS[side])
    ) {
      throw badChallenge(`the peer claims to be a ${side}, as we are: it sent our own challenge back`);
    }
    return Buffer.concat([Buffer.from(`{${digest}}`), hmac(digest, this.#key, [challenge])]);
  }

  /**
   * Checks the response to `challenge`, in constant time: it does not depend on the key that is the right one.
   *
   * @throws {KeyError} `bad_response`; its message names the likely cause.
   */
  verify(challenge: Buffer, response: Buffer): void {
    if (response[0] === JSON_OBJECT && response.includes('"type"')) {
      throw badResponse("the peer has no key: it did not answer the challenge");
    }
    const digest = prefixOf(response);
    const mac = digest === undefined ? response : response.subarray(digest.length + 2);
    if ((digest ?? "md5") === "md5" && mac.length === MD5_BYTES) {
      const isRight = this.#isRight("md5", challenge, mac);
      if (isRight && this.#allowMd5) return;
      throw badResponse(
        isRight
          ? "right key, but the peer speaks HMAC-MD5 (Python 3.11 or older): see --allow-md5"
          : "the peer has a different key",
      );
    }
    // Red Hat's older Pythons answer with a bare HMAC-SHA256, without a name.
    if (mac.length !== DIGESTS.get(digest ?? "sha256")) {
      throw badResponse("the peer did not answer the challenge");
    }
    if (this.#isRight(digest ?? "sha256", challenge, mac)) return;
    throw badResponse("the peer has a different key");
  }

  #isRight(digest: string, challenge: Buffer, mac: Buffer): boolean {
    const [right] = this.#keys.filter((key) => timingSafeEqual(mac, hmac(digest, key, [challenge])));
    this.#key = right ?? this.#key;
    return right !== undefined;
  }
}

/** The flaw of a key; undefined for a valid key. */
export function keyFlaw(key: Uint8Array): string | undefined {
  if (key.length < MIN_KEY_BYTES)
    return `the key has ${plural(key.length, "byte")} and needs at least ${MIN_KEY_BYTES}`;
  // HMAC pads with zeros, so that the key without its last zero has the same HMAC.
  return key.at(-1) === 0 ? "the key must not end in a zero byte" : undefined;
}

/** A new key. */
export function generateKey(): Buffer {
  for (;;) {
    const key = randomBytes(KEY_BYTES);
    if (keyFlaw(key) === undefined) return key;
  }
}

const JSON_OBJECT = 0x7b;

/** The digest named in a challenge or response; undefined for an unknown one. */
function prefixOf(message: Buffer, orMd5 = true): string | undefined {
  const name = /^\{(\w{1,20})\}/.exec(message.subarray(0, 22).toString("latin1"))?.[1];
  return name !== undefined && (DIGESTS.has(name) || (orMd5 && name === "md5")) ? name : undefined;
}

function hmac(digest: string, key: Uint8Array, parts: readonly Uint8Array[]): Buffer {
  const mac = createHmac(digest.replace("_", "-"), key);
  for (const part of parts) mac.update(part);
  return mac.digest();
}

function badChallenge(message: string): KeyError {
  return new KeyError("bad_challenge", message);
}

function badResponse(message: string): KeyError {
  return new KeyError("bad_response", message, { peerMessage: "the keys differ" });
}
