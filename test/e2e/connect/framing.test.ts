// `--framing decimal:N` on both sides: what the peer writes, byte for byte, each mistake and its sentence, and what the flag needs.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connect as dial } from "node:net";
import { expect, setDefaultTimeout, test } from "bun:test";
import { run, serve } from "../../support/executable.ts";
import { fakeServer } from "../../support/fake-server.ts";
import { tempFolder } from "../../support/folder.ts";

setDefaultTimeout(60_000);

const TEN = ["--bare", "--framing", "decimal:10"];

/** What a peer gets back for `bytes`, until the end. */
function exchange(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = dial(port, "127.0.0.1", () => socket.end(bytes));
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => void (answer += text));
    socket.on("error", reject);
    socket.on("close", () => resolve(answer));
  });
}

/** Runs `connect` against a server that says `bytes` when it has got something, and ends. */
async function meet(bytes: string, flags: string[]) {
  using server = await fakeServer((socket) => {
    socket.once("data", () => socket.end(bytes));
  });
  const result = await run(["connect", server.address, ...flags, "--send", "hi"]);
  return { ...result, received: server.received.text };
}

test("serve takes every padding, glued together, and answers with zeros", async () => {
  await using server = await serve(TEN);
  const answer = await exchange(server.port, "0000000002hi5         hello         1x0000000000");
  expect(answer).toBe("0000000002hi0000000005hello0000000001x0000000000");
  await server.stop();
});

test("connect writes zeros, takes every padding, and the end between two frames is a good one", async () => {
  const { exitCode, stdout, stderr, received } = await meet("2         ok         3abc", TEN);
  expect([exitCode, stdout, stderr, received]).toEqual([0, "ok\nabc\n", "", "0000000002hi"]);
});

const UNKNOWN = "it is unknown whether all of it arrived";
const DIGITS = "instead of a length in 10 digits; sent 1, received";
test.each([
  [
    "counts characters",
    "0000000006привет0000000002hi",
    TEN,
    `invalid frame header "\\xd0\\xb2\\xd0\\xb5\\xd1\\x820000" ${DIGITS} 1; ${UNKNOWN}\n`,
  ],
  [
    "counts characters, once",
    "0000000006привет",
    TEN,
    `the stream ended inside a frame, 6 bytes into it, before the session ended: sent 1, received 1; ${UNKNOWN}\n`,
  ],
  ["writes fewer digits", "00000005hello00000005hello", TEN, `invalid frame header "00000005he" ${DIGITS}`],
  [
    "writes 4 bytes",
    "\0\0\0\x05hello\0\0\0\x05hello",
    TEN,
    `invalid frame header "\\x00\\x00\\x00\\x05hello\\x00" ${DIGITS}`,
  ],
  ["sends less than it says", "0000000015hello", TEN, "the stream ended inside a frame, 15 bytes into it"],
  [
    "writes digits, and parley expects 4 bytes",
    "0000000005hello",
    ["--bare"],
    "frame of 808464432 bytes is over the limit of 16777216",
  ],
])("a server that %s is found out", async (_, bytes, flags, message) => {
  const { exitCode, stderr } = await meet(bytes, flags);
  expect(stderr).toStartWith(`parley: error: ${message}`);
  expect(exitCode).toBe(6);
  const hint = /^parley: hint: (.*)$/m.exec(stderr)?.[1] ?? "";
  if (message.startsWith("invalid")) expect(hint).toContain("bytes, not characters");
  if (message.startsWith("frame of")) expect(hint).toContain("--framing decimal:10");
});

