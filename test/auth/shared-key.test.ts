// The shared key: published vectors, every challenge that is not to be answered, every response that is not to be
// believed.

import { createHmac } from "node:crypto";
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ConnectionKey, keyFlaw, KeyError, generateKey, SharedKey } from "../../src/auth/shared-key.ts";
import type { Bindings } from "../../src/base/bindings.ts";
import { plural } from "../../src/base/plural.ts";
import {
  end_point_bound_key,
  hmac as macs,
  key_hex,
  parley_random_hex,
  server_response_cases,
  tls_bound_key,
  transcripts,
} from "../vectors/wire.json";

const fromHex = (hex: string): Buffer => Buffer.from(hex, "hex");
const KEY = fromHex(key_hex);
const RANDOM = fromHex(parley_random_hex);
const PLAIN: Bindings = new Map();
const exporter = (value: Uint8Array): Bindings => new Map([["tls-exporter", value]]);
const keyOf = (bytes: Uint8Array, allowMd5 = false): ConnectionKey =>
  new SharedKey(bytes, { allowMd5 }).on(PLAIN);

/** The code and words of what `work` throws; null when it does not. */
function refusal(work: () => void): [string, string] | null {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof KeyError) return [error.code, error.message];
    throw error;
  }
}

describe("vectors", () => {
  // As used on a connection: one that is bound to TLS may be any bytes.
  test.each(macs)("the HMAC-$digest by key $key_hex is verified, and given", (vector) => {
    const { digest, key_hex: hex, message_hex, mac_hex } = vector;
    const key = new ConnectionKey([fromHex(hex)], true, new Set());
    const isMd5 = digest === "md5";
    const response = Buffer.concat([Buffer.from(isMd5 ? "" : `{${digest}}`), fromHex(mac_hex)]);
    const message = fromHex(message_hex);
    expect(refusal(() => key.verify(message, response))).toBeNull();
    if (digest === "sha256") expect(key.respond("client", message)).toEqual(response);
  });

  const check = (vector: (typeof server_response_cases)[number]) => {
    const { challenge_message_hex, response_hex, md5, expect: wanted } = vector;
    const verify = () => keyOf(KEY, md5).verify(fromHex(challenge_message_hex), fromHex(response_hex));
    expect(refusal(verify)?.[0] ?? "WELCOME").toBe(wanted === "WELCOME" ? wanted : "bad_response");
  };
  test.each(server_response_cases)("$response_hex with MD5 $md5: $expect", check);

  test("the key bound to a TLS channel is that of the vector, and is no other's", () => {
    const { key_hex: hex, exporter_hex, bound_key_hex } = tls_bound_key;
    const bound = new SharedKey(fromHex(hex)).on(exporter(fromHex(exporter_hex)));
    const plain = keyOf(fromHex(bound_key_hex));
    const challenge = bound.challenge("server", RANDOM);
    expect(bound.respond("server", keyOf(KEY).challenge("client", RANDOM)).toString("hex")).toBe(
      plain.respond("server", keyOf(KEY).challenge("client", RANDOM)).toString("hex"),
    );
    expect(refusal(() => bound.verify(challenge, plain.respond("client", challenge)))).toBeNull();
    expect(refusal(() => bound.verify(challenge, keyOf(KEY).respond("client", challenge)))).not.toBeNull();
    const other = new SharedKey(KEY).on(exporter(Buffer.alloc(32, 1)));
    expect(refusal(() => bound.verify(challenge, other.respond("client", challenge)))).not.toBeNull();
  });
});

describe("on a server that accepts both bindings", () => {
  const exported = fromHex(tls_bound_key.exporter_hex);
  const endPoint = fromHex(end_point_bound_key.end_point_hex);
  const both: Bindings = new Map([
    ["tls-exporter", exported],
    ["tls-server-end-point", endPoint],
  ]);
  const clients = {
    "tls-exporter": fromHex(tls_bound_key.bound_key_hex),
    "tls-server-end-point": fromHex(end_point_bound_key.bound_key_hex),
  };
  const boundTo = (name: keyof typeof clients, value: Uint8Array) =>
    new SharedKey(KEY).on(new Map([[name, value]]));
  const names = Object.keys(clients) as (keyof typeof clients)[];

  test.each(names)("the key of the vector for %s is taken, and the answer is under it", (name) => {
    for (const respondsWith of ["{sha256}", "{sha384}", "{sha3_256}", "", "md5"]) {
      const server = new SharedKey(KEY, { allowMd5: true }).on(both);
      const client = keyOf(clients[name]);
      const challenge = server.challenge("server", RANDOM);
      const digest = respondsWith.replaceAll(/[{}]/g, "") || "sha256";
      const mac = createHmac(digest.replace("_", "-"), clients[name]).update(challenge).digest();
      const response = Buffer.concat([Buffer.from(digest === "md5" ? "" : respondsWith), mac]);
      expect(refusal(() => server.verify(challenge, response))).toBeNull();
      const question = client.challenge("client", RANDOM);
      expect(refusal(() => client.verify(question, server.respond("server", question)))).toBeNull();
    }
  });

  test.each(names)("the key for %s is refused where the other one alone is accepted", (name) => {
    const server = new SharedKey(KEY).on(new Map([...both].filter(([other]) => other !== name)));
    const challenge = server.challenge("server", RANDOM);
    const outcome = refusal(() =>
      server.verify(challenge, keyOf(clients[name]).respond("client", challenge)),
    );
    expect(outcome).toEqual(["bad_response", "the peer has a different key"]);
  });

  test("the value of one binding under the label of the other is refused, and so is the bare key", () => {
    const server = new SharedKey(KEY).on(both);
    const wrong = [
      keyOf(KEY),
      boundTo("tls-exporter", endPoint),
      boundTo("tls-server-end-point", exported),
      ...names.map((name) => boundTo(name, Buffer.alloc(32, 9))),
    ];
    const challenge = server.challenge("server", RANDOM);
    for (const key of wrong) {
      const outcome = refusal(() => server.verify(challenge, key.respond("client", challenge)));
      expect(outcome?.[0]).toBe("bad_response");
    }
  });

  test("HMAC-MD5 by either key gets the hint at --allow-md5", () => {
    for (const bytes of Object.values(clients)) {
      const server = new SharedKey(KEY).on(both);
      const challenge = server.challenge("server", RANDOM);
      const mac = createHmac("md5", bytes).update(challenge).digest();
      expect(refusal(() => server.verify(challenge, mac))?.[1]).toContain("--allow-md5");
    }
  });
});

