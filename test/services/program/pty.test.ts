// Programs on a terminal: what is said arrives as it was said, and neither side is buried by the other.

import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, setDefaultTimeout, test } from "bun:test";
import { codecFor } from "../../../src/services/program/codec.ts";
import { Run } from "../../../src/services/program/process.ts";
import { programOf, still, writtenBy } from "../../support/attack/programs.ts";
import { until, within } from "../../support/attack.ts";
import { tempFolder } from "../../support/folder.ts";
import type { Peer } from "../../support/peer.ts";
import { lacks } from "../../support/privileges.ts";
import { processesOf, runProgram, type Note } from "../../support/program.ts";

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
