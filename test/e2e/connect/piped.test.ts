// parley connect in a pipe: what goes in comes out, whole and in order, in every notation.

import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { cleanEnv, EXECUTABLE, run, serve, shell, type Serving } from "../../support/executable.ts";
import { fakeServer, HELLO, letIn, WELCOME } from "../../support/fake-server.ts";
import { tempFolder } from "../../support/folder.ts";
import { frame } from "../../support/peer.ts";

setDefaultTimeout(90_000);

let server: Serving;
beforeAll(async () => {
  server = await serve(["--auth", "none"]);
});
afterAll(async () => {
  await server.stop();
  await server[Symbol.asyncDispose]();
});

/** Pipes `stdin` through the echo server. */
async function echo(stdin: string | Uint8Array, ...flags: string[]): Promise<Uint8Array> {
  const { exitCode, bytes, stderr } = await run(["connect", server.address, ...flags], { stdin });
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
  return bytes;
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

describe("lines", () => {
  const cases: [what: string, stdin: string, stdout: string][] = [
    ["two", "a\nb\n", "a\nb\n"],
    ["a last one without its newline", "a\nb", "a\nb\n"],
    ["one without its newline", "a", "a\n"],
    ["empty ones", "\n\na\n\n", "\n\na\n\n"],
    ["a single empty one", "\n", "\n"],
    ["none", "", ""],
    ["carriage returns before newlines go", "a\r\nb\r\n", "a\nb\n"],
    ["a carriage return within stays", "a\rb\n", "a\rb\n"],
    ["line separators are no newlines", "a\u2028b\u0085c\n", "a\u2028b\u0085c\n"],
    ["Cyrillic", "привет, мир\n", "привет, мир\n"],
    ["Chinese and emoji", "你好，世界\n👩‍👩‍👧\n", "你好，世界\n👩‍👩‍👧\n"],
    ["control characters, raw in a pipe", "\u001b[2J\u0007\u202e\n", "\u001b[2J\u0007\u202e\n"],
    ["one that begins with a slash", "/quit\n//x\n", "/quit\n//x\n"],
  ];
  test.each(cases)("%s", async (_, stdin, stdout) => {
    expect(text(await echo(stdin))).toBe(stdout);
  });

  test("bytes that are not UTF-8 come back unchanged", async () => {
    const line = Buffer.from([0xff, 0xfe, 0x00, 0x80, 0x0a]);
    expect(Buffer.from(await echo(line)).equals(line)).toBe(true);
  });

  test("the longest that the server takes", async () => {
    const line = `${"x".repeat(1024 * 1024)}\n`;
    expect(text(await echo(line)) === line).toBe(true);
  });
});

test("-0: NUL ends a message, both ways, and newlines are part of it", async () => {
  expect(text(await echo("a\nb\0c\r\0\0last", "-0"))).toBe("a\nb\0c\r\0\0last\0");
});

test("--raw: 5,000,000 random bytes come back identical", async () => {
  const sent = randomBytes(5_000_000);
  const got = await echo(sent, "--raw");
  expect(got.length).toBe(sent.length);
  expect(sha256(got)).toBe(sha256(sent));
});

test("200,000 lines in order through a slow reader", async () => {
  const sent = Array.from({ length: 200_000 }, (_, i) => `line ${i} ${"x".repeat(i % 50)}\n`).join("");
  using folder = tempFolder();
  const client = Bun.spawn([EXECUTABLE, "connect", server.address], {
    stdin: Buffer.from(sent),
    stdout: "pipe",
    stderr: "pipe",
    env: cleanEnv(join(folder.path, "data")),
  });
  const chunks: Uint8Array[] = [];
  for await (const chunk of client.stdout) {
    chunks.push(chunk);
    // Slower than the server answers: the pipe stays full.
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await client.exited).toBe(0);
  expect(text(Buffer.concat(chunks)) === sent).toBe(true);
});

describe("--send", () => {
  test("sends each, prints each answer, reads no stdin", async () => {
    const { exitCode, stdout } = await run(
      ["connect", server.address, "--send", "one", "--send", "", "--send", "три"],
      { stdin: "not this\n" },
    );
    expect([exitCode, stdout]).toEqual([0, "one\n\nтри\n"]);
  });

  test("with --count leaves after so many answers", async () => {
    const { exitCode, stdout } = await run([
      "connect",
      server.address,
      "--send",
      "a",
      "--send",
      "b",
      "--send",
      "c",
      "--count",
      "2",
    ]);
    expect([exitCode, stdout]).toEqual([0, "a\nb\n"]);
  });

  test("a greeting that is answer enough does not keep it from being sent", async () => {
    using folder = tempFolder();
    const [handler, heard] = [join(folder.path, "greeting.ts"), join(folder.path, "heard")];
    const code = `import { appendFileSync } from "node:fs";
      export default {
        open(session) { session.send("welcome"); },
        message(session, message) { appendFileSync(${JSON.stringify(heard)}, message.bytes); },
      };`;
    await Bun.write(handler, code);
    await using greeting = await serve(["--auth", "none", "--handler", handler]);
    const argv = ["connect", greeting.address, "--send", "a", "--send", "b", "--count", "1"];
    const { exitCode, stdout } = await run(argv);
    expect([exitCode, stdout, await Bun.file(heard).text()]).toEqual([0, "welcome\n", "ab"]);
    await greeting.stop();
  });

  describe("and with a service that never ends by itself", () => {
    async function talk(...flags: string[]): Promise<[number, string, string]> {
      using folder = tempFolder();
      const handler = join(folder.path, "endless.ts");
      const code = `export default {
        message(session, message) { session.send(message); session.send("and more"); },
        end() {},
      };`;
      await Bun.write(handler, code);
      await using endless = await serve(["--auth", "none", "--handler", handler]);
      const argv = ["connect", endless.address, "--send", "a", "--count", "1", ...flags];
      const { exitCode, stdout, stderr } = await run(argv);
      await endless.stop();
      return [exitCode, stdout, stderr];
    }

    test("nothing is amiss once all that was sent is confirmed", async () => {
      expect(await talk()).toEqual([0, "a\n", ""]);
    });

    test("it leaves when the server has confirmed all and answered a ping, and not before", async () => {
      const session = { session: "s", resume_key: Buffer.alloc(32).toString("base64"), resume_for: 60 };
      const control = (message: object) => frame(JSON.stringify(message), true);
      let leftEarly: boolean | undefined;
      using fake = await fakeServer(async (socket, received) => {
        socket.write(frame(JSON.stringify(HELLO)));
        await received.see('"login"');
        socket.write(frame(JSON.stringify({ ...WELCOME, ...session })));
        await received.see("question");
        socket.write(frame("answer"));
        await received.see('"type":"ping","n":0');
        socket.write(control({ type: "pong", n: 0 }));
        socket.write(control({ type: "ping", n: 5 }));
        await received.see('"type":"pong","n":5'); // it knows the answer to its ping
        leftEarly = received.text.includes('"left"');
        socket.write(control({ type: "ack", received: 1 }));
      });
      const argv = ["connect", fake.address, "--send", "question", "--count", "1"];
      const { exitCode, stdout, stderr } = await run(argv);
      expect([exitCode, stdout, stderr]).toEqual([0, "answer\n", ""]);
      expect(leftEarly).toBe(false);
    });

    test("no more answers are waited for: --timeout has nothing to say", async () => {
      expect(await talk("--timeout", "500ms")).toEqual([0, "a\n", ""]);
    });

    test("whose exit status was asked for, that is what is missing", async () => {
      const [exitCode, stdout, stderr] = await talk("--exit-status");
      expect([exitCode, stdout]).toEqual([1, "a\n"]);
      expect(stderr).toContain("was still running 2 s after the last of the --count answers");
    });

    test("one that confirms nothing has its time, and then that is said", async () => {
      using fake = await fakeServer(async (socket, received) => {
        await letIn(socket, received);
        await received.see("question");
        socket.write(frame("answer"));
      });
      const argv = ["connect", fake.address, "--send", "question", "--count", "1"];
      const { exitCode, stdout, stderr } = await run(argv);
      expect([exitCode, stdout]).toEqual([6, "answer\n"]);
      expect(stderr).toContain("did not confirm every message: sent 1, received 1");
    });
  });
});

describe("--json", () => {
  test("every event is an object on its line, in the order of what happened", async () => {
    const lines = text(await echo("a\nпривет\n", "--json"))
      .trimEnd()
      .split("\n");
    const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    for (const { time } of events) expect(new Date(String(time)).toISOString()).toBe(String(time));
    const names = events.map(({ event }) => event);
    expect(names.slice(0, 2)).toEqual(["connected", "logged-in"]);
    expect(names.at(-1)).toBe("bye");
    const content = (name: string) =>
      events.filter(({ event }) => event === name).map((event) => event["text"]);
    expect(content("sent")).toEqual(["a", "привет"]);
    expect(content("received")).toEqual(["a", "привет"]);
  });

  test("bytes that are not UTF-8 are base64", async () => {
    const lines = text(await echo(Buffer.from([0xff, 0x00, 0x0a]), "--json"))
      .trimEnd()
      .split("\n");
    const received = lines.find((line) => line.includes('"received"')) ?? "";
    expect(JSON.parse(received)).toMatchObject({ event: "received", base64: "/wA=" });
    expect(received).not.toContain('"text"');
  });
});

describe("a line over the server's limit", () => {
  test("is refused with its number, and what came before it is answered", async () => {
    await using small = await serve(["--auth", "none", "--max-frame", "1kb"]);
    const stdin = `first\nsecond\n${"x".repeat(1025)}\nfourth\n`;
    const { exitCode, stdout, stderr } = await run(["connect", small.address], { stdin });
    expect(exitCode).toBe(1);
    expect(stdout).toBe("first\nsecond\n");
    expect(stderr).toMatch(/^parley: error: line 3 .*1024 bytes/);
    await small.stop();
  });

  test("is not refused at the limit itself", async () => {
    await using small = await serve(["--auth", "none", "--max-frame", "1kb"]);
    const { exitCode, stdout } = await run(["connect", small.address], { stdin: `${"x".repeat(1024)}\r\n` });
    expect(exitCode).toBe(0);
    expect(stdout).toHaveLength(1025);
    await small.stop();
  });

  test("of --send is refused too", async () => {
    await using small = await serve(["--auth", "none", "--max-frame", "1kb"]);
    const argv = ["connect", small.address, "--send", "ok", "--send", "x".repeat(1025)];
    const { exitCode, stdout, stderr } = await run(argv);
    expect([exitCode, stdout]).toEqual([1, "ok\n"]);
    expect(stderr).toContain("1025 bytes");
    await small.stop();
  });
});

test("--bare on both sides", async () => {
  await using bare = await serve(["--bare"]);
  const { exitCode, stdout } = await run(["connect", bare.address, "--bare"], { stdin: "a\n\nпривет" });
  expect([exitCode, stdout]).toEqual([0, "a\n\nпривет\n"]);
  await bare.stop();
});

test("a reader that leaves early (head -1) brings no stack trace, and is said", async () => {
  const script = 'seq 1 300000 | "$@" 2>err | head -1; echo "${PIPESTATUS[1]}"; cat err';
  const { stdout } = await shell(script, ["connect", server.address]);
  const [answer, code, ...stderr] = stdout.trimEnd().split("\n");
  expect(answer).toBe("1");
  expect(code).toBe("1");
  expect(stderr).toHaveLength(1);
  expect(stderr[0]).toStartWith("parley: error: cannot write standard output: its reader has left");
});

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
