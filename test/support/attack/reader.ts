// A client that never reads, and many megabytes for it: what the server keeps of them.

import { join } from "node:path";
import { residentBytes, until } from "../attack.ts";
import { Watched } from "../watched.ts";
import { logIn } from "./client.ts";
import { target, type Figure } from "./target.ts";

const MIB = 1024 * 1024;
const BYTES = 50 * MIB;
const MESSAGE = Buffer.alloc(32 * 1024, "x");

/** It asked for them itself: the server stops reading its questions. */
export async function glutton(wanted = BYTES): Promise<Figure[]> {
  await using server = await target(["--auth", "none"]);
  const { client } = await logIn(server.port, "127.0.0.2", {});
  using _ = client;
  using neighbour = (await logIn(server.port, "127.0.0.3", {})).client;
  await neighbour.roundTrips(200);
  const before = residentBytes(server.pid);
  client.socket.pause();
  for (let sent = 0; sent < wanted; sent += MESSAGE.length) client.send(MESSAGE);
  let still = -1;
  await until("the kernel takes no more", true, () => {
    const isStill = client.socket.writableLength === still;
    still = client.socket.writableLength;
    return isStill;
  });
  await neighbour.roundTrips(200);
  const growth = (residentBytes(server.pid) - before) / MIB;
  const unread = client.socket.writableLength / MIB;
  return [
    { attack: "echo, never reads", what: "server memory, growth", value: growth, unit: "MiB", target: 8 },
    { attack: "echo, never reads", what: "not even taken by the server", value: unread, unit: "MiB" },
  ];
}

/** Another one said them to everybody: it is dropped. */
export async function mute(told = BYTES): Promise<Figure[]> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "broadcast.ts")], { stdout: "pipe" });
  const said = new Watched();
  const read = (async () => {
    for await (const chunk of child.stdout) said.append(Buffer.from(chunk).toString());
  })();
  try {
    await said.see("\n");
    const port = Number.parseInt(said.text);
    using speaker = (await logIn(port, "127.0.0.3", {})).client;
    const say = async (bytes: number) => {
      const times: number[] = [];
      for (let sent = 0; sent < bytes; sent += MESSAGE.length) {
        const began = performance.now();
        speaker.send(MESSAGE);
        await speaker.read();
        times.push(performance.now() - began);
      }
      return Math.max(...times);
    };
    await say(told); // what that alone costs is not the silent one's doing
    const before = residentBytes(child.pid);
    using deaf = (await logIn(port, "127.0.0.2", {})).client;
    deaf.socket.pause();
    let most = 0;
    let slowest = 0;
    for (let part = 0; part < 50; part++) {
      slowest = Math.max(slowest, await say(told / 50));
      most = Math.max(most, residentBytes(child.pid));
    }
    await said.see("dropped too_slow");
    const growth = (residentBytes(child.pid) - before) / MIB;
    const attack = "broadcast, never reads";
    return [
      { attack, what: "server memory, growth", value: growth, unit: "MiB", target: 8 },
      { attack, what: "server memory, growth at most", value: (most - before) / MIB, unit: "MiB", target: 8 },
      { attack, what: "longest answer to the speaker", value: slowest, unit: "ms" },
    ];
  } finally {
    child.kill();
    await read;
  }
}
