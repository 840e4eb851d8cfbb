// The load generator: its flags, what it puts on the wire, and that it notices what does not come back as it went.

import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Socket } from "bun";
import { load, type Load } from "../../scripts/bench/compilers.ts";
import { argumentsFor } from "../../scripts/bench/load/run.ts";
import { parseToken, proveToken, TOKEN_LABEL, mintToken } from "../../src/auth/token.ts";
import { tempFolder } from "../support/folder.ts";

const HAS_CC = ["cc", "gcc", "clang"].some((name) => Bun.which(name) !== null);
const cases = test.skipIf(!HAS_CC);
const folder = tempFolder();
let built: Load;

beforeAll(() => {
  if (HAS_CC) built = load(folder.path);
});
afterAll(() => folder[Symbol.dispose]());

async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = Bun.spawn([...built.argv, ...args], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { code: await child.exited, stdout, stderr };
}

const NONCE = Buffer.alloc(24, "nonce");
const CONTROL = 0x80000000;

function frame(text: string, kind = 0): Buffer {
  const bytes = Buffer.alloc(4 + text.length);
  bytes.writeUInt32BE(kind + text.length);
  bytes.write(text, 4);
  return bytes;
}

interface Frame {
  isControl: boolean;
  bytes: Buffer;
}
interface Client {
  frames: Frame[];
  rest: Buffer;
}

/** A server that says hello, then calls `onFrame` for each frame that it gets, and keeps all of them by connection. */
function fakeServer(
  onFrame: (socket: Socket<Client>, frame: Frame, index: number) => void,
  hello = true,
): { port: number; clients: Client[] } & Disposable {
  const clients: Client[] = [];
  const server = Bun.listen<Client>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        socket.data = { frames: [], rest: Buffer.alloc(0) };
        clients.push(socket.data);
        const message = {
          type: "hello",
          auth: ["none"],
          nonce: NONCE.toString("base64"),
          max_frame: 1048576,
        };
        if (hello) socket.write(frame(JSON.stringify(message)));
      },
      data(socket, chunk) {
        const { data: client } = socket;
        client.rest = Buffer.concat([client.rest, chunk]);
        while (client.rest.length >= 4) {
          const header = client.rest.readUInt32BE();
          const end = 4 + (header >= CONTROL ? header & 0xffff : header);
          if (client.rest.length < end) return;
          const one = { isControl: header >= CONTROL, bytes: client.rest.subarray(0, end) };
          client.rest = client.rest.subarray(end);
          client.frames.push(one);
          onFrame(socket, one, client.frames.length - 1);
        }
      },
    },
  });
  return { port: server.port, clients, [Symbol.dispose]: () => server.stop(true) };
}

const json = ({ bytes }: Frame) => JSON.parse(bytes.toString("utf8", 4)) as Record<string, unknown>;
const welcome = (more: object = {}) => frame(JSON.stringify({ type: "welcome", user: null, ...more }));

/** Welcomes, and sends every message back. */
function echo(socket: Socket<Client>, { isControl, bytes }: Frame, index: number): void {
  if (index === 0) socket.write(welcome());
  else if (!isControl) socket.write(bytes);
}

const SMALL = ["--connections", "3", "--in-flight", "2", "--warm-up", "6", "--messages", "30"];

test("a job as flags: what is undefined or off is left out", () => {
  const target = { port: 7, pid: 9, tls: false, login: { method: "bytes" } } as const;
  expect(argumentsFor("to-all", target, { members: 5, warmUp: 1, messages: 2 })).toEqual(
    "to-all --login bytes --port 7 --pid 9 --members 5 --warm-up 1 --messages 2".split(" "),
  );
  const login = { method: "token", token: "T", acknowledge: true } as const;
  expect(argumentsFor("idle", { ...target, tls: true, login }, { few: 1, many: 2 })).toEqual(
    "idle --login token --port 7 --pid 9 --tls --token T --acknowledge --few 1 --many 2".split(" "),
  );
});

cases.each([
  [["echo", "--prot", "1"], "there is no flag --prot"],
  [["echo", "1"], "1 is no flag"],
  [["echo", "--port", "1x"], "--port needs a whole number of at least 1"],
  [["echo", "--port"], "--port needs a whole number of at least 1"],
  [["echo", "--port", "1", "--connections", "0"], "--connections needs a whole number of at least 1"],
  [["echo", "--port", "1", "--login", "ip"], "--login is one of bytes, none, token, password"],
  [["echo"], "--port is missing"],
  [["shout", "--port", "1"], "the first argument is one of echo, enter, to-all, idle, hold"],
])("%j is refused", async (args, message) => {
  expect(await run(...args)).toEqual({ code: 1, stdout: "", stderr: `load: ${message}\n` });
});

