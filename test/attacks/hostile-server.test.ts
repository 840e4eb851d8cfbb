// A hostile server and what it costs a client: what was not printed yet holds up what is read, no announcement costs memory, and
// no answer makes the client dial in a loop.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import {
  countDials,
  cutAgain,
  ENDLESS,
  floodClient,
  FLOODS,
  turnAway,
} from "../support/attack/hostile-server.ts";
import { until } from "../support/attack.ts";
import { cleanEnv, EXECUTABLE, run } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { UnreadPipe } from "../support/unread-pipe.ts";
import { fakeServer, HELLO, letIn, WELCOME } from "../support/fake-server.ts";
import { frame } from "../support/peer.ts";

setDefaultTimeout(90_000);

const MIB = 1024 * 1024;
const FLOOD_BYTES = 80 * MIB;
/** A chunk of the shortest frames becomes many lines of a trace, or many characters of JSON. */
const MOST_MIB = 48;

describe.skipIf(!existsSync("/proc/self/status"))("memory does not grow with what a server sends:", () => {
  test.each([...FLOODS, ENDLESS].map((flood) => [flood.name, flood] as const))("%s", async (_, flood) => {
    const { growth, sent } = await floodClient(flood, FLOOD_BYTES);
    expect(sent).toBeGreaterThan(0);
    expect(growth).toBeLessThan(MOST_MIB);
  });
});

test("lines of standard error that nobody has read yet are all printed later", async () => {
  const lines = 2000;
  using server = await fakeServer(async (socket, received) => {
    await letIn(socket, received);
    for (let n = 0; n < lines; n++) {
      socket.write(frame(JSON.stringify({ type: "stderr", text: `${n} ${"x".repeat(1000)}` }), true));
    }
    socket.end(frame(JSON.stringify({ type: "bye", code: "done", message: "done", status: 0 }), true));
  });
  const { stderr, exitCode } = await run(["connect", server.address, "--send", "x"]);
  const numbers = [...stderr.matchAll(/^\d+(?= x+$)/gm)].map(([number]) => number);
  expect(numbers).toEqual(Array.from({ length: lines }, (_, n) => `${n}`));
  expect(exitCode).toBe(0);
});

