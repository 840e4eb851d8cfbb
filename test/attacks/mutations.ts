// Conversations as frames, and every way to spoil them: what a client says, mutated by a seeded generator.

import { frame } from "../support/peer.ts";

/** In every password that is ever sent, so that a log can be searched for it. */
export const SECRET = "sesame";

/** mulberry32: small, fast, and the same on every machine. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 to 1, exclusive. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  }

  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError("nothing to pick from");
    return item;
  }

  bytes(count: number): Buffer {
    return Buffer.from(Array.from({ length: count }, () => this.below(256)));
  }
}

const login = (rest: object) => frame(JSON.stringify({ type: "login", ...rest }));
const TALK = [frame("one"), frame(""), frame('{"type":"ping","n":1}', true), frame("two".repeat(50))];
const END = frame('{"type":"end"}', true);
const PROOF = Buffer.alloc(32, 7).toString("base64");

/** What a good client might say to any server; some of it is refused by some. `password` is ann's. */
export function transcripts(password: string): Buffer[][] {
  const ann = { method: "password", user: "ann", password };
  const guess = login({ ...ann, password: `${SECRET} is wrong` });
  return [
    [login({ ...ann, control: true }), ...TALK, END],
    [login({ ...ann, token: false }), frame("one"), frame("two")],
    [guess, guess, login({ ...ann, control: true }), ...TALK, END],
    [guess, guess, guess, guess],
    [login({ method: "register", user: "Zoë", password: `${SECRET} zo\u00eb`, control: true }), ...TALK, END],
    [login({ method: "register", user: "ann", password: `${SECRET} mine` }), guess],
    [login({ method: "token", id: "0aZ09xYz", proof: PROOF, control: true }), ...TALK],
    [login({ method: "token", id: "0aZ09xYz", proof: PROOF, logout: true }), guess],
    [login({ method: "ip", control: true }), ...TALK, END],
    [login({ method: "name", user: "Ann", control: true }), ...TALK, END],
    [login({ method: "none", control: true }), ...TALK, END],
    [login({ method: "none" }), frame("one"), frame("two")],
  ];
}

const deep = (depth: number, close: boolean) => "[".repeat(depth) + (close ? "]".repeat(depth) : "");
const escapeFrame = (length: bigint, payload: string) => {
  const header = Buffer.alloc(12, 0xff);
  header.writeBigUInt64BE(length, 4);
  return Buffer.concat([header, Buffer.from(payload)]);
};
const NONE = '{"type":"login","method":"none"}';

/** Frames that nobody good ever sends. */
const HOSTILE: readonly Buffer[] = [
  frame(Buffer.from("80049520000000000000007d94", "hex")), // a pickle
  frame(Buffer.from("fffe00d8c0af", "hex")),
  frame(Buffer.from('{"type":"login","method":"name","user":"\xff"}', "latin1")),
  frame(`{"type":"login","method":"password","user":"\\ud800","password":"${SECRET}\\udfff"}`),
  frame(`{"type":"login","method":"register","user":"caf\u00e9","password":"${SECRET} caf\u00e9"}`),
  frame(`{"type":"login","method":"password","user":"cafe\u0301","password":"${SECRET} cafe\u0301"}`),
  frame(`{"type":"login","method":"password","user":"${"\ufdfa".repeat(1200)}","password":"${SECRET}"}`),
  frame(`{"type":"login","method":"register","user":"a\\nb","password":"${SECRET}\\u0000\\u0000"}`),
  frame(`{"type":"login","method":"password","user":"__proto__","password":"${SECRET}"}`),
  frame('{"type":"login","method":"token","id":"constructor","proof":"AAAA"}'),
  frame('{"type":"login","method":"name","user":"__proto__"}'),
  frame(`{"__proto__":${NONE},"constructor":{"prototype":${NONE}}}`),
  frame('{"type":"login","type":"hello","method":"none","method":"__proto__"}'),
  frame('{"type":"login","method":"token","id":1e999,"proof":{"length":32}}'),
  frame(deep(2000, true)),
  frame(deep(4000, false)),
  frame(`{"type":"login","method":"none","x":${deep(1900, true)}}`),
  frame(deep(200_000, false)),
  frame(deep(100_000, true)),
  frame(deep(65_000, false), true),
  frame(`{"type":"ping","n":1,"x":${deep(30_000, true)}}`, true),
  frame("\ufeff" + NONE),
  frame("\0".repeat(4096)),
  ...["null", "[]", "0", '""', "{}", "", " ", '{"type":null}', '{"type":"login"'].flatMap((text) => [
    frame(text),
    frame(text, true),
  ]),
  ...["-1", "1.5", "1e400", "9007199254740992", '"1"', "null"].map((n) =>
    frame(`{"type":"ping","n":${n}}`, true),
  ),
  frame('{"type":"bye","code":"done","message":"x","status":0}', true),
  frame('{"type":"__proto__"}', true),
  frame("x".repeat(65_535), true),
  frame(Buffer.alloc(1024 * 1024)),
  frame(Buffer.alloc(1024 * 1024 + 1)),
  escapeFrame(BigInt(NONE.length), NONE),
  escapeFrame(0n, ""),
  escapeFrame(2n ** 31n, NONE),
  escapeFrame(2n ** 53n + 1n, NONE),
  escapeFrame(2n ** 64n - 1n, NONE),
];

