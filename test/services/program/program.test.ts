// A program behind the login: its words, its surroundings, what it reads and says, and how its end is told.

import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { ProgramIo } from "../../../src/services/program/codec.ts";
import { program } from "../../../src/services/program/program.ts";
import { until } from "../../support/attack.ts";
import { tempFolder } from "../../support/folder.ts";
import { converse, hear, remember, runProgram } from "../../support/program.ts";

setDefaultTimeout(90_000);

const sh = (script: string): [string, ...string[]] => ["sh", "-c", script];

describe("what it is started with", () => {
  test("words arrive as they are: no shell takes them apart", async () => {
    const words = ["a word", "'\"`", "$HOME", "*", "\\n;|&", "", "-x", "ж\n2"];
    await using server = await runProgram(["printf", "[%s]\\0", ...words], { io: "bytes" });
    const { said } = await converse(server, []);
    expect(Buffer.concat(said).toString()).toBe(words.map((word) => `[${word}]\0`).join(""));
  });

  test("no descriptor but the three that it needs", async () => {
    await using server = await runProgram(sh('exec 2>/dev/null; ls -1 "/proc/$$/fd"; cat'));
    using others = await server.peer();
    await others.enter();
    const { texts } = await converse(server, []);
    expect(texts).toEqual(["0", "1", "2"]);
  });

  test("no fewer descriptors than this process needs to start it, which may be more than the usual limit", async () => {
    const crowd = Array.from({ length: 1100 }, () => fs.openSync("/dev/null", "r"));
    try {
      await using server = await runProgram(sh("ulimit -Sn"));
      expect((await converse(server, [])).texts).toEqual(["2048"]);
    } finally {
      for (const fd of crowd) fs.closeSync(fd);
    }
  });

  test("a process group of its own", async () => {
    await using server = await runProgram(sh("cut -d' ' -f1,5 /proc/$$/stat; cut -d' ' -f5 /proc/self/stat"));
    const { texts } = await converse(server, []);
    const [pid, group] = texts[0]?.split(" ") ?? [];
    expect(group).toBe(pid as string);
    expect(texts[1]).toBe(pid as string);
  });

  test("one that is not there is a usage error before anybody comes", () => {
    const { log } = remember();
    const base = { io: "lines", stderr: "log", pty: false, passEnv: [], maxMessage: 100, log } as const;
    expect(() => program({ ...base, argv: ["no-such-program-7"] })).toThrow(
      expect.objectContaining({ code: "usage", message: "there is no program no-such-program-7" }),
    );
  });

  test("one that goes away, or may not be run, fails its conversations, and the server goes on", async () => {
    using folder = tempFolder();
    const path = join(folder.path, "tool");
    await writeFile(path, "#!/bin/sh\ncat\n", { mode: 0o755 });
    await using server = await runProgram([path]);
    expect((await converse(server, ["works"])).texts).toEqual(["works"]);
    await writeFile(path, "#!/nowhere/sh\n");
    for (let i = 0; i < 2; i++) {
      const { bye } = await converse(server, []);
      expect(bye).toMatchObject({ code: "service_failed", message: "the program could not be started" });
    }
    await writeFile(path, "#!/bin/sh\necho again\n");
    expect((await converse(server, [])).texts).toEqual(["again"]);
  });
});

describe("lines", () => {
  test("a message is a line of input, whatever its bytes; the empty one too", async () => {
    await using server = await runProgram(["od", "-An", "-v", "-tx1", "-w256"]);
    const { texts } = await converse(server, ["ab", "", Buffer.from("ff00fe", "hex"), "ж"]);
    expect(texts.join("")).toBe(" 61 62 0a 0a ff 00 fe 0a d0 b6 0a");
  });

  test.each([
    ["a last line without its newline", "a\\nb", ["a", "b"]],
    ["empty lines", "\\n\\na\\n\\n", ["", "", "a", ""]],
    ["CRLF, which is a newline too", "a\\r\\nb\\r\\n", ["a", "b"]],
    ["a carriage return inside a line, and at the very end", "a\\rb\\nc\\r", ["a\rb", "c\r"]],
    ["U+2028 and U+0085, which end no line", "a\\342\\200\\250b\\302\\205c\\n", ["a\u2028b\u0085c"]],
    ["nothing", "", []],
  ])("output: %s", async (_, format, lines) => {
    await using server = await runProgram(["printf", format]);
    const { texts, bye } = await converse(server, []);
    expect(texts).toEqual(lines);
    expect(bye).toMatchObject({ code: "done", status: 0 });
  });

  test("bytes that are no text pass both ways", async () => {
    await using server = await runProgram(["cat"]);
    const bytes = Buffer.from("80ff00c328", "hex");
    expect((await converse(server, [bytes])).said).toEqual([bytes]);
  });

  test("a line over the limit ends the conversation with what was said before, and says so", async () => {
    await using server = await runProgram(sh("echo before; head -c 200 /dev/zero; echo; exec sleep 1000"), {
      maxMessage: 100,
    });
    const { texts, bye } = await converse(server, []);
    expect(texts).toEqual(["before"]);
    expect(String(bye?.["message"])).toContain("100");
    expect(bye?.["status"]).not.toBe(0);
  });
});