test("the time in which standard error is not read is none of --timeout", async () => {
  const line = frame(JSON.stringify({ type: "stderr", text: "x".repeat(1000) }), true);
  const lines = 5000;
  using stderr = new UnreadPipe();
  using folder = tempFolder();
  using server = await fakeServer(async (socket, received) => {
    await letIn(socket, received);
    socket.write(Buffer.concat(Array<Uint8Array>(lines).fill(line)));
    socket.end(frame(JSON.stringify({ type: "bye", code: "done", message: "done", status: 0 }), true));
  });
  const child = Bun.spawn([EXECUTABLE, "connect", server.address, "--send", "x", "--timeout", "300ms"], {
    stdout: "ignore",
    stderr: stderr.fd,
    env: cleanEnv(folder.path),
  });
  try {
    await server.received.see('"login"');
    let looks = 0;
    await until("many looks, or its end", true, () => ++looks === 30 || child.exitCode !== null);
    expect(child.exitCode).toBeNull();
    await stderr.read(lines * 1001);
    expect(await child.exited).toBe(0);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

test("what a client sends is not printed with --json before there is room for it", async () => {
  using stdout = new UnreadPipe();
  using folder = tempFolder();
  using server = await fakeServer(() => undefined); // takes everything
  const child = Bun.spawn([EXECUTABLE, "connect", server.address, "--bare", "--json"], {
    stdin: new Blob([`${"x".repeat(1000)}\n`.repeat(20_000)]),
    stdout: stdout.fd,
    stderr: "ignore",
    env: cleanEnv(folder.path),
  });
  try {
    let looks = 0;
    let last = -1;
    await until("nothing more is sent", true, () => {
      const { length } = server.received.text;
      looks = length === last && length > 0 ? looks + 1 : 0;
      last = length;
      return looks === 20;
    });
    expect(server.received.text.length).toBeLessThan(2 * MIB); // of 20
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

describe("--max-frame", () => {
  /** A client of a server that sends one message of `bytes` bytes. */
  async function receive(bytes: number, ...argv: string[]) {
    using server = await fakeServer(async (socket, received) => {
      await letIn(socket, received);
      await received.see("hello");
      socket.write(frame("y".repeat(bytes)));
      socket.end(frame(JSON.stringify({ type: "bye", code: "done", message: "done", status: 0 }), true));
    });
    const { exitCode, stdout, stderr } = await run(["connect", server.address, "--send", "hello", ...argv]);
    return { exitCode, length: stdout.length, stderr };
  }

  test("is the longest message that a client accepts", async () => {
    expect(await receive(1024, "--max-frame", "1kb")).toEqual({ exitCode: 0, length: 1025, stderr: "" });
    const { exitCode, length, stderr } = await receive(1025, "--max-frame", "1kb");
    expect([exitCode, length]).toEqual([6, 0]);
    expect(stderr).toContain("frame of 1025 bytes is over the limit of 1024");
    expect(stderr).toContain("\nparley: hint: accept longer messages with --max-frame SIZE\n");
  });

  test("is 16 MiB without the flag", async () => {
    expect(await receive(16 * MIB)).toEqual({ exitCode: 0, length: 16 * MIB + 1, stderr: "" });
    expect(await receive(16 * MIB + 1)).toMatchObject({ exitCode: 6, length: 0 });
    expect(await receive(16 * MIB + 1, "--max-frame", "17mb")).toMatchObject({ exitCode: 0 });
  });
});

describe("a client never dials in a loop:", () => {
  test.each([
    ["it is turned away with retry_after 0", turnAway, ["--send", "x"]],
    ["each connection brings a message and is cut", cutAgain, ["--retry", "forever"]],
  ] as const)("%s", async (_, greet, argv) => {
    const times = await countDials(greet, [...argv], ({ length }) => length >= 13);
    const [first = 0, last = 0] = [times[0], times[12]];
    expect(last - first).toBeGreaterThan(2500); // ten at once, then one each second
  });
});

describe("--retry N ends after N tries in a row that brought nothing new:", () => {
  const key = Buffer.alloc(32).toString("base64");
  const session = { ...WELCOME, session: "s", resume_for: 60 };
  const json = (message: object) => frame(JSON.stringify(message));
  const ack = (received: number) => frame(JSON.stringify({ type: "ack", received }), true);

  /** How `--retry 3` ends with a server that sends `then` after each welcome, and ends the connection; and how often it dialled. */
  async function retry(then: Uint8Array, received = 0) {
    let dials = 0;
    using server = await fakeServer(async (socket, heard) => {
      const from = heard.text.length;
      const isFirst = dials++ === 0;
      socket.write(json(HELLO));
      await heard.see('"login"', from);
      socket.write(json({ ...session, ...(isFirst ? { resume_key: key } : { resumed: true, received }) }));
      await heard.see("hello");
      socket.end(then);
    });
    const { exitCode, stderr } = await run(["connect", server.address, "--send", "hello", "--retry", "3"]);
    return { exitCode, dials, stderr };
  }

  test("connections that are cut", async () => {
    const { exitCode, dials, stderr } = await retry(new Uint8Array(0));
    expect([exitCode, dials]).toEqual([6, 4]);
    expect(stderr).toContain("; later connections delivered nothing new: sent 1 (0 confirmed)");
  });

  test("acknowledgements that say nothing", async () => {
    expect(await retry(ack(0))).toMatchObject({ exitCode: 6, dials: 4 });
  });

  test("an acknowledgement of messages that were not sent ends it at once", async () => {
    const { exitCode, dials, stderr } = await retry(ack(2));
    expect([exitCode, dials]).toEqual([6, 1]);
    expect(stderr).toContain("the server acknowledged messages that were not sent");
  });

  test("a resume that counts what was never sent ends it at once", async () => {
    const { exitCode, dials, stderr } = await retry(new Uint8Array(0), 2);
    expect([exitCode, dials]).toEqual([6, 2]);
    expect(stderr).toContain("the server claims to have received more messages than were sent");
  });
});
