// What many clients together make a server keep: output that is not read, messages that are not whole, and what is kept for
// sessions without a connection.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { residentBytes, until, within } from "../attack.ts";
import { tempFolder } from "../folder.ts";
import { frame, Peer } from "../peer.ts";
import { DURABLE } from "../resume.ts";
import { LIFTED, target, type Figure, type Target } from "./target.ts";

const MIB = 1024 * 1024;
const NONE = ["--auth", "none", ...LIFTED];

/** "talk" sends 7.5 MiB to its session, more than a kernel takes; "tell" sends 3.5 MiB to all the others. */
const HANDLER = `
const all = new Set();
const bytes = Buffer.alloc(64 * 1024);
export default {
  open(session) { all.add(session); },
  message(session, message) {
    const tells = message.text() === "tell";
    for (let n = 0; n < (tells ? 56 : 120); n++) for (const one of tells ? all : [session]) if (tells !== (one === session)) one.send(bytes);
    if (tells) session.send("done");
  },
  close(session) { all.delete(session); },
};`;

async function talker(flags: readonly string[]): Promise<Target> {
  const folder = tempFolder();
  const file = join(folder.path, "talk.ts");
  writeFileSync(file, HANDLER);
  const server = await target([...NONE, ...flags, "--handler", file]);
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

/** How much the server has grown, at most, while `work` went on and until `isOver`. */
async function growth(pid: number, work: () => Promise<void>): Promise<number> {
  const before = residentBytes(pid);
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, residentBytes(pid))), 5);
  await work();
  clearInterval(timer);
  return (Math.max(most, residentBytes(pid)) - before) / MIB;
}

/** Waits until the server takes no CPU time any more. */
async function settled(pid: number): Promise<void> {
  const { readFile } = await import("node:fs/promises");
  const ticks = async () => (await readFile(`/proc/${pid}/stat`, "utf8")).split(" ").slice(13, 15).join();
  let still = 0;
  let last = "";
  await until("the server is at rest", true, async () => {
    const now = await ticks();
    still = now === last ? still + 1 : 0;
    last = now;
    return still > 20;
  });
}

/** Clients over TLS that ask for 7.5 MiB each, and read nothing. */
export async function unread(clients = 120): Promise<Figure[]> {
  await using server = await talker(["--tls"]);
  const sockets: { terminate(): void }[] = [];
  const value = await growth(server.pid, async () => {
    for (let n = 0; n < clients; n++) {
      let heard = Promise.withResolvers<void>();
      const socket = await Bun.connect({
        port: server.port,
        hostname: "127.0.0.1",
        tls: { rejectUnauthorized: false },
        socket: { data: () => heard.resolve() },
      });
      sockets.push(socket);
      await within("hello", heard.promise);
      heard = Promise.withResolvers();
      socket.write(frame('{"type":"login","method":"none"}'));
      await within("welcome", heard.promise);
      socket.pause();
      socket.write(frame("talk"));
    }
    await settled(server.pid);
  });
  for (const socket of sockets) socket.terminate();
  return [
    {
      attack: `${clients} over TLS read nothing`,
      what: "server memory, growth",
      value,
      unit: "MiB",
      target: 340,
    },
  ];
}

/** Clients that send all of a message but its last byte. Memory that was used is collected later: twice as much may be in use. */
export async function unfinished(clients = 1000): Promise<Figure[]> {
  await using server = await talker(["--no-tls"]);
  const peers: Peer[] = [];
  const begun = Buffer.concat([Buffer.from([0, 0x10, 0, 0]), Buffer.alloc(MIB - 1)]);
  const value = await growth(server.pid, async () => {
    for (let n = 0; n < clients; n++) {
      const peer = await Peer.connect(server.port);
      peers.push(peer);
      await peer.enter();
      peer.raw(begun);
    }
    await settled(server.pid);
  });
  for (const peer of peers) peer[Symbol.dispose]();
  return [
    {
      attack: `${clients} unfinished messages`,
      what: "server memory, growth",
      value,
      unit: "MiB",
      target: 512,
    },
  ];
}

/** Clients that are gone for a while, and one that says much to all of them. */
export async function detached(clients = 100): Promise<Figure[]> {
  await using server = await talker(["--no-tls"]);
  using speaker = await Peer.connect(server.port);
  await speaker.enter();
  for (let n = 0; n < clients; n++) {
    using peer = await Peer.connect(server.port);
    await peer.enter(DURABLE);
    peer.reset();
    await peer.closed;
  }
  const value = await growth(server.pid, async () => {
    speaker.send("tell");
    await within("an answer", speaker.frame());
    await settled(server.pid);
  });
  return [
    {
      attack: `3.5 MiB for ${clients} who are away`,
      what: "server memory, growth",
      value,
      unit: "MiB",
      target: 100,
    },
  ];
}
