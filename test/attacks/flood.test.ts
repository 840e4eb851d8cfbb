// Floods against the executable as it is by default. How fast it is then, scripts/attack.ts tells; here only what holds
// on any machine.

import { expect, test } from "bun:test";
import { flood } from "../support/attack/flood.ts";
import { glutton, mute } from "../support/attack/reader.ts";
import { silent } from "../support/attack/silent.ts";
import { LIFTED, valueOf } from "../support/attack/target.ts";
import { HASH_MEMORY_KIB, LOGIN_TIMEOUT_MS } from "../../src/base/limits.ts";
import { attack, descriptors, until } from "../support/attack.ts";
import { serve } from "../support/executable.ts";
import { frame } from "../support/peer.ts";

const GUESSES = 64;
const TIMEOUT_MS = 120_000;
/** Hashes at once, at most: their memory is the server's, whoever guesses. */
const HASHES_MIB = (4 * HASH_MEMORY_KIB) / 1024;

test(
  "guesses from one address keep nobody at another from logging in, and a token waits for no hash",
  async () => {
    const figures = await flood({ guesses: GUESSES, addresses: 1, lifted: true, logins: 3, roundTrips: 200 });
    const oneHash = valueOf(figures, "password login, idle, median");
    const flooded = valueOf(figures, "password login, flood, median");
    expect(flooded).toBeLessThan((oneHash * GUESSES) / 2); // nowhere near the end of a queue of all of them
    const shortest = (what: string) => valueOf(figures, `${what} login, flood, shortest`);
    expect(shortest("token")).toBeLessThan(shortest("password"));
    // Of the 64 MiB that each guess would take.
    expect(valueOf(figures, "server memory, growth")).toBeLessThan(HASHES_MIB + 128);
  },
  TIMEOUT_MS,
);

test(
  "connections that say nothing keep nobody else out",
  async () => {
    for (const addresses of [1, 8]) {
      // Long before the time of those who are silent is over.
      expect(valueOf(await silent(addresses), "login from another address")).toBeLessThan(
        LOGIN_TIMEOUT_MS - 5000,
      );
    }
  },
  TIMEOUT_MS,
);

test(
  "a client that never reads costs the server next to no memory: it is not read from, or dropped",
  async () => {
    // What is queued for one that is dropped is 4 MiB; what was not collected yet may be 30 on a busy machine.
    const MEANT_MIB = 200;
    const bytes = MEANT_MIB * 1024 * 1024;
    expect(valueOf(await glutton(bytes), "server memory, growth")).toBeLessThan(MEANT_MIB / 2);
    expect(valueOf(await mute(bytes), "server memory, growth at most")).toBeLessThan(MEANT_MIB / 2);
  },
  TIMEOUT_MS,
);

test(
  "whoever resets its connection while it is turned away is gone at once",
  async () => {
    await using server = await serve(["--auth", "none", ...LIFTED]);
    const base = descriptors(server.pid);
    for (let round = 0; round < 10; round++) {
      const clients = Array.from({ length: 30 }, async (_, index) => {
        const { socket, closed } = await attack(server.port, `127.0.0.${10 + index}`);
        socket.write(frame("no login"), () => socket.resetAndDestroy());
        await closed;
      });
      await Promise.all(clients);
    }
    await until("sockets left", 0, () => Math.max(0, descriptors(server.pid) - base));
  },
  TIMEOUT_MS,
);
