// Messages as exact JSON text, one table both directions; what is refused, in which words, and that those words never
// hold what the peer sent.

import { describe, expect, test } from "bun:test";
import {
  decodeControl,
  decodeFromServer,
  decodeLogin,
  decodeText,
  encodeMessage,
  MessageError,
} from "../../src/wire/codec.ts";
import { isTerm, type Control, type FromServer, type Login } from "../../src/wire/message.ts";

const NONCE = "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7";
const PROOF = "B4bAIJyKvvju9rM9sXckDDucIYtOwi+TqOyXocXh9Aw=";
const INSTANT = "2026-12-21T10:00:00.000Z";
const LOGIN = `{"type":"login","method":"none"}`;
const HELLO = `{"type":"hello","protocol":"parley/1","service":"echo","auth":["none"],"nonce":"${NONCE}","max_frame":9}`;

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

const logins: [string, Login][] = [
  [LOGIN, { method: "none", type: "login" }],
  [`{"type":"login","method":"ip"}`, { method: "ip", type: "login" }],
  [`{"type":"login","method":"name","user":"Ann"}`, { method: "name", user: "Ann", type: "login" }],
  [
    `{"type":"login","method":"password","user":"ann","password":"","control":true,"token":false}`,
    { method: "password", user: "ann", password: "", control: true, token: false, type: "login" },
  ],
  [
    `{"type":"login","method":"register","user":"jörg","password":"\\"\\n😀"}`,
    { method: "register", user: "jörg", password: `"\n😀`, type: "login" },
  ],
  [
    `{"type":"login","method":"token","id":"Ab3dE6gH","proof":"${PROOF}","logout":true}`,
    { method: "token", id: "Ab3dE6gH", proof: PROOF, logout: true, type: "login" },
  ],
  [
    `{"type":"login","method":"none","control":true,"terminal":{"term":"xterm-256color","columns":120,"rows":40}}`,
    {
      method: "none",
      control: true,
      terminal: { term: "xterm-256color", columns: 120, rows: 40 },
      type: "login",
    },
  ],
  [
    `{"type":"login","method":"none","terminal":{"columns":1,"rows":1000}}`,
    { method: "none", terminal: { columns: 1, rows: 1000 }, type: "login" },
  ],
];

const fromServer: [string, FromServer][] = [
  [
    HELLO,
    { protocol: "parley/1", service: "echo", auth: ["none"], nonce: NONCE, max_frame: 9, type: "hello" },
  ],
  [
    `{"type":"hello","protocol":"parley/1","service":"echo","auth":["ip"],"user":"Ann","nonce":"${NONCE}","max_frame":1}`,
    {
      protocol: "parley/1",
      service: "echo",
      auth: ["ip"],
      user: "Ann",
      nonce: NONCE,
      max_frame: 1,
      type: "hello",
    },
  ],
  [
    `{"type":"hello","protocol":"parley/1","service":"sh","auth":["none"],"nonce":"${NONCE}","max_frame":9,"terminal":true}`,
    {
      protocol: "parley/1",
      service: "sh",
      auth: ["none"],
      nonce: NONCE,
      max_frame: 9,
      terminal: true,
      type: "hello",
    },
  ],
  [`{"type":"welcome","user":null,"known":false}`, { user: null, known: false, type: "welcome" }],
  [
    `{"type":"welcome","user":"ann","known":true,"token":"prly_x","expires":"${INSTANT}","last_login":"${INSTANT}","control":true}`,
    {
      user: "ann",
      known: true,
      token: "prly_x",
      expires: INSTANT,
      last_login: INSTANT,
      control: true,
      type: "welcome",
    },
  ],
  [
    `{"type":"refused","code":"bad_credentials","message":"login refused","attempts_left":2}`,
    { code: "bad_credentials", message: "login refused", attempts_left: 2, type: "refused" },
  ],
  [
    `{"type":"error","code":"busy","message":"try later","retry_after":2}`,
    { code: "busy", message: "try later", retry_after: 2, type: "error" },
  ],
];

const controls: [string, Control][] = [
  [`{"type":"end"}`, { type: "end" }],
  [`{"type":"ping","n":0}`, { n: 0, type: "ping" }],
  [`{"type":"pong","n":9007199254740991}`, { n: 9007199254740991, type: "pong" }],
  [
    `{"type":"bye","code":"done","message":"","status":0}`,
    { code: "done", message: "", status: 0, type: "bye" },
  ],
  [`{"type":"window","columns":120,"rows":40}`, { columns: 120, rows: 40, type: "window" }],
  [`{"type":"window","columns":1,"rows":1000}`, { columns: 1, rows: 1000, type: "window" }],
];

