// Programs on a terminal: what is said arrives as it was said, and neither side is buried by the other.

import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { codecFor } from "../../../src/services/program/codec.ts";
import { Run } from "../../../src/services/program/process.ts";
import { programOf, still, writtenBy } from "../../support/attack/programs.ts";
import { until, within } from "../../support/attack.ts";
import { tempFolder } from "../../support/folder.ts";
import type { Peer } from "../../support/peer.ts";
import { lacks } from "../../support/privileges.ts";
import { childrenOf, processesOf, runProgram, type Note } from "../../support/program.ts";

setDefaultTimeout(90_000);

const sh = (script: string, ...words: string[]): [string, ...string[]] => [
  "sh",
  "-c",
  script,
  "sh",
  ...words,
];
const grace = { inputMs: 20, termMs: 2000 };

/** The shell that a server has started. */
async function shellOf({ notes }: { notes: Note[] }): Promise<{ pid: number }> {
  const started = () => notes.find(({ event }) => event === "program-started")?.fields["pid"];
  await until("a program", true, () => started() !== undefined);
  return { pid: Number(started()) };
}

/** Reads payloads until `count` bytes have come. */
async function bytesOf(peer: Peer, count: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let length = 0; length < count; length += pieces.at(-1)?.length ?? 0) {
    const frame = await within("output", peer.frame());
    if (frame === null) throw new Error("the stream has ended");
    if (!frame.control) pieces.push(Buffer.from(frame.payload));
    else pieces.push(Buffer.alloc(0));
  }
  return Buffer.concat(pieces);
}

test("a program in raw mode that was held reads what its client has said, and nothing else", async () => {
  const COUNT = 20_000_000;
  const script = `stty raw -echo; head -c ${COUNT} /dev/zero; head -c 5; exec sleep 1000`;
  await using server = await runProgram(sh(script), { pty: true, io: "bytes", grace });
  using peer = await server.peer();
  await peer.enter();
  const head = await programOf(await shellOf(server), "head");
  peer.socket.pause();
  expect(await still(() => writtenBy(head))).toBeLessThan(COUNT);
  peer.send("hello");
  peer.socket.resume();
  const output = await bytesOf(peer, COUNT + 5);
  expect(output.subarray(COUNT).toString()).toBe("hello");
  expect(output.subarray(0, COUNT).every((byte) => byte === 0)).toBe(true);
  peer.reset();
});

test("4 MB that are typed at once arrive whole, and come back whole", async () => {
  await using server = await runProgram(sh("stty raw -echo; echo; exec cat"), {
    pty: true,
    io: "bytes",
    grace,
  });
  using peer = await server.peer();
  await peer.enter();
  await bytesOf(peer, 1);
  const typed = randomBytes(4_000_000);
  for (let at = 0; at < typed.length; at += 70_001) peer.send(typed.subarray(at, at + 70_001));
  expect((await bytesOf(peer, typed.length)).equals(typed)).toBe(true);
  peer.reset();
});

test("what it writes last arrives, held or not", async () => {
  await using server = await runProgram(sh("stty raw; seq 100000; printf end"), {
    pty: true,
    io: "bytes",
    grace,
  });
  for (let count = 0; count < 5; count++) {
    using peer = await server.peer();
    await peer.enter();
    const frames = await within("the end", peer.rest());
    const output = Buffer.concat(frames.filter(({ control }) => !control).map(({ payload }) => payload));
    expect(output.length).toBe(588_895 + 3);
    expect(output.subarray(-3).toString()).toBe("end");
    peer.end();
  }
});

test("while its client is away the window of the session holds it", async () => {
  await using server = await runProgram(
    sh("stty raw -echo; head -c 1 >/dev/null; exec yes 'a line of output'"),
    { pty: true, grace },
    { resumeForMs: 60_000 },
  );
  using peer = await server.peer();
  await peer.enter({ control: true, resume_for: 60 });
  const { pid } = await shellOf(server);
  await programOf({ pid }, "head");
  peer.send("x");
  peer.reset();
  await server.event("lost");
  await until("output", true, () => writtenBy(pid) > 10_000);
  expect(await still(() => writtenBy(pid))).toBeLessThan(1024 * 1024);
  expect(server.server.stats().detached).toBe(1);
});

test("a held program is let go when its client leaves, so that it can end as it likes", async () => {
  using folder = tempFolder();
  const said = join(folder.path, "said");
  const script = `stty raw; trap 'seq 50000; echo >"$1"; exit' TERM; yes`;
  await using server = await runProgram(sh(script, said), { pty: true, grace });
  using peer = await server.peer();
  await peer.enter();
  const yes = await programOf(await shellOf(server), "yes");
  peer.socket.pause();
  await still(() => writtenBy(yes));
  peer.reset();
  await until("its last word", true, () => existsSync(said));
});