cases("each connection has other bytes, and a message on its way is never the one before", async () => {
  using server = fakeServer((socket, { bytes }) => void socket.write(bytes), false);
  const { code, stdout, stderr } = await run("echo", "--port", String(server.port), ...SMALL);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(JSON.parse(stdout)).toEqual({ count: 30, wallNs: expect.any(Number) });
  const payloads = server.clients.map(({ frames }) => frames.map(({ bytes }) => bytes.toString("hex")));
  expect(payloads.map(({ length }) => length)).toEqual([12, 12, 12]);
  expect(new Set(payloads.flat()).size).toBe(9); // one more than can be on its way, of each
  for (const [index, payload] of payloads[0]!.entries()) {
    expect(payload).toStartWith("00000040");
    if (index > 0) expect(payload).not.toBe(payloads[0]![index - 1]!);
  }
});

cases("one byte that comes back as another ends it", async () => {
  using server = fakeServer((socket, { bytes }, index) => {
    const copy = Buffer.from(bytes);
    if (index === 7) copy[20]! ^= 1;
    socket.write(copy);
  }, false);
  const { code, stderr } = await run("echo", "--port", String(server.port), ...SMALL);
  expect(code).toBe(1);
  expect(stderr).toStartWith("load: other bytes came back");
});

cases("two messages that come back in the other order end it", async () => {
  let kept: Buffer | undefined;
  using server = fakeServer((socket, { bytes }) => {
    if (kept === undefined) return void (kept = bytes);
    socket.write(Buffer.concat([bytes, kept]));
    kept = undefined;
  }, false);
  const one = ["--connections", "1", "--in-flight", "2", "--warm-up", "0", "--messages", "2"];
  const { code, stderr } = await run("echo", "--port", String(server.port), ...one);
  expect(code).toBe(1);
  expect(stderr).toStartWith("load: other bytes came back");
});

cases("a server that says other things than a login's ends it, with its words", async () => {
  using server = fakeServer((socket) => {
    socket.write(frame('{"type":"error","code":"full"}'));
  });
  const { code, stderr } = await run("echo", "--port", String(server.port), "--login", "none", ...SMALL);
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: 'load: not welcome: {"type":"error","code":"full"}\n',
  });
});

cases("without a token it logs in before it has the hello", async () => {
  const message = JSON.stringify({ type: "hello", nonce: NONCE.toString("base64") });
  using server = fakeServer((socket, one, index) => {
    if (index === 0) socket.write(frame(message)); // only now
    echo(socket, one, index);
  }, false);
  const enter = ["enter", "--login", "none", "--slots", "2", "--warm-up", "2", "--times", "5"];
  const { code, stdout, stderr } = await run(...enter, "--port", String(server.port));
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const times = { p50: expect.any(Number), p99: expect.any(Number), max: expect.any(Number) };
  const steps = { hello: times, welcome: times, echoed: times, closed: times };
  expect(JSON.parse(stdout)).toEqual({ count: 5, wallNs: expect.any(Number), ...steps });
  expect(server.clients).toHaveLength(7);
  for (const { frames } of server.clients) {
    expect(json(frames[0]!)).toEqual({ type: "login", method: "none" });
    expect(frames[1]!.bytes).toHaveLength(68);
    expect(frames).toHaveLength(2);
  }
});

cases("a token is proven with the server's nonce", async () => {
  using server = fakeServer(echo);
  const { id, text } = mintToken();
  const login = ["--login", "token", "--token", text];
  const { code, stderr } = await run("echo", "--port", String(server.port), ...login, ...SMALL);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const proof = proveToken(parseToken(text)!.secret, TOKEN_LABEL, NONCE, Buffer.alloc(0)).toString("base64");
  for (const { frames } of server.clients)
    expect(json(frames[0]!)).toEqual({ type: "login", method: "token", id, proof });
});

cases(
  "with --acknowledge it says what connect says, every 256 messages, and keeps to the window",
  async () => {
    const received: number[] = [];
    let messages = 0;
    let mostUnacknowledged = 0;
    let acknowledged = 0;
    using server = fakeServer((socket, one, index) => {
      if (index === 0) return void socket.write(welcome({ control: true, window: 680 })); // ten messages
      if (one.isControl) return void received.push(json(one)["received"] as number);
      messages++;
      mostUnacknowledged = Math.max(mostUnacknowledged, messages - acknowledged);
      socket.write(one.bytes);
      if (messages - acknowledged < 10) return;
      acknowledged = messages;
      socket.write(frame(JSON.stringify({ type: "ack", received: messages }), CONTROL));
    });
    const many = ["--connections", "1", "--in-flight", "32", "--warm-up", "0", "--messages", "1030"];
    const login = ["--login", "none", "--acknowledge"];
    const { code, stderr } = await run("echo", "--port", String(server.port), ...login, ...many);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(json(server.clients[0]!.frames[0]!)).toEqual({
      type: "login",
      method: "none",
      control: true,
      resume_for: 120,
      window: 8388608,
    });
    expect(mostUnacknowledged).toBe(10);
    expect(received.length).toBeGreaterThanOrEqual(3);
    const gaps = received.map((count, index) => count - (received[index - 1] ?? 0));
    expect(Math.max(...gaps)).toBeLessThanOrEqual(256 + 32);
    expect(received.at(-1)).toBeLessThanOrEqual(1030);
  },
);
