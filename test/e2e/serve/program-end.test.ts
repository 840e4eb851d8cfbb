// How programs end: whoever leaves, and however the server is ended, nothing of a process group stays, and what is
// endless stays bounded.

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { descriptors, residentBytes, until, within } from "../../support/attack.ts";
import { EXECUTABLE, cleanEnv, serve, type Serving } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { frame, Peer } from "../../support/peer.ts";
import { childrenOf, processesOf } from "../../support/program.ts";

setDefaultTimeout(90_000);

const MIB = 1024 * 1024;
/** A program that ignores TERM and the end of its input, with a grandchild that does too; says its process group. */
const STUBBORN = "trap '' TERM HUP INT; (sleep 1000; :) & echo $$; while :; do sleep 1000; done";
/** 250 ms and 2 s, and what a busy machine takes; they would stay for 1000 s. */
const GONE_MS = 20_000;

function serveSh(script: string, flags: string[] = []): Promise<Serving> {
  return serve(["--auth", "none", ...flags, "--", "sh", "-c", script]);
}

/** Enters; the program's process group, which is the first thing it says. */
async function enterGroup(peer: Peer, extra: object = { control: true }): Promise<number> {
  await peer.enter(extra);
  const group = Number(await peer.text());
  // The first process, and the grandchild's two.
  await until("processes of the group", true, () => processesOf(group).length >= 3);
  return group;
}

async function goneWithin(group: number, began: number): Promise<void> {
  await until("processes of the group", [], () => processesOf(group));
  expect(performance.now() - began).toBeLessThan(GONE_MS);
}

describe("a group that ignores TERM is gone", () => {
  test.each<[string, (peer: Peer) => void]>([
    ["a reset", (peer) => peer.reset()],
    [
      "end, then nobody",
      (peer) => {
        peer.control({ type: "end" });
        peer.socket.destroy();
      },
    ],
    [
      "end, then FIN, then nobody",
      (peer) => {
        peer.control({ type: "end" });
        peer.send("too late");
        peer.socket.destroy();
      },
    ],
  ])("after %s", async (_, leave) => {
    await using server = await serveSh(STUBBORN);
    using peer = await Peer.connect(server.port);
    const group = await enterGroup(peer);
    const began = performance.now();
    leave(peer);
    await goneWithin(group, began);
    await server.stop();
  });

  test.each(["SIGTERM", "SIGINT"] as const)("after %s and the drain, with the server", async (signal) => {
    await using server = await serveSh(STUBBORN, ["--drain", "500ms"]);
    using peer = await Peer.connect(server.port);
    const group = await enterGroup(peer);
    const began = performance.now();
    server.signal(signal);
    expect(await server.exited).toBe(0);
    expect(processesOf(group)).toEqual([]);
    expect(performance.now() - began).toBeLessThan(500 + GONE_MS);
  });

  test("at once after a second signal", async () => {
    await using server = await serveSh(STUBBORN, ["--drain", "1h"]);
    using peer = await Peer.connect(server.port);
    const group = await enterGroup(peer);
    server.signal("SIGTERM");
    const again = setInterval(() => server.signal("SIGTERM"), 100);
    try {
      expect(await server.exited).toBe(0);
    } finally {
      clearInterval(again);
    }
    expect(processesOf(group)).toEqual([]);
  });

  test("a program that has closed its input, and whose client had more to say", async () => {
    await using server = await serveSh(`exec 0<&-; ${STUBBORN}`);
    using peer = await Peer.connect(server.port);
    const group = await enterGroup(peer);
    for (let i = 0; i < 100; i++) peer.send("nobody reads this");
    using other = await Peer.connect(server.port);
    await enterGroup(other); // by then the server has tried to write it
    const began = performance.now();
    peer.reset();
    await goneWithin(group, began);
    other.reset();
    await server.stop();
  });

  test("what a program leaves behind when it ends before its client", async () => {
    await using server = await serveSh("trap '' TERM; (sleep 1000; :) >/dev/null 2>&1 & echo $$; exit 0");
    using peer = await Peer.connect(server.port);
    await peer.enter();
    const group = Number(await peer.text());
    const began = performance.now();
    expect(await peer.message()).toMatchObject({ type: "bye", status: 0 });
    peer.end();
    await peer.closed;
    await goneWithin(group, began);
    await server.stop();
  });
});

