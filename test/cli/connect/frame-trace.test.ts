// `--trace`: one line a frame, both ways, however the bytes are cut; and no secret in any of them.

import { describe, expect, test } from "bun:test";
import { Trace } from "../../../src/cli/connect/frame-trace.ts";
import { decimalFraming } from "../../../src/wire/decimal.ts";
import { writeControlHeader, writeHeader, type Framing } from "../../../src/wire/frame.ts";

type Direction = "in" | "out";

function frame(text: string | Uint8Array, write = writeHeader): Uint8Array {
  const payload = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const bytes = new Uint8Array(4 + payload.length);
  write(bytes, 0, payload.length);
  bytes.set(payload, 4);
  return bytes;
}

const control = (text: string): Uint8Array => frame(text, writeControlHeader);
/** The longest payload that the client accepts. */
const MAX_FRAME = 1024 * 1024;
const WELCOME = frame(`{"type":"welcome","user":null,"known":false}`);

function traceOf(bare: boolean, framing?: Framing): { lines: string[]; trace: Trace } {
  const lines: string[] = [];
  return { lines, trace: new Trace({ bare, framing, maxFrame: MAX_FRAME }, (more) => lines.push(...more)) };
}

/** The lines of one stream in one direction. */
function trace(bytes: Uint8Array[], { bare = false, direction = "in" as Direction } = {}): string[] {
  const { lines, trace: subject } = traceOf(bare);
  for (const piece of bytes) subject.see(direction, piece);
  return lines;
}

describe("a line", () => {
  test.each([
    ["ping", `← 00000004  message         4 bytes  "ping"`],
    ["", `← 00000000  message         0 bytes  ""`],
    ["x", `← 00000001  message          1 byte  "x"`],
    [Uint8Array.of(0xff, 0), `← 00000002  message         2 bytes  ff00`],
    ["\x1b[2J\u202e", `← 00000007  message         7 bytes  "\\u001b[2J\\u{202e}"`],
    [
      `{"password":"in plain talk"}`,
      `← 0000001c  message        28 bytes  "{\\"password\\":\\"in plain talk\\"}"`,
    ],
  ])("of the conversation shows direction, header, size and payload: %j", (payload, line) => {
    expect(trace([frame(payload)], { bare: true })).toEqual([line]);
  });

  test("of the login shows what it means, and of the conversation after it only its bytes", () => {
    const { lines, trace: subject } = traceOf(false);
    subject.see("in", frame(`{"type":"hello","nonce":"x"}`));
    subject.see("out", frame(`{"type":"login","method":"none"}`));
    subject.see("in", WELCOME);
    subject.see("out", frame(`{"type":"login"}`));
    expect(lines).toEqual([
      `← 0000001c  hello          28 bytes  {"type":"hello","nonce":"x"}`,
      `→ 00000020  login          32 bytes  {"type":"login","method":"none"}`,
      `← 0000002c  welcome        44 bytes  {"type":"welcome","user":null,"known":false}`,
      `→ 00000010  message        16 bytes  "{\\"type\\":\\"login\\"}"`,
    ]);
  });

  test("of a control frame has its header and name, also in the conversation", () => {
    expect(trace([WELCOME, control(`{"type":"end"}`), frame("on")], { direction: "out" }).slice(1)).toEqual([
      `→ 8000000e  control end    14 bytes  {"type":"end"}`,
      `→ 00000002  message         2 bytes  "on"`,
    ]);
  });

  test("of a decimal frame shows the header as it came, and an invalid one escaped", () => {
    const { lines, trace: subject } = traceOf(true, decimalFraming(10));
    const stream = Buffer.from("0000000002hi5         hello         000000003\n\x1b[2Jxx");
    for (const byte of stream) subject.see("in", Uint8Array.of(byte));
    subject.see("out", Buffer.from("0000000003\x1b[2"));
    expect(lines).toEqual([
      `← 0000000002  message         2 bytes  "hi"`,
      `← 5           message         5 bytes  "hello"`,
      `←          0  message         0 bytes  ""`,
      `← invalid frame header "00000003\\x0a\\x1b" instead of a length in 10 digits`,
      `→ 0000000003  message         3 bytes  "\\u001b[2"`,
    ]);
  });

  test("of a long payload shows its start and that there is more", () => {
    const [long = "", exact = ""] = trace([frame("a".repeat(161)), frame("a".repeat(160))], { bare: true });
    expect(long).toEndWith(`"${"a".repeat(160)}" …`);
    expect(exact).toEndWith(`"${"a".repeat(160)}"`);
    const [login = ""] = trace([frame(JSON.stringify({ type: "x", note: "b".repeat(500) }))]);
    expect(login).toEndWith("b …");
    expect(login.length).toBeLessThan(210);
  });

  test("never holds a character that acts, whatever a peer calls its message", () => {
    const wild = `{"type":"\\u001b[2J\\n\\u202e","x":"\u009b\u2028"}`;
    for (const line of [
      ...trace([frame(wild)]),
      ...trace([control(wild)]),
      ...trace([frame(wild)], { bare: true }),
    ]) {
      expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    }
  });

  test.each([
    [[0xff, 0xff, 0xff, 0xfe, 1, 2], "invalid frame header fffffffe"],
    [[0x7f, 0xff, 0xff, 0xff, 1, 2], `frame of 2147483647 bytes is over the limit of ${MAX_FRAME}`],
  ])("says where the framing was broken (%p), and nothing more of that direction", (bytes, words) => {
    const { lines, trace: subject } = traceOf(true);
    for (const piece of [frame("one"), Uint8Array.from(bytes), frame("two")]) subject.see("in", piece);
    expect(lines).toEqual([`← 00000003  message         3 bytes  "one"`, `← ${words}`]);
    subject.see("out", frame("three"));
    subject.restart();
    subject.see("in", frame("four"));
    expect(lines.slice(2)).toEqual([
      `→ 00000005  message         5 bytes  "three"`,
      `← 00000004  message         4 bytes  "four"`,
    ]);
  });
});