describe("both directions, type first", () => {
  test.each(logins)("%s", (json, login) => {
    expect(encodeMessage(login)).toBe(json);
    expect(decodeLogin(utf8(json))).toStrictEqual(login);
  });

  test.each(fromServer)("%s", (json, message) => {
    expect(encodeMessage(message)).toBe(json);
    expect(decodeFromServer(utf8(json))).toStrictEqual(message);
  });

  test.each(controls)("%s", (json, control) => {
    expect(encodeMessage(control)).toBe(json);
    expect(decodeControl(utf8(json))).toStrictEqual(control);
  });

  test("members of a later version are ignored, whatever they are called", () => {
    const added = [`"x":{"y":[]}`, `"constructor":1`, `"__proto__":{"control":true,"retry_after":1}`];
    for (const member of added) {
      const extend = (json: string): Uint8Array => utf8(json.replace(/\}$/, `,${member}}`));
      expect(decodeLogin(extend(LOGIN))).toStrictEqual({ type: "login", method: "none" });
      expect(decodeFromServer(extend(HELLO))).toStrictEqual(fromServer[0]![1]);
      expect(decodeControl(extend(`{"type":"end"}`))).toStrictEqual({ type: "end" });
    }
  });

  test("a control message of a later version is undefined", () => {
    for (const type of ["later", "whisper", "", "constructor", "__proto__"]) {
      expect(decodeControl(utf8(`{"type":"${type}","received":1}`))).toBeUndefined();
    }
  });
});

/** The refusal of `payload`, in the words for the operator and for the peer. */
function refusal(decode: (payload: Uint8Array) => unknown, payload: Uint8Array): string {
  try {
    decode(payload);
  } catch (error) {
    if (!(error instanceof MessageError)) throw error;
    expect([error.code, error.peerMessage, error.cause]).toEqual(["bad_message", error.message, undefined]);
    return error.message;
  }
  throw new Error("nothing was refused");
}

const DECODERS = { decodeLogin, decodeFromServer, decodeControl };