test.skipIf(lacks("python3"))("a program that undoes the hold is ended, and its client told", async () => {
  const script = `
import os, termios, threading
def undo():
    while True: termios.tcflow(1, termios.TCOON)
threading.Thread(target=undo, daemon=True).start()
while True: os.write(1, b"y" * 4096)`;
  const codec = codecFor("bytes", 100);
  const run = new Run({ argv: ["python3", "-c", script], env: {}, codec, grace, pty: true });
  const output = run.output();
  await within("its beginning", output.next());
  await until("much that is not read", true, () => writtenBy(run.pid) > 2_000_000);
  const rest = (async () => {
    for await (const _ of output);
  })();
  expect(await within("the end", rest.catch(String))).toContain("could not be paused");
  await run.stop();
  expect(processesOf(run.pid)).toEqual([]);
});

describe("a client that is a terminal", () => {
  const terminal = { term: "vt100", columns: 120, rows: 40 };
  const joined = { control: true, terminal };

  /** Reads output until `wanted` is in it. */
  async function see(peer: Peer, wanted: string): Promise<string> {
    for (let text = ""; ;) {
      const frame = await within(`${wanted} in ${JSON.stringify(text)}`, peer.frame());
      if (frame === null) throw new Error(`it ended without ${wanted}: ${text}`);
      if (!frame.control) text += frame.payload.toString();
      if (text.includes(wanted)) return text;
    }
  }

  test("is announced, and the program has its kind and size from the start, and the next size at once", async () => {
    const script = "echo $TERM; stty size; trap 'stty size' WINCH; echo ready; while :; do sleep 0.02; done";
    await using server = await runProgram(sh(script), { pty: true, grace });
    using peer = await server.peer();
    const hello = await peer.message();
    expect(hello).toMatchObject({ terminal: true, messages: "lines" });
    peer.json({ type: "login", method: "none", resume_for: 0, ...joined });
    expect(await peer.message()).toMatchObject({ type: "welcome" });
    expect(await see(peer, "ready")).toBe("vt100\r\n40 120\r\nready\r\n");
    peer.control({ type: "window", columns: 1000, rows: 1 });
    await see(peer, "1 1000\r\n");
    peer.control({ type: "window", columns: 33, rows: 44 });
    await see(peer, "44 33\r\n");
    peer.reset();
  });

  test.each([
    ["no terminal", { control: true }, "24 80"],
    ["no control frames", { terminal }, "24 80"],
    ["a terminal of no kind", { control: true, terminal: { columns: 10, rows: 5 } }, "5 10"],
  ])("%s: the program has what is said, or the usual", async (_, login, size) => {
    await using server = await runProgram(sh("echo $TERM; stty size"), { pty: true, grace });
    using peer = await server.peer();
    await peer.enter(login);
    const text = await see(peer, size);
    if ("terminal" in login && "control" in login) expect(text).toContain("dumb");
    peer.reset();
  });

  test("sends keys, not lines: Ctrl-C is a signal for the program, and nothing is added", async () => {
    const loop = 'while [ -z "$heard" ]; do sleep 0.02; done';
    const script = `trap 'heard=1' INT; stty -echo -icanon min 1; echo ready; ${loop}; echo interrupted; od -An -tx1 -N2`;
    await using server = await runProgram(sh(script), { pty: true, grace });
    using peer = await server.peer();
    await peer.enter(joined);
    await see(peer, "ready");
    peer.send("\x03");
    await see(peer, "interrupted");
    peer.send("a");
    peer.send("\r");
    expect(await see(peer, "61")).toContain("61 0a"); // Enter, as the terminal turns it
    peer.reset();
  });

  test("the size arrives while the program reads nothing and keys wait for it, as does the client's leaving", async () => {
    const script =
      "stty raw -echo; trap 'stty size' WINCH; trap 'echo hung up > \"$1\"; exit' HUP; echo ready; while :; do sleep 0.02; done";
    using folder = tempFolder();
    const said = join(folder.path, "said");
    await using server = await runProgram(sh(script, said), { pty: true, grace });
    using peer = await server.peer();
    await peer.enter(joined);
    await see(peer, "ready");
    for (let sent = 0; sent < 512; sent++) peer.send(Buffer.alloc(1024, "x"));
    peer.control({ type: "window", columns: 77, rows: 7 });
    await see(peer, "7 77");
    peer.control({ type: "bye", code: "left", message: "" });
    await until("a hang-up", true, () => existsSync(said));
  });

  test("hangs up when it leaves: a shell and its job end, whatever they do with the end of their input", async () => {
    await using server = await runProgram(["sh", "-i"], {
      pty: true,
      grace: { inputMs: 60_000, termMs: 60_000 },
    });
    using peer = await server.peer();
    await peer.enter(joined);
    peer.send("set -o ignoreeof; sleep 1000 | cat\r");
    const shell = await shellOf(server);
    await until("the processes of a job", 2, () => childrenOf(shell.pid).length);
    peer.control({ type: "bye", code: "left", message: "" });
    const ended = () => server.notes.some(({ event }) => event === "program-ended");
    await until("the end of the program", true, ended);
  });

  test("a window for a program that has ended, on pipes, or of no terminal's size", async () => {
    await using server = await runProgram(["cat"], { grace });
    using peer = await server.peer();
    await peer.enter();
    peer.control({ type: "window", columns: 80, rows: 24 });
    peer.send("still here");
    expect(await peer.text()).toBe("still here");
    peer.control({ type: "window", columns: 80, rows: 0 });
    expect((await peer.message())["code"]).toBe("bad_message");
  });
});