describe("transcripts recorded with CPython", () => {
  const MD5_ON = /md5_on/;
  test.each(Object.keys(transcripts) as (keyof typeof transcripts)[])("%s", (name) => {
    const side = name.startsWith("parley_server") ? "server" : "client";
    const frames = transcripts[name].map(({ dir, frame_hex }) => ({
      ours: dir.startsWith(side),
      payload: fromHex(frame_hex).subarray(4),
    }));
    const key = keyOf(KEY, MD5_ON.test(name));
    let asked: Buffer | undefined;
    let due: Buffer | "refused" | undefined;
    for (const { ours, payload } of frames) {
      const text = payload.toString("latin1");
      if (ours && text.startsWith("#CHALLENGE#")) {
        asked = key.challenge(side, RANDOM);
        expect(payload.subarray(11).toString("hex")).toBe(asked.toString("hex"));
      } else if (!ours && text.startsWith("#CHALLENGE#")) {
        const respond = () => (due = key.respond(side, payload.subarray(11)));
        if (refusal(respond) !== null) due = "refused";
      } else if (ours && text === "#WELCOME#") {
        expect(due).toBe(undefined);
      } else if (ours && text === "#FAILURE#") {
        expect(due).toBe("refused");
      } else if (ours) {
        expect(payload.toString("hex")).toBe((due as Buffer).toString("hex"));
        due = undefined;
      } else if (asked !== undefined && !text.startsWith("#")) {
        const challenge = asked;
        if (refusal(() => key.verify(challenge, payload)) !== null) due = "refused";
        key.settle(challenge);
        asked = undefined;
      }
    }
    // The one in which nothing of ours follows: nothing may.
    expect(due).toBe(/off|wrong/.test(name) ? "refused" : undefined);
  });
});

describe("a challenge is not answered", () => {
  const BODY = Buffer.alloc(40, 7);
  const withPrefix = (prefix: string) => Buffer.concat([Buffer.from(prefix), BODY]);

  test.each([0, 1, 19])("of %d bytes", (length) => {
    const short = Buffer.from("{sha256}".padEnd(length, "x")).subarray(0, length);
    const [code, words] = refusal(() => keyOf(KEY, true).respond("client", short)) ?? [];
    expect(code).toBe("bad_challenge");
    expect(words).toContain(plural(length, "byte"));
  });

  test.each(["", "{md5}", "{sha1}", "{sha512}", "{SHA256}", "{}", "{sha256", "sha256}", "{__proto__}"])(
    "that begins %j",
    (prefix) => {
      for (const allowMd5 of [false, true]) {
        const answer = () => keyOf(KEY, allowMd5).respond("client", withPrefix(prefix));
        expect(refusal(answer)?.[0]).toBe("bad_challenge");
      }
    },
  );

  test("of 20 raw bytes, unless MD5 is allowed, and the words say so", () => {
    const raw = Buffer.alloc(20, 9);
    expect(refusal(() => keyOf(KEY).respond("client", raw))?.[1]).toContain("--allow-md5");
    expect(keyOf(KEY, true).respond("client", raw)).toEqual(createHmac("md5", KEY).update(raw).digest());
    expect(refusal(() => keyOf(KEY, true).respond("client", Buffer.alloc(21, 9)))).not.toBeNull();
  });

  test.each(["server", "client"] as const)("by a %s that carries its own label", (side) => {
    const other = keyOf(KEY);
    for (const digest of ["sha256", "sha384", "sha3_256", "sha3_384"]) {
      const own = withPrefix(`{${digest}}parley-${side[0]}`);
      expect(refusal(() => other.respond(side, own))?.[0]).toBe("bad_challenge");
    }
    const theirs = withPrefix(`{sha256}parley-${side === "server" ? "c" : "s"}`);
    expect(refusal(() => other.respond(side, theirs))).toBeNull();
  });

  test("while this process awaits the response to it, on whichever connection, and is afterwards", () => {
    const shared = new SharedKey(KEY);
    const [asking, asked] = [shared.on(PLAIN), shared.on(exporter(Buffer.alloc(32, 3)))];
    const challenge = asking.challenge("server");
    expect(refusal(() => asked.respond("client", challenge))?.[0]).toBe("bad_challenge");
    asking.settle(challenge);
    expect(refusal(() => asked.respond("client", challenge))).toBeNull();
  });
});