describe.each(Object.entries(DECODERS))("%s refuses", (_, decode) => {
  test.each([
    ["a pickle, and says what to use instead", Uint8Array.of(0x80, 4, 0x95), "send_bytes() and recv_bytes()"],
    ["bytes that are not UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d), "not UTF-8"],
    ["UTF-16", Uint8Array.from(Buffer.from(LOGIN, "utf16le")), "one JSON object"],
    ["nothing", utf8(""), "one JSON object"],
    ["a line of text", utf8("hello"), "one JSON object"],
    ["half an object", utf8(LOGIN.slice(0, -1)), "one JSON object"],
    ["two objects", utf8(LOGIN + LOGIN), "one JSON object"],
    ["a byte order mark", utf8(`\ufeff${LOGIN}`), "one JSON object"],
    ["200000 open brackets", utf8("[".repeat(200_000)), "one JSON object"],
    ["200000 nested arrays", utf8("[".repeat(200_000) + "]".repeat(200_000)), "expected a"],
    ["null", utf8("null"), "expected a"],
    ["a string", utf8(`"end"`), "expected a"],
    ["an array", utf8(`[${LOGIN}]`), "expected a"],
    ["an object without type", utf8(`{"method":"none"}`), "expected a"],
    ["a type that is no text", utf8(`{"type":["login"],"method":"none"}`), "expected a"],
    ["members hidden in a prototype", utf8(`{"__proto__":${LOGIN}}`), "expected a"],
  ])("%s", (_name, payload, words) => {
    expect(refusal(decode, payload)).toContain(words);
  });
});

describe("wrong members", () => {
  test.each([
    [`{"type":"hello","method":"none"}`, "type"],
    [`{"type":"login"}`, "method"],
    [`{"type":"login","method":"toString"}`, "method"],
    [`{"type":"login","method":"name"}`, "user"],
    [`{"type":"login","method":"name","user":null}`, "user"],
    [`{"type":"login","method":"name","__proto__":{"user":"ann"}}`, "user"],
    [`{"type":"login","method":"password","user":"ann"}`, "password"],
    [`{"type":"login","method":"password","user":"ann","password":8}`, "password"],
    [`{"type":"login","method":"none","control":"true"}`, "control"],
    [`{"type":"login","method":"none","token":null}`, "token"],
    [`{"type":"login","method":"token","id":7,"proof":"${PROOF}"}`, "id"],
    [`{"type":"login","method":"token","id":"x","proof":"no base64"}`, "proof"],
  ])("decodeLogin names the one that is wrong: %s", (json, member) => {
    expect(refusal(decodeLogin, utf8(json))).toMatch(
      new RegExp(`^expected a login: ${member} (?:is missing|must be )`),
    );
  });

  test.each([
    [LOGIN, "type"],
    [HELLO.replace(`["none"]`, "[]"), "auth"],
    [HELLO.replace(`["none"]`, "[1]"), "auth.0"],
    [HELLO.replace(`:9}`, ":-1}"), "max_frame"],
    [HELLO.replace(`:9}`, ":1.5}"), "max_frame"],
    [HELLO.replace(`:9}`, ":1e999}"), "max_frame"],
    [HELLO.replace(NONCE, "%"), "nonce"],
    [`{"type":"welcome","known":true}`, "user"],
    [`{"type":"welcome","user":null,"known":1}`, "known"],
    [`{"type":"refused","code":"x","message":"x","attempts_left":"2"}`, "attempts_left"],
    [`{"type":"error","code":"x","message":"x","retry_after":"2"}`, "retry_after"],
  ])("decodeFromServer names the one that is wrong: %s", (json, member) => {
    expect(refusal(decodeFromServer, utf8(json))).toMatch(new RegExp(`: ${member} (?:is missing|must be )`));
  });

  test.each([
    [`{"type":"ping"}`, "n"],
    [`{"type":"pong","n":-1}`, "n"],
    [`{"type":"bye","code":"done"}`, "message"],
    [`{"type":"bye","code":"done","message":"","status":"0"}`, "status"],
  ])("decodeControl names the one that is wrong: %s", (json, member) => {
    expect(refusal(decodeControl, utf8(json))).toMatch(new RegExp(`: ${member} (?:is missing|must be )`));
  });

  test("no refusal quotes what the peer sent", () => {
    const secret = "hunter2";
    const wrong = [
      `{"type":"login","method":"password","user":"ann","password":["${secret}"]}`,
      `{"type":"login","method":"password","user":{"${secret}":1},"password":"${secret}"}`,
      `{"type":"login","method":"${secret}","password":"${secret}"}`,
      `{"type":"${secret}","method":"password","user":"ann","password":"${secret}"}`,
      `{"type":"login","method":"password","password":"${secret}"}`,
      `{"type":"login","method":"none","control":"${secret}"}`,
      `{"type":"login","method":"token","id":"x","proof":"${secret}!"}`,
      `{"type":"login","method":"password","password":"${secret}"`,
      `"${secret}"`,
      secret,
    ].map(utf8);
    for (const payload of [...wrong, Buffer.concat([utf8(secret), Uint8Array.of(0xff)])]) {
      expect(refusal(decodeLogin, payload)).not.toContain(secret);
      expect(refusal(decodeFromServer, payload)).not.toContain(secret);
    }
  });
});

describe("decodeText", () => {
  test.each(["", "ping", "jörg 😀", "\ufeffmarked", "\0", "\ufffd"])("gives %j as it was sent", (text) => {
    expect(decodeText(utf8(text))).toBe(text);
  });

  test.each(["ff", "c3", "c0af", "eda080", "f4908080", "61e282"])("refuses %s", (hex) => {
    expect(refusal(decodeText, Buffer.from(hex, "hex"))).toBe("the message is not UTF-8 text");
    expect(decodeText(utf8("the next one"))).toBe("the next one");
  });
});

describe("the size of a window is refused", () => {
  test.each([
    [0, 24],
    [80, 0],
    [1001, 24],
    [80, 1001],
    [-1, 24],
    [80.5, 24],
    ["80", 24],
    [null, 24],
  ])("with %p columns and %p rows", (columns, rows) => {
    const size = { columns, rows };
    const wrong = columns === 80 ? "rows" : "columns";
    expect(refusal(decodeControl, utf8(JSON.stringify({ type: "window", ...size })))).toContain(wrong);
    const login = { type: "login", method: "none", terminal: size };
    expect(refusal(decodeLogin, utf8(JSON.stringify(login)))).toContain(`terminal.${wrong}`);
  });

  test("when one side is missing", () => {
    expect(refusal(decodeControl, utf8(`{"type":"window","columns":80}`))).toContain("rows is missing");
  });
});

describe("the kind of a terminal", () => {
  const login = (term: unknown): Uint8Array =>
    utf8(JSON.stringify({ type: "login", method: "none", terminal: { term, columns: 80, rows: 24 } }));

  test.each(["xterm", "screen.xterm-256color", "vt100+fnkeys", "wy50_x", "a".repeat(64)])("%p", (term) => {
    expect(decodeLogin(login(term)).terminal?.term).toBe(term);
    expect(isTerm(term)).toBe(true);
  });

  test.each(["", "../x", "Eterm", "x y", "x\n", "xterm\0", "ä", "a".repeat(65)])("is not %j", (term) => {
    expect(refusal(decodeLogin, login(term))).toContain("terminal.term");
    expect(isTerm(term)).toBe(false);
  });
});
