// How programs end: whoever leaves, in whatever way, nothing of a process group stays.

import * as fs from "node:fs";
import { describe, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { codecFor } from "../../../src/services/program/codec.ts";
import { Run } from "../../../src/services/program/process.ts";
import { descriptors, until, within } from "../../support/attack.ts";
import type { Peer } from "../../support/peer.ts";
import { childrenOf, enterGroup, processesOf, runProgram, STUBBORN } from "../../support/program.ts";

setDefaultTimeout(90_000);

/** Soon over, so that no test has to sit it out. */
const grace = { inputMs: 20, termMs: 50 };

const sh = (script: string): [string, ...string[]] => ["sh", "-c", script];
const runSh = (script: string) => runProgram(sh(script), { grace });

const gone = (group: number) => until("processes of the group", [], () => processesOf(group));

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
    await using server = await runSh(STUBBORN);
    using peer = await server.peer();
    const group = await enterGroup(peer);
    leave(peer);
    await gone(group);
  });

  test("a program that has closed its input, and whose client had more to say", async () => {
    await using server = await runSh(`exec 0<&-; ${STUBBORN}`);
    using peer = await server.peer();
    const group = await enterGroup(peer);
    for (let i = 0; i < 100; i++) peer.send("nobody reads this");
    using other = await server.peer();
    await enterGroup(other); // by then the server has tried to write it
    peer.reset();
    await gone(group);
    other.reset();
  });

  test("what a program leaves behind when it ends before its client", async () => {
    await using server = await runSh("trap '' TERM; (sleep 1000; :) >/dev/null 2>&1 & echo $$; exit 0");
    using peer = await server.peer();
    await peer.enter();
    const group = Number(await peer.text());
    expect(await peer.message()).toMatchObject({ type: "bye", status: 0 });
    peer.end();
    await peer.closed;
    await gone(group);
  });
});

describe("what has called setsid", () => {
  const LEAVES = `setsid sh -c 'trap "" TERM; echo $$; exec sleep 1000' & `;
  const runs = (pid: number) => processesOf(pid).includes(pid);

  test.each(["exec cat", "sleep 0.1"])(
    "is ended with its own conversation, and with no other: %s",
    async (then) => {
      await using server = await runSh(LEAVES + then);
      using peer = await server.peer();
      await peer.enter();
      using other = await server.peer();
      await other.enter();
      const [own, others] = [Number(await peer.text()), Number(await other.text())];
      peer.reset();
      await until("it runs", false, () => runs(own));
      expect(runs(others)).toBe(true);
      other.reset();
      await until("it runs", false, () => runs(others));
    },
  );

  test("keeps no descriptor when it is not known, and ends with the server", async () => {
    const server = await runSh(`env -i setsid sh -c 'echo $$; exec sleep 1000' & exec cat`);
    using other = await server.peer();
    await other.enter();
    const before = descriptors("self");
    using peer = await server.peer();
    await peer.enter();
    const left = Number(await peer.text());
    peer.reset();
    await peer.closed;
    await until("descriptors", true, () => descriptors("self") <= before);
    expect(runs(left)).toBe(true);
    other.reset();
    await server[Symbol.asyncDispose]();
    await until("it runs", false, () => runs(left));
  });

  test("is waited for, once it has ended", async () => {
    await using server = await runSh("setsid true & setsid true & exec cat");
    using peer = await server.peer();
    await peer.enter();
    peer.send("x");
    expect(await peer.text()).toBe("x");
    peer.reset();
    await until("children", [], () => childrenOf(process.pid));
  });
});

const codec = codecFor("lines", 100);

test("once nothing is left of it, its number is not signalled any more: it may be another's", async () => {
  const run = new Run({ argv: sh("exit 3"), env: {}, codec, grace, pty: false });
  expect(await within("its end", run.status)).toBe(3);
  using kill = spyOn(process, "kill");
  await run.stop();
  expect(kill).not.toHaveBeenCalled();
});

test("short of descriptors, the jobs of a terminal are not taken for ended", async () => {
  const argv = sh("set -m; trap '' HUP; sleep 1000 & echo; wait $!");
  const run = new Run({ argv, env: {}, codec, grace, pty: true });
  await within("its beginning", run.output().next());
  const { readdirSync } = fs;
  let isShort = true;
  using _ = spyOn(fs, "readdirSync").mockImplementation(((path: string) => {
    if (isShort && path === "/proc") throw Object.assign(new Error("too many"), { code: "EMFILE" });
    return readdirSync(path);
  }) as never);
  const stopped = run.stop();
  isShort = false;
  await within("the end of all of them", stopped);
  expect(processesOf(run.pid)).toEqual([]);
});

test("what has become another user's cannot be ended, and keeps nothing else from its end", async () => {
  const argv = sh("set -m; sleep 1000 & echo; wait $!");
  const run = new Run({ argv, env: {}, codec, grace, pty: true });
  await within("its beginning", run.output().next());
  const kill = process.kill.bind(process);
  using _ = spyOn(process, "kill").mockImplementation((pid, signal) => {
    if (pid === -run.pid) throw Object.assign(new Error("not permitted"), { code: "EPERM" });
    return kill(pid, signal);
  });
  await within("the end of all others", run.stop());
  expect(await within("the end of what waited for them", run.status)).toBe(128 + 15);
});