describe("a response", () => {
  const challenge = keyOf(KEY).challenge("server", RANDOM);

  test("that is the right MD5 says how to allow it; a wrong one that the key is another", () => {
    const right = createHmac("md5", KEY).update(challenge).digest();
    const wrong = Buffer.from(right);
    wrong.writeUInt8((wrong[5] ?? 0) ^ 1, 5);
    expect(refusal(() => keyOf(KEY).verify(challenge, right))?.[1]).toBe(
      "right key, but the peer speaks HMAC-MD5 (Python 3.11 or older): see --allow-md5",
    );
    expect(refusal(() => keyOf(KEY, true).verify(challenge, right))).toBeNull();
    for (const allowMd5 of [false, true]) {
      const [code, words] = refusal(() => keyOf(KEY, allowMd5).verify(challenge, wrong)) ?? [];
      expect(code).toBe("bad_response");
      expect(words).not.toContain("--allow-md5");
    }
  });

  test("of any length but the right ones is refused", () => {
    const key = keyOf(KEY, true);
    const right = key.respond("client", challenge);
    for (let length = 0; length <= 256; length++) {
      const cut = Buffer.concat([right, Buffer.alloc(256)]).subarray(0, length);
      const outcome = refusal(() => key.verify(challenge, cut));
      expect(outcome?.[0] ?? null).toBe(length === right.length ? null : "bad_response");
    }
  });

  test("is verified whatever the digest, the channel and the key, and with any bit flipped is not", () => {
    const digests = ["sha256", "sha384", "sha3_256", "sha3_384"];
    const bytes = fc.uint8Array({ minLength: 16, maxLength: 64 });
    const channel = fc.constantFrom(PLAIN, exporter(Buffer.alloc(32, 1)), exporter(Buffer.alloc(32, 2)));
    const property = fc.property(
      bytes.filter((key) => keyFlaw(key) === undefined),
      channel,
      fc.constantFrom(...digests),
      fc.nat(),
      (key, bindings, digest, flip) => {
        const [one, other] = [new SharedKey(key).on(bindings), new SharedKey(key).on(bindings)];
        const message = Buffer.concat([Buffer.from(`{${digest}}parley-s`), Buffer.alloc(40, flip)]);
        const response = other.respond("client", message);
        expect(refusal(() => one.verify(message, response))).toBeNull();
        const flipped = Buffer.from(response);
        const at = flip % (8 * flipped.length);
        flipped.writeUInt8((flipped[at >> 3] ?? 0) ^ (1 << (at & 7)), at >> 3);
        expect(refusal(() => one.verify(message, flipped))?.[0]).toBe("bad_response");
        const changed = Buffer.from(message);
        changed.writeUInt8((changed.at(-1) ?? 0) ^ 0x80, changed.length - 1);
        expect(refusal(() => one.verify(changed, response))?.[0]).toBe("bad_response");
      },
    );
    fc.assert(property, { numRuns: 300 });
  });
});

describe("a key", () => {
  test.each([
    [0, "0 bytes"],
    [15, "15 bytes"],
  ])("of %d bytes is refused", (length, words) => {
    expect(keyFlaw(Buffer.alloc(length, 1))).toContain(words);
    expect(() => new SharedKey(Buffer.alloc(length, 1))).toThrow(RangeError);
  });

  test("that ends in a zero byte is refused: without it, it would be the same key", () => {
    const key = Buffer.alloc(32, 1);
    expect(keyFlaw(key)).toBeUndefined();
    key[31] = 0;
    expect(keyFlaw(key)).toContain("zero");
    expect(keyFlaw(Buffer.alloc(16, 1))).toBeUndefined();
  });

  test("that is minted has 32 bytes, no flaw, and is no other's", () => {
    const keys = Array.from({ length: 1000 }, () => generateKey());
    expect(keys.every((key) => key.length === 32 && keyFlaw(key) === undefined)).toBe(true);
    expect(new Set(keys.map((key) => key.toString("hex"))).size).toBe(1000);
  });

  test("challenges with fresh randomness each time", () => {
    const key = keyOf(KEY);
    const challenges = Array.from({ length: 500 }, () => key.challenge("client").toString("latin1"));
    expect(new Set(challenges).size).toBe(500);
    expect(challenges.every((text) => text.startsWith("{sha256}parley-c") && text.length === 56)).toBe(true);
  });
});