test.each([
  ["counts characters", "0000000006привет0000000002hi", "0000000006при", "bad_length", "xd0"],
  ["ends a count inside of a character", "0000000005привет", "", "bad_message", "not UTF-8 text"],
  ["sends less than it says", "0000000002hi0000000015hello", "0000000002HI", "frame_cut", "15 bytes into it"],
])(
  "a client that %s gets what was whole, and the log has the reason",
  async (_, bytes, answer, code, reason) => {
    using folder = tempFolder();
    await using server = await serve(["--service", "upper", ...TEN], { data: folder.path });
    expect((await exchange(server.port, bytes)).toLowerCase()).toBe(answer.toLowerCase());
    await server.stop();
    const dropped = readFileSync(join(folder.path, "parley.log"), "utf8")
      .split("\n")
      .find((line) => line.includes(" dropped "));
    expect(dropped).toContain(`code=${code}`);
    expect(dropped).toContain(reason);
  },
);

test("nothing longer than the digits can say is sent", async () => {
  const three = ["--bare", "--framing", "decimal:3"];
  await using server = await serve(three);
  const connect = ["connect", server.address, ...three];
  const longest = "x".repeat(999);
  expect(await run([...connect, "--send", longest])).toMatchObject({ exitCode: 0, stdout: `${longest}\n` });
  const sent = await run([...connect, "--send", `${longest}x`]);
  expect([sent.exitCode, sent.stderr]).toEqual([
    1,
    "parley: error: cannot send a message of 1000 bytes: the limit of decimal:3 is 999\n" +
      "parley: hint: send shorter messages, or use more digits on both sides\n",
  ]);
  const piped = await run(connect, { stdin: `ok\n${longest}x\n` });
  expect([piped.exitCode, piped.stdout]).toEqual([1, "ok\n"]);
  expect(piped.stderr).toStartWith(
    "parley: error: line 2 is longer than 999 bytes, the limit of decimal:3 for a message\n",
  );
  await server.stop();
});

test("an answer that the digits cannot say ends its session, with the reason in the log, and no other", async () => {
  using folder = tempFolder();
  const handler = join(folder.path, "long.ts");
  await Bun.write(
    handler,
    `export default (session, message) => session.send("y".repeat(Number(message.text())));`,
  );
  await using server = await serve(["--handler", handler, "--bare", "--framing", "decimal:2"], {
    data: folder.path,
  });
  expect(await exchange(server.port, "029902 1")).toBe(`99${"y".repeat(99)}01y`);
  expect(await exchange(server.port, "0231099")).toBe(`31${"y".repeat(31)}`);
  expect(await exchange(server.port, "03100")).toBe("");
  expect(await exchange(server.port, "0212")).toBe(`12${"y".repeat(12)}`);
  await server.stop();
  expect(readFileSync(join(folder.path, "parley.log"), "utf8")).toContain(
    "a header of 2 digits holds a length of at most 99, not 100",
  );
});

test.each([
  [["serve", "--framing", "decimal:10"], "--framing requires --bare"],
  [["connect", "127.0.0.1:1", "--framing", "uint32"], "--framing requires --bare"],
  [
    ["connect", "127.0.0.1:1", ...TEN, "--key-file", "key"],
    "--framing decimal:10 and --key-file cannot be used together",
  ],
  [["serve", ...TEN, "--key-file", "key"], "--framing decimal:10 and --key-file cannot be used together"],
  [["serve", "--bare", "--framing", "decimal"], '--framing: invalid framing "decimal"'],
  [["serve", "--bare", "--framing", "decimal:0"], '--framing: invalid framing "decimal:0"'],
  [
    ["connect", "127.0.0.1:1", "--bare", "--framing", "decimal:21"],
    '--framing: invalid framing "decimal:21"',
  ],
  [
    ["connect", "127.0.0.1:1", "--framing", "decimal:10", "--listen", "0"],
    "--listen and --framing cannot be used together",
  ],
])("%p is a usage error", async (argv, message) => {
  const { exitCode, stderr } = await run(argv);
  expect([exitCode, stderr.split("\n")[0]]).toEqual([2, `parley: error: ${message}`]);
});

test("uint32 is what the other side has without the flag", async () => {
  await using server = await serve(["--bare", "--framing", "uint32"]);
  const { exitCode, stdout } = await run(["connect", server.address, "--bare", "--send", "hi"]);
  expect([exitCode, stdout]).toEqual([0, "hi\n"]);
  await server.stop();
});