describe("secrets", () => {
  const secret = "hunter2-\\u00e4\\n";
  const spoken: [Direction, string][] = [
    ["out", `{"type":"login","method":"password","user":"ann","password":"${secret}"}`],
    ["out", `{"type":"login","method":"register","user":"ann","password":"${secret}"}`],
    ["out", `{"type":"login","method":"token","id":"Ab3dE6gH","proof":"${secret}"}`],
    ["in", `{"type":"welcome","user":"ann","known":true,"token":"${secret}"}`],
    ["in", `{"type":"welcome","user":"ann","session":"1","resume_key":"${secret}"}`],
    ["in", `{"type":"welcome","later":{"deep":[{"token":"${secret}"}]}}`],
    ["in", `[{"password":"${secret}"}]`],
    ["out", `{ "p\\u0061ssword" : "${secret}" }`],
  ];

  test.each(spoken)("are not shown, only how long they are: %s %s", (direction, json) => {
    for (const bytes of [frame(json), control(json)]) {
      const [line = ""] = trace([bytes], { direction });
      expect(line).not.toContain("hunter2");
      expect(line).toContain("<10 characters>");
    }
  });

  test.each(spoken)("are not shown wherever the bytes are cut: %s %s", (direction, json) => {
    const bytes = frame(json);
    const [whole] = trace([bytes], { direction });
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(trace([bytes.slice(0, cut), bytes.slice(cut)], { direction })).toEqual([whole!]);
    }
  });

  test.each([`["hunter2"]`, `{"text":"hunter2"}`, "8675309"])(
    "are not shown when they are no text: %s",
    (value) => {
      const [line = ""] = trace([frame(`{"type":"login","method":"password","password":${value}}`)]);
      expect(line).not.toMatch(/hunter2|8675309/);
    },
  );

  test("of a login on another connection are hidden again", () => {
    const { lines, trace: subject } = traceOf(false);
    subject.see("in", WELCOME);
    subject.see("out", frame("half of this is lost").slice(0, 10));
    subject.restart();
    subject.see("out", frame(`{"type":"login","method":"password","password":"hunter2"}`));
    expect(lines).toHaveLength(2);
    expect(lines[1]).toEndWith(`{"type":"login","method":"password","password":"<7 characters>"}`);
  });
});

describe("bytes", () => {
  test("are given back: a buffer may be used again at once", () => {
    const stream = Buffer.concat([frame("one"), frame("two"), frame("three")]);
    const { lines, trace: subject } = traceOf(true);
    const buffer = new Uint8Array(5);
    for (let start = 0; start < stream.length; start += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, stream.length - start));
      piece.set(stream.subarray(start, start + piece.length));
      subject.see("out", piece);
      buffer.fill(0xee);
    }
    expect(lines.map((line) => line.split("  ").at(-1))).toEqual([`"one"`, `"two"`, `"three"`]);
  });

  test("of the two directions do not mix", () => {
    const { lines, trace: subject } = traceOf(true);
    const [first, second] = [frame("from there"), frame("from here")];
    for (let at = 0; at < first.length; at++) {
      subject.see("in", first.slice(at, at + 1));
      subject.see("out", second.slice(at, at + 1));
    }
    expect(lines.map((line) => `${line[0]} ${line.split("  ").at(-1)}`)).toEqual([
      `→ "from here"`,
      `← "from there"`,
    ]);
  });
});
