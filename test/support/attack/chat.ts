// A member of a chat who says as much as fits 70 KiB, in a turn: how many of the others are dropped for it.

import { readFileSync } from "node:fs";
import { residentBytes, within } from "../attack.ts";
import { start } from "../executable.ts";
import { frame, Peer } from "../peer.ts";
import { target, type Figure } from "./target.ts";

const MIB = 1024 * 1024;
/** A name of 32 letters of four bytes, and 700 messages of 50 lines of a letter. */
const NAME = "𐐀".repeat(32);
const WORDS = Buffer.concat(Array.from({ length: 700 }, () => frame("a\n".repeat(49) + "a")));

export async function chatFlood(members = 4): Promise<Figure[]> {
  await using server = await target(["--auth", "none", "--no-tls", "--service", "chat"]);
  await using stack = new AsyncDisposableStack();
  const clients = [];
  for (let n = 0; n < members; n++) {
    const client = stack.use(start(["connect", `127.0.0.1:${server.port}`]));
    clients.push(client);
    await client.stdout.see("here:");
  }
  const before = residentBytes(server.pid);
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, residentBytes(server.pid))), 5);
  using flooder = await Peer.connect(server.port);
  await flooder.enter();
  flooder.send(`/name ${NAME}`);
  flooder.raw(WORDS);
  const left: string[] = [];
  using other = await Peer.connect(server.port, "127.0.0.2");
  await other.enter();
  other.send("the last");
  for (const client of clients) {
    await within(
      "what is said, or an end",
      Promise.race([client.stdout.see("the last"), client.exited]),
    ).catch((error: unknown) => left.push(String(error)));
  }
  clearInterval(timer);
  const dropped = readFileSync(server.log, "utf8").split("too_slow").length - 1;
  const attack = "70 KiB of one chat member";
  return [
    { attack, what: "members dropped, or deaf", value: dropped + left.length, unit: "", target: 1 },
    { attack, what: "server memory, growth", value: (most - before) / MIB, unit: "MiB", target: 32 },
  ];
}
