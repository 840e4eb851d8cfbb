// The form of the cases in *.json, and their bytes. README.md explains both for authors of cases and of adapters.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** What a client is able to do; README.md says what belongs to each. */
export const PARTS = [
  "login",
  "password",
  "register",
  "token",
  "key",
  "tls",
  "control",
  "resume",
  "bare",
] as const;
export type Part = (typeof PARTS)[number];

export interface Case {
  name: string;
  /** The rule that the case checks, as a sentence. */
  rule: string;
  /** The parts that a client needs for this case. */
  parts: Part[];
  /** True: the server speaks TLS, with the certificate of tls/. */
  tls?: boolean;
  /** The settings of the client's `connect`. */
  connect: Record<string, unknown>;
  steps: Step[];
}

export interface Step {
  /** A command for the adapter, with its further members beside it. */
  do?: string;
  /** The next event of the adapter; one of several. */
  report?: Json | Json[];
  /** The server waits for a connection. */
  accept?: true;
  /** accept, `hello`, a login, and a `welcome` with these members. */
  begin?: Json;
  /** The server sends this in one write. */
  send?: Item | Item[];
  /** The client sends this next. */
  expect?: Item | Item[];
  /** The client acknowledges exactly so many messages. */
  acked?: number;
  /** The server ends its side, or resets the connection. */
  close?: "fin" | "reset";
  /** The client ends its side. */
  left?: true;
  /** What the client sends over this connection does not matter from here on. */
  ignore?: true;
  /** The conversation ends well, with and without control frames. */
  finish?: true;
  /** Steps that are taken if the client sends something else than the end of its side. */
  maybe?: Step[];
  /** How often the step is taken, with `$i` as 1, 2, 3 … */
  times?: number;
  [member: string]: unknown;
}

export type Json = Record<string, unknown>;

/** A frame, or bytes that are none. */
export interface Item {
  text?: string;
  hex?: string;
  json?: Json;
  /** A `hello` or a `welcome` with these members, beside the usual ones. */
  hello?: Json;
  welcome?: Json;
  control?: Json;
  raw?: string;
  login?: Json;
  challenge?: Item | true;
  response?: "right" | "wrong";
  /** The text is repeated up to so many bytes. */
  size?: number;
  times?: number;
  /** True: the client may leave the frame out. */
  optional?: true;
}

/** The secrets of all cases. */
export const SECRETS = {
  /** The shared key, as in the member `key` of `connect`. */
  key: Buffer.from("parley-test-key-0123456789abcdef"),
  /** The secret of the token prly_Ab3dE6gH_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf4diXcE. */
  token: Buffer.from("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "hex"),
  /** The `resume_key` of `begin`. */
  resume: Buffer.from("202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f", "hex"),
};

/** The usual members of `hello`. */
export const HELLO = {
  type: "hello",
  protocol: "parley/1",
  service: "test",
  auth: ["none"],
  nonce: Buffer.from("6465666768696a6b6c6d6e6f707172737475767778797a7b", "hex").toString("base64"),
  max_frame: 1048576,
};

/** The usual members of `welcome`. */
const WELCOME = { type: "welcome", user: null, known: true };

/** What `"session":true` in a `welcome` stands for. */
const SESSION = {
  control: true,
  keepalive: 60,
  session: "s-1",
  resume_key: SECRETS.resume.toString("base64"),
  resume_for: 120,
};

/** All cases, by file. */
export function readCases(folder: string): Map<string, Case[]> {
  const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
  return new Map(
    names.toSorted().map((name) => {
      const cases = JSON.parse(readFileSync(join(folder, name), "utf8")) as Case[];
      return [name.slice(0, -".json".length), cases];
    }),
  );
}

/** A value with `$i` as a number. */
export function numbered<T>(value: T, index: number): T {
  if (typeof value === "string") return value.replaceAll("$i", String(index)) as T;
  if (Array.isArray(value)) return value.map((one: unknown) => numbered(one, index)) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, numbered(one, index)])) as T;
}

/** The items of a step, each as often as it is wanted. */
export function itemsOf(items: Item | Item[]): Item[] {
  return [items].flat().flatMap(({ times = 1, ...item }) => {
    return Array.from({ length: times }, (_, index) => numbered(item, index + 1));
  });
}

/** The message of an item; undefined when it has none. */
export function messageOf({ json, hello, welcome }: Item): Json | undefined {
  if (hello !== undefined) return { ...HELLO, ...hello };
  if (welcome === undefined) return json;
  return { ...WELCOME, ...welcome, ...(welcome["session"] === true ? SESSION : {}) };
}