test("the caller's own process group hears of none of it", async () => {
  using folder = tempFolder();
  const said = join(folder.path, "said");
  writeFileSync(said, "");
  // The server's neighbour in its group would write down any signal.
  const script = `
    setsid --wait sh -c '
      (trap "echo TERM >>\\"$1\\"" TERM; trap "echo HUP >>\\"$1\\"" HUP; while [ -e "$1" ]; do sleep 0.05; done) &
      "$2" serve --auth none --port-file "$3" --port 0 -- sh -c "$4" & server=$!
      echo $server; wait $server; echo "ended $?"' sh "$@"`;
  const args = [said, EXECUTABLE, join(folder.path, "port"), STUBBORN];
  const child = Bun.spawn(["sh", "-c", script, "sh", ...args], {
    cwd: folder.path,
    env: cleanEnv(folder.path),
    stdout: "pipe",
  });
  const reader = child.stdout.getReader();
  let output = "";
  const see = async (wanted: RegExp) => {
    for (;;) {
      const match = wanted.exec(output);
      if (match !== null) return match;
      output += Buffer.from((await within("output", reader.read())).value ?? []).toString();
    }
  };
  const [, port] = await see(/127\.0\.0\.1:(\d+)/);
  const [, pid] = await see(/^(\d+)$/m);
  using peer = await Peer.connect(Number(port));
  const group = await enterGroup(peer);
  expect(processesOf(group).includes(Number(pid))).toBe(false);
  peer.reset();
  await until("processes of the group", [], () => processesOf(group));
  process.kill(Number(pid), "SIGTERM");
  await see(/ended 0/);
  expect(await Bun.file(said).text()).toBe("");
  rmSync(said);
  await child.exited;
});

describe("bounded:", () => {
  const EITHER = 'read -r x; if [ "$x" = cat ]; then exec cat; fi; eval "$x"';

  /** Round trips of somebody else, who must not notice. */
  async function talk(peer: Peer): Promise<void> {
    for (let i = 0; i < 300; i++) {
      peer.send(`message ${i}`);
      expect(await within("an answer", peer.text())).toBe(`message ${i}`);
    }
  }

  test.each([
    ["answers", []],
    ["complaints, logged", ["--log", "/dev/null"]],
    ["complaints, told", ["--program-stderr", "client"]],
  ])("endless %s for a client that reads them", async (what, flags) => {
    await using server = await serveSh(EITHER, flags);
    using reader = await Peer.connect(server.port);
    using other = await Peer.connect(server.port);
    for (const peer of [reader, other]) await peer.enter({ control: true });
    const before = residentBytes(server.pid);
    reader.socket.removeAllListeners("data").on("data", () => undefined);
    if (what === "answers") reader.send("exec yes");
    else reader.send("exec yes >&2");
    other.send("cat");
    await talk(other);
    expect(residentBytes(server.pid) - before).toBeLessThan(64 * MIB);
    reader.reset();
    await until("programs", 1, () => childrenOf(server.pid).length);
    other.reset();
    await server.stop();
  });

  test("100 MB for a program that reads nothing", async () => {
    await using server = await serveSh(EITHER);
    using deaf = await Peer.connect(server.port);
    using other = await Peer.connect(server.port);
    for (const peer of [deaf, other]) await peer.enter();
    const before = residentBytes(server.pid);
    deaf.send("exec sleep 1000");
    const block = frame(Buffer.alloc(MIB - 4, "x"));
    for (let i = 0; i < 100; i++) deaf.raw(block);
    other.send("cat");
    await talk(other);
    expect(residentBytes(server.pid) - before).toBeLessThan(48 * MIB);
    deaf.reset();
    await until("programs", 1, () => childrenOf(server.pid).length);
    other.reset();
    await server.stop();
  });
});

test("sessions by the hundred leave no process, descriptor or memory behind", async () => {
  const COUNT = Number(process.env["PARLEY_SESSIONS"] ?? 100);
  await using server = await serve([
    "--auth",
    "none",
    "--max-pending",
    "200",
    "--max-pending-per-address",
    "200",
    "--",
    "cat",
  ]);
  const once = async (index: number) => {
    using peer = await Peer.connect(server.port);
    await peer.enter();
    peer.send(`message ${index}`);
    expect(await within("an answer", peer.text())).toBe(`message ${index}`);
    if (index % 3 === 0) return peer.reset();
    peer.control({ type: "end" });
    expect((await within("the end", peer.rest())).length).toBe(1);
    peer.end();
    await peer.closed;
  };
  const rest = async () => {
    await until("programs", [], () => childrenOf(server.pid));
    const open = descriptors(server.pid);
    return { open, memory: residentBytes(server.pid) };
  };
  for (let i = 0; i < 20; i++) await once(i);
  const before = await rest();
  for (let i = 0; i < COUNT; i++) await once(i);
  for (let round = 0; round < Math.max(1, COUNT / 500); round++) {
    await Promise.all(Array.from({ length: 100 }, (_, index) => once(index)));
  }
  await until("programs", [], () => childrenOf(server.pid));
  await until("descriptors", true, () => descriptors(server.pid) <= before.open);
  expect((await rest()).memory - before.memory).toBeLessThan(48 * MIB);
  await server.stop();
});