describe("frames", () => {
  test("a frame cut off by the program's end is told", async () => {
    await using server = await runProgram(["printf", "\\0\\0\\0\\1a\\0\\0\\0\\5ab"], { io: "frames" });
    const { texts, bye } = await converse(server, []);
    expect(texts).toEqual(["a"]);
    expect(bye).toMatchObject({ code: "service_failed" });
    expect(bye?.["message"]).toContain("output was cut off");
  });

  test("a length over the limit is told, and the program does not stay", async () => {
    await using server = await runProgram(["printf", "\\177\\0\\0\\0a"], { io: "frames" });
    const { bye } = await converse(server, []);
    expect(bye).toMatchObject({ code: "service_failed" });
    expect(bye?.["message"]).toContain("output was cut off");
  });
});

test.each<[ProgramIo, (index: number) => Buffer]>([
  ["lines", () => Buffer.from(randomBytes(749).toString("base64"))],
  ["bytes", () => randomBytes(64 * 1024)],
  ["frames", (index) => randomBytes((index * 7919) % 40_000)],
])("5 MB through %s come back the same", async (io, make) => {
  const messages: Buffer[] = [];
  for (let length = 0; length < 5_000_000; length += messages.at(-1)?.length ?? 0)
    messages.push(make(messages.length));
  await using server = await runProgram(["cat"], { io });
  const { said, bye } = await converse(server, messages);
  if (io !== "bytes") expect(said.length).toBe(messages.length);
  expect(Buffer.concat(said).equals(Buffer.concat(messages))).toBe(true);
  expect(bye).toMatchObject({ code: "done", status: 0 });
});

describe("the end", () => {
  test("of the input is the program's end of input; what it says then still arrives", async () => {
    await using server = await runProgram(["wc", "-l"]);
    const { texts } = await converse(server, ["a", "b", "c"]);
    expect(texts.map((text) => text.trim())).toEqual(["3"]);
  });

  test("FIN of a peer without control frames is end of input too", async () => {
    await using server = await runProgram(["wc", "-c"]);
    using peer = await server.peer();
    await peer.enter({});
    peer.send("1234");
    peer.end();
    const { texts, bye } = await hear(peer);
    expect(texts.map((text) => text.trim())).toEqual(["5"]);
    expect(bye).toBeUndefined();
  });

  test("an answer long after the end of the input arrives", async () => {
    using folder = tempFolder();
    const fifo = join(folder.path, "fifo");
    Bun.spawnSync(["mkfifo", fifo]);
    await using server = await runProgram(["sh", "-c", 'cat; echo ended; cat "$1"; echo last', "sh", fifo]);
    using peer = await server.peer();
    await peer.enter();
    peer.send("first");
    peer.control({ type: "end" });
    expect(await peer.text()).toBe("first");
    expect(await peer.text()).toBe("ended");
    await writeFile(fifo, "late\n");
    const { texts, bye } = await hear(peer);
    expect(texts).toEqual(["late", "last"]);
    expect(bye).toMatchObject({ code: "done", status: 0 });
  });

  test("a grandchild that still speaks is heard before bye", async () => {
    using folder = tempFolder();
    const fifo = join(folder.path, "fifo");
    Bun.spawnSync(["mkfifo", fifo]);
    await using server = await runProgram(["sh", "-c", 'cat "$1" & echo parent; exit 3', "sh", fifo]);
    using peer = await server.peer();
    await peer.enter();
    expect(await peer.text()).toBe("parent");
    await writeFile(fifo, "child\n");
    const { texts, bye } = await hear(peer);
    expect(texts).toEqual(["child"]);
    expect(bye).toMatchObject({ status: 3 });
  });

  test.each([
    ["0", "exit 0", 0],
    ["3", "exit 3", 3],
    ["255", "exit 255", 255],
    ["KILL", "kill -KILL $$", 137],
    ["TERM", "kill -TERM $$", 143],
    ["PIPE", "kill -PIPE $$", 141],
  ])("with %s: bye and the log say the status as a shell does", async (_, script, status) => {
    await using server = await runProgram(sh(script));
    const { bye } = await converse(server, []);
    expect(bye).toMatchObject({ type: "bye", code: "done", status });
    expect(server.notes.find(({ event }) => event === "program-ended")?.fields).toMatchObject({ status });
  });

  test("a program that ends while messages are on their way: its status, no failure", async () => {
    await using server = await runProgram(sh("read -r line; echo $line; exit 4"));
    const { texts, bye } = await converse(
      server,
      Array.from({ length: 5000 }, (_, i) => `message ${i}`),
    );
    expect(texts).toEqual(["message 0"]);
    expect(bye).toMatchObject({ code: "done", status: 4 });
    expect(server.events.filter(({ level }) => level === "error")).toEqual([]);
  });

  test("a program that closes its input and goes on is not disturbed", async () => {
    using folder = tempFolder();
    const fifo = join(folder.path, "fifo");
    Bun.spawnSync(["mkfifo", fifo]);
    await using server = await runProgram(["sh", "-c", 'exec 0<&-; echo closed; cat "$1"', "sh", fifo]);
    using peer = await server.peer();
    await peer.enter();
    expect(await peer.text()).toBe("closed");
    for (let i = 0; i < 2000; i++) peer.send("nobody reads this");
    peer.control({ type: "ping", n: 1 });
    expect(await peer.message()).toMatchObject({ type: "pong" }); // so it has all of them
    await writeFile(fifo, "done\n");
    const { texts, bye } = await hear(peer);
    expect(texts).toEqual(["done"]);
    expect(bye).toMatchObject({ status: 0 });
    expect(server.events.filter(({ level }) => level === "error")).toEqual([]);
  });
});

