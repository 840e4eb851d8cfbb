// Very many addresses that a server with `--auth ip` greets: how often it writes its user file, and how large that becomes.

import { readFileSync, statSync } from "node:fs";
import { MAX_HOSTS } from "../../../src/base/limits.ts";
import { Peer } from "../peer.ts";
import { LIFTED, target, type Figure } from "./target.ts";

const KIB = 1024;
const AT_ONCE = 16;

const address = (n: number) => `127.${1 + (n >> 15)}.${(n >> 7) & 255}.${1 + (n & 127)}`;

/** Greets `count` new addresses, and then the later half of them once more. */
export async function hosts(count: number): Promise<Figure[]> {
  await using server = await target(["--auth", "ip", ...LIFTED]);
  const writes = () => (JSON.parse(readFileSync(server.users, "utf8")) as { rev: number }).rev;
  const visit = async (first: number, login: (n: number) => object) => {
    let next = first;
    const visitor = async () => {
      while (next < count) {
        const n = next++;
        using peer = await Peer.connect(server.port, address(n));
        await peer.message();
        peer.json(login(n));
        const answer = await peer.message();
        if (answer["type"] !== "welcome") throw new Error(JSON.stringify(answer));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, visitor));
  };
  const began = performance.now();
  await visit(0, (n) => ({ type: "login", method: "name", user: `guest${n}` }));
  const ms = (performance.now() - began) / count;
  const before = writes();
  const known = count / 2;
  await visit(count - known, () => ({ type: "login", method: "ip" }));
  const { hosts: kept } = JSON.parse(readFileSync(server.users, "utf8")) as { hosts: object };
  const attack = `${count} addresses`;
  return [
    { attack, what: "a new one", value: ms, unit: "ms" },
    { attack, what: "user file", value: statSync(server.users).size / KIB, unit: "KiB", target: 3 * KIB },
    { attack, what: "writes for a known one", value: (writes() - before) / known, unit: "", target: 0.01 },
    { attack, what: "known at the end", value: Object.keys(kept).length, unit: "", target: MAX_HOSTS + 1 },
  ];
}
