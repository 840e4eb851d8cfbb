// What clients can make the server write, to its log and to its user file: bounded, however often they come.

import { expect, test } from "bun:test";
import { hosts } from "../support/attack/hosts.ts";
import { ALL_ADDRESSES, logGrowth, ONE_ADDRESS } from "../support/attack/log.ts";
import { serve } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { Peer } from "../support/peer.ts";

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
      message: "the server has 1 user already, and takes no new ones",
    });
  },
  TIMEOUT_MS,
);