/** A command or an event of a case, with the text in its size. */
export function sized({ size, ...members }: Json): Json {
  if (size === undefined) return members;
  return { ...members, text: Buffer.alloc(Number(size), String(members["text"])).toString() };
}

/** The payload of an item that is no login and no part of the key exchange. */
export function payloadOf(item: Item): Buffer {
  const { text, hex, size } = item;
  const message = messageOf(item);
  if (message !== undefined) return Buffer.from(JSON.stringify(message));
  const bytes = Buffer.concat([Buffer.from(text ?? ""), Buffer.from(hex ?? "", "hex")]);
  return size === undefined ? bytes : Buffer.alloc(size, bytes);
}

export function frame(payload: Uint8Array): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(payload.length);
  return Buffer.concat([header, payload]);
}

export function controlFrame(message: Json): Buffer {
  const payload = Buffer.from(JSON.stringify(message));
  const bytes = frame(payload);
  bytes[0] = 0x80;
  return bytes;
}

/** What a connection is bound to. */
export interface Channel {
  /** Undefined on plain TCP. */
  exporter: Buffer | undefined;
  endPoint: Buffer | undefined;
}

const LABEL_OF = { "tls-exporter": "", "tls-server-end-point": " end-point" } as const;
export type Binding = keyof typeof LABEL_OF;

/** The proof that a login with this binding needs, in base64; undefined for a binding that there is not. */
export function proofOf(
  purpose: "token" | "resume",
  nonce: Buffer,
  { exporter, endPoint }: Channel,
  binding: Binding = "tls-exporter",
): string | undefined {
  if (LABEL_OF[binding] === undefined || (exporter === undefined && binding !== "tls-exporter"))
    return undefined;
  const secret = SECRETS[purpose];
  const bound = binding === "tls-exporter" ? exporter : endPoint;
  const label = `parley/1 ${purpose}${LABEL_OF[binding]}`;
  const mask = createHmac("sha256", createHash("sha256").update(secret).digest());
  mask
    .update(label)
    .update(nonce)
    .update(bound ?? "");
  const bytes = mask.digest();
  return Buffer.from(secret.map((byte, index) => byte ^ bytes[index]!)).toString("base64");
}

/** The keys that a client may use over a channel. */
export function keysOf({ exporter, endPoint }: Channel): Buffer[] {
  if (exporter === undefined || endPoint === undefined) return [SECRETS.key];
  return [
    createHmac("sha256", SECRETS.key).update("parley tls-exporter v1").update(exporter).digest(),
    createHmac("sha256", SECRETS.key).update("parley tls-server-end-point v1").update(endPoint).digest(),
  ];
}

const DIGESTS = ["sha256", "sha384", "sha3_256", "sha3_384"];

/** Is `response` the answer to `challenge` under `key`? */
export function isResponse(response: Buffer, challenge: Buffer, key: Buffer): boolean {
  const name = /^\{(\w+)\}/.exec(response.subarray(0, 12).toString("latin1"))?.[1];
  if (name === undefined || !DIGESTS.includes(name)) return false;
  const right = respond(challenge, key, name);
  return right.length === response.length && timingSafeEqual(right, response);
}

export function respond(challenge: Buffer, key: Buffer, name = "sha256"): Buffer {
  const mac = createHmac(name.replace("_", "-"), key).update(challenge).digest();
  return Buffer.concat([Buffer.from(`{${name}}`), mac]);
}

/** Why `actual` does not have the members of `expected`; undefined where it has. Other members are ignored. */
export function difference(expected: unknown, actual: unknown, at = ""): string | undefined {
  if (expected === "$text")
    return typeof actual === "string" && actual !== "" ? undefined : `${at} is no text`;
  if (Array.isArray(expected) || typeof expected !== "object" || expected === null) {
    const [wanted, found] = [JSON.stringify(expected), JSON.stringify(actual)];
    return wanted === found ? undefined : `${at} is ${found ?? "missing"}, and not ${wanted}`;
  }
  if (typeof actual !== "object" || actual === null) return `${at} is no object`;
  for (const [name, value] of Object.entries(expected)) {
    // A member with a question mark may be missing.
    const key = name.replace(/\?$/, "");
    const found = (actual as Json)[key];
    if (key !== name && found === undefined) continue;
    const flaw = difference(value, found, at === "" ? key : `${at}.${key}`);
    if (flaw !== undefined) return flaw;
  }
  return undefined;
}
