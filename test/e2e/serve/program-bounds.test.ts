// What is endless stays bounded in the memory of the server, and nothing stays behind of many programs.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { descriptors, residentBytes, until, within } from "../../support/attack.ts";
import { serve, type Serving } from "../../support/executable.ts";
import { frame, Peer } from "../../support/peer.ts";
import { childrenOf } from "../../support/program.ts";

setDefaultTimeout(90_000);

const MIB = 1024 * 1024;

function serveSh(script: string, flags: string[] = []): Promise<Serving> {
  return serve(["--auth", "none", ...flags, "--", "sh", "-c", script]);
}

describe("bounded:", () => {
  const EITHER = 'read -r x; if [ "$x" = cat ]; then exec cat; fi; eval "$x"';

  /** Round trips of somebody else, who must not notice. */
  async function talk(peer: Peer): Promise<void> {
    for (let i = 0; i < 150; i++) {
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
    expect(residentBytes(server.pid) - before).toBeLessThan(96 * MIB);
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
