// What clients can make the server write, to its log and to its user file: bounded, however often they come.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { MAX_HOSTS, MAX_SHOWN_FAULTS } from "../../src/base/limits.ts";
import { HandlerError } from "../../src/services/handler/handler.ts";
import { LENIENT, until } from "../support/attack.ts";
import { hosts } from "../support/attack/hosts.ts";
import { ALL_ADDRESSES, logGrowth, ONE_ADDRESS } from "../support/attack/log.ts";
import { run, serve } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { Peer } from "../support/peer.ts";
import { startServer } from "../support/server.ts";

const TIMEOUT_MS = 120_000;

test.each([
  ["one address", ONE_ADDRESS],
  ["very many addresses", ALL_ADDRESSES],
])(
  "the log of what %s does is bounded",
  async (_, attacks) => {
    for (const { attack, what, value, target = Infinity } of await logGrowth(attacks, 1000)) {
      expect({ attack, what, value: Math.min(value, target) }).toEqual({ attack, what, value });
    }
  },
  TIMEOUT_MS,
);

test(
  "known addresses that come again write nothing",
  async () => {
    const writes = (await hosts(300)).find(({ what }) => what.startsWith("writes"));
    expect(writes?.value).toBe(0);
  },
  TIMEOUT_MS,
);

test(
  "--max-users: a client that would be one too many is told so, in words and a code",
  async () => {
    using folder = tempFolder();
    await using server = await serve(["--register", "--max-users", "1"], { data: folder.path });
    const register = async (user: string) => {
      using peer = await Peer.connect(server.port);
      await peer.message();
      peer.json({ type: "login", method: "register", user, password: "correct horse battery" });
      return await peer.message();
    };
    expect(await register("ann")).toMatchObject({ type: "welcome", user: "ann" });
    expect(await register("bob")).toEqual({
      type: "error",
      code: "full",
      message: "the server is full (1 user), and creates no more accounts",
    });
  },
  TIMEOUT_MS,
);

test(
  "faults that a client causes in a handler flood the operator's terminal no more than the log",
  async () => {
    const shown: string[] = [];
    let faults = 0;
    await using server = await startServer({
      ...LENIENT,
      auth: "none",
      tell: (...lines) => void shown.push(...lines),
      service: {
        message() {
          throw new HandlerError("threw", `on purpose, ${++faults}`, { hint: "3 | throw new Error();" });
        },
      },
    });
    for (let n = 0; n < 2 * MAX_SHOWN_FAULTS; n++) {
      using peer = await server.peer();
      await peer.enter({});
      peer.send("x");
      await peer.rest();
    }
    expect(server.events.filter(({ event }) => event === "handler-failed")).toHaveLength(
      2 * MAX_SHOWN_FAULTS,
    );
    expect(shown).toHaveLength(2 * MAX_SHOWN_FAULTS + 1); // a headline, and a line of code
    expect(shown.at(-1)).toBe("further errors within a minute are only in the log");
    expect(shown[0]).toMatch(/^error in the handler: the session of 127\.0\.0\.1:\d+ has ended$/);
  },
  TIMEOUT_MS,
);

test(
  "of too many addresses the oldest goes, but none in a conversation, and none that an operator has named",
  async () => {
    using folder = tempFolder();
    const now = Date.now();
    const seen = (ms: number) => new Date(now + ms).toISOString();
    const host = (n: number, more = {}) => ({
      name: `guest${n}`,
      first: seen(-9e5),
      last: seen(n - 9e5),
      ...more,
    });
    const others = Array.from({ length: MAX_HOSTS - 2 }, (_, n) => [
      `10.${n >> 8}.${n & 255}.1`,
      host(n + 2),
    ]);
    const hosts = Object.fromEntries([
      ["127.0.0.2", host(0)],
      ["192.0.2.1", host(1, { named_by: "operator" })],
      ...others,
    ]) as Record<string, object>;
    const users = join(folder.path, "users.json");
    writeFileSync(users, JSON.stringify({ version: 1, rev: 1, hosts }), { mode: 0o600 });
    await using server = await serve(["--auth", "ip"], { data: folder.path });
    using talker = await Peer.connect(server.port, "127.0.0.2");
    await talker.message();
    talker.json({ type: "login", method: "ip", control: true });
    expect(await talker.message()).toMatchObject({ type: "welcome", user: "guest0" });
    const sessions = async () => (await run(["users", "sessions", "--json"], { data: folder.path })).stdout;
    await until("the session is listed", true, async () => (await sessions()).includes("127.0.0.2"));
    using newcomer = await Peer.connect(server.port, "127.0.0.3");
    await newcomer.message();
    newcomer.json({ type: "login", method: "name", user: "Ann" });
    expect(await newcomer.message()).toMatchObject({ type: "welcome", user: "Ann" });
    const after = JSON.parse(readFileSync(users, "utf8")) as { hosts: object };
    const kept = new Set(Object.keys(after.hosts));
    expect(Object.keys(hosts).filter((address) => !kept.has(address))).toEqual(["10.0.0.1"]);
    expect(kept.size).toBe(MAX_HOSTS);
    talker.send("still here");
    expect(await talker.text()).toBe("still here");
  },
  TIMEOUT_MS,
);