const LIES = [
  0, 1, 255, 4095, 4096, 4097, 0x0010_0000, 0x0010_0001, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0x8000_ffff,
  0x8001_0000, 0xc000_0000, 0xffff_0000, 0xffff_fffe, 0xffff_ffff,
];

type Mutation = (frames: Buffer[], at: number, random: Random) => void;

const MUTATIONS: readonly Mutation[] = [
  function flip(frames, at, random) {
    const bytes = Buffer.from(frames[at]!);
    for (let count = 1 + random.below(8); count > 0; count--) {
      const byte = random.below(random.chance(0.3) ? Math.min(4, bytes.length) : bytes.length);
      bytes[byte]! ^= 1 << random.below(8);
    }
    frames[at] = bytes;
  },
  (frames, at) => frames.splice(at, 0, frames[at]!),
  function swap(frames, at, random) {
    const other = random.below(frames.length);
    [frames[at], frames[other]] = [frames[other]!, frames[at]!];
  },
  (frames, at) => frames.splice(at, 1),
  (frames, at, random) => (frames[at] = frames[at]!.subarray(0, random.below(frames[at]!.length))),
  function lie(frames, at, random) {
    const bytes = Buffer.from(frames[at]!);
    if (bytes.length < 4) return;
    bytes.writeUInt32BE(
      random.chance(0.3) ? Math.max(0, bytes.length - 5 + random.below(3)) : random.pick(LIES),
    );
    frames[at] = bytes;
  },
  (frames, at, random) => frames.splice(at, 0, random.pick(HOSTILE)),
  (frames, at, random) => frames.splice(at, 1, random.pick(HOSTILE)),
  (frames, at, random) => frames.splice(at, 0, random.bytes(random.below(40))),
  function control(frames, at) {
    const bytes = Buffer.from(frames[at]!);
    if (bytes.length >= 4) bytes[0]! ^= 0x80;
    frames[at] = bytes;
  },
];

/** A spoiled copy of `frames`, as the bytes of the stream. */
export function spoil(frames: readonly Buffer[], random: Random): Buffer {
  const spoiled = [...frames];
  for (let count = random.below(5); count > 0 && spoiled.length > 0; count--) {
    const at = random.below(spoiled.length);
    if (spoiled[at]!.length > 0) random.pick(MUTATIONS)(spoiled, at, random);
  }
  return Buffer.concat(spoiled);
}

/** `bytes` in up to four pieces. */
export function cut(bytes: Buffer, random: Random): Buffer[] {
  const cuts = Array.from({ length: random.below(4) }, () => random.below(bytes.length + 1)).sort(
    (a, b) => a - b,
  );
  return [0, ...cuts].map((from, index) => bytes.subarray(from, cuts[index]));
}