describe("standard error", () => {
  const script = sh("echo out; echo first >&2; printf 'no end' >&2");
  test.each([
    ["log", true, false],
    ["client", false, true],
    ["both", true, true],
  ] as const)("goes to %s", async (stderr, inLog, toClient) => {
    await using server = await runProgram(script, { stderr });
    const { texts, asides } = await converse(server, []);
    const logged = server.notes
      .filter(({ event }) => event === "program-stderr")
      .map(({ fields }) => fields["text"]);
    expect(texts).toEqual(["out"]);
    expect(asides).toEqual(toClient ? ["first", "no end"] : []);
    expect(logged).toEqual(inLog ? ["first", "no end"] : []);
  });

  test("goes to the log when the client has no way to hear it", async () => {
    await using server = await runProgram(sh("echo lost >&2; echo out"), { stderr: "client" });
    using peer = await server.peer();
    await peer.enter({ control: false });
    expect(await peer.text()).toBe("out");
    const said = () => server.notes.filter(({ event }) => event === "program-stderr").length;
    await until("lines in the log", 1, said);
  });

  test("a long line is cut into several, none of it lost", async () => {
    await using server = await runProgram(
      sh("head -c 10000 /dev/zero | tr '\\0' x >&2; echo >&2; echo y >&2"),
    );
    await converse(server, []);
    const logged = server.notes
      .filter(({ event }) => event === "program-stderr")
      .map(({ fields }) => String(fields["text"]));
    expect(logged.join("")).toBe(`${"x".repeat(10_000)}y`);
    for (const line of logged) expect(line.length).toBeLessThanOrEqual(4096);
  });

  test("a client that reads gets any amount of it: it is held back, not dropped", async () => {
    await using server = await runProgram(sh("seq 400000 >&2; echo done"), { stderr: "client" });
    const { asides, texts, bye } = await converse(server, []);
    expect(texts).toEqual(["done"]);
    expect(bye).toMatchObject({ code: "done", status: 0 });
    expect(asides.length).toBe(400_000);
  });
});

test("what a program was told of its client names that client alone", async () => {
  await using server = await runProgram(sh("echo $PARLEY_SESSION; cat"));
  const ids = await Promise.all(Array.from({ length: 8 }, async () => (await converse(server, [])).texts[0]));
  expect(new Set(ids).size).toBe(8);
  await until("programs", 8, () => server.notes.filter(({ event }) => event === "program-ended").length);
});
