// Parses stored password hashes: PHC strings of argon2id, version 19.
//
//     $argon2id$v=19$m=65536,t=2,p=1$<salt>$<tag>        base64 without padding
//
// The flaw of any other text is a clause for logs and terminals, without salt, tag or plain text.

import { MAX_HASH_LANES, MAX_HASH_MEMORY_KIB, MAX_HASH_TIME } from "../base/limits.ts";

/** The cost of making a hash, and of verifying a password against it. */
export interface HashCost {
  /** argon2id memory, in KiB. */
  memoryKib: number;
  /** argon2id passes. */
  time: number;
  /** argon2id lanes. */
  lanes: number;
}

export interface PhcHash {
  cost: HashCost;
  /** The salt, in base64. */
  salt: string;
  /** The digest of password and salt, in base64. */
  tag: string;
}

/** The least memory for each lane: RFC 9106 §3.1. */
const MIN_LANE_MEMORY_KIB = 8;
/** The least salt, as in the reference implementation; `argon2 somesalt` in its manual has 8. */
const MIN_SALT_BYTES = 8;
/** The least digest: 128 bits, RFC 9106 §4. */
const MIN_TAG_BYTES = 16;

const ARGON2ID =
  /^\$argon2id(?:\$v=(\d{1,2}))?\$m=(0|[1-9]\d*),t=(0|[1-9]\d*),p=(0|[1-9]\d*)\$([^$]*)\$([^$]*)$/;
/** Without padding, and without unused bits. */
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048])?$/;

/** Other algorithms, by the text between the first two `$`: crypt(5), PHC strings. */
const OTHERS: ReadonlyMap<string, string> = new Map([
  ["1", "MD5-crypt"],
  ["apr1", "MD5-crypt"],
  ["2a", "bcrypt"],
  ["2b", "bcrypt"],
  ["2x", "bcrypt"],
  ["2y", "bcrypt"],
  ["5", "SHA-256-crypt"],
  ["6", "SHA-512-crypt"],
  ["7", "scrypt"],
  ["scrypt", "scrypt"],
  ["y", "yescrypt"],
  ["gy", "yescrypt"],
  ["argon2i", "argon2i"],
  ["argon2d", "argon2d"],
  ["pbkdf2", "PBKDF2"],
  ["pbkdf2-sha256", "PBKDF2"],
  ["pbkdf2-sha512", "PBKDF2"],
]);

/** The parts of a hash, or the reason why it cannot be verified, as a clause. */
export function readPhc(text: string): PhcHash | string {
  const match = ARGON2ID.exec(text);
  if (match === null) return whatElse(text);
  const [, version = "16", memory, time, lanes, salt = "", tag = ""] = match;
  if (version !== "19") return `it has argon2 version ${version}, parley supports only version 19`;
  const cost = { memoryKib: Number(memory), time: Number(time), lanes: Number(lanes) };
  const flaw =
    costFlaw(cost) ?? partFlaw("salt", salt, MIN_SALT_BYTES) ?? partFlaw("tag", tag, MIN_TAG_BYTES);
  return flaw ?? { cost, salt, tag };
}

function whatElse(text: string): string {
  if (text === "") return "it is empty";
  if (text.startsWith("$argon2id$")) return "it does not have the form $argon2id$v=19$m=…,t=…,p=…$salt$tag";
  const id = /^\$([\w-]{1,20})\$/.exec(text)?.[1] ?? "";
  const name = OTHERS.get(id);
  if (name === undefined) return "it is not an argon2id hash";
  return `it is ${name} ($${id}$), parley supports only argon2id`;
}

function costFlaw({ memoryKib, time, lanes }: HashCost): string | undefined {
  if (memoryKib > MAX_HASH_MEMORY_KIB) return `it needs more than ${MAX_HASH_MEMORY_KIB} KiB of memory`;
  if (time > MAX_HASH_TIME) return `it needs more than ${MAX_HASH_TIME} passes`;
  if (lanes > MAX_HASH_LANES) return `it needs more than ${MAX_HASH_LANES} lanes`;
  if (time < 1) return "it has 0 passes";
  if (lanes < 1) return "it has 0 lanes";
  const least = lanes * MIN_LANE_MEMORY_KIB;
  return memoryKib < least
    ? `it has ${memoryKib} KiB of memory and needs at least ${least} for its lanes`
    : undefined;
}

function partFlaw(name: string, base64: string, least: number): string | undefined {
  if (!BASE64.test(base64)) return `its ${name} is not base64 without padding`;
  const bytes = Math.floor((base64.length * 3) / 4);
  return bytes < least ? `its ${name} has ${bytes} bytes and needs at least ${least}` : undefined;
}
