// Detached sessions: every one is found again with all that it had not acknowledged, or expires, and none leaves a
// descriptor behind. PARLEY_SESSIONS=1000 makes it a large crowd, and prints what it costs.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { descriptors, residentBytes, until } from "../../support/attack.ts";
import { serve } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { Peer } from "../../support/peer.ts";
import { payloads, reconnect, resumeOf, type Resume } from "../../support/resume.ts";

const SESSIONS = Number(process.env["PARLEY_SESSIONS"] ?? 100);
const PRINTS = process.env["PARLEY_SESSIONS"] !== undefined;
/** Logins at once: no more are let in from one address. */
const AT_ONCE = 8;
const WORDS = Array.from({ length: 10 }, (_, n) => `message ${n + 1} ${"x".repeat(80)}`);

/** Does `work` so often, a few at a time. */
async function times<T>(count: number, work: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  const rest = Array.from({ length: count }, (_, index) => index).values();
  const worker = async () => {
    for (const index of rest) results[index] = await work(index);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

/** A conversation in which nothing was acknowledged, and whose connection is lost. */
async function detach(port: number, resumeFor: number): Promise<Resume> {
  using peer = await Peer.connect(port);
  const resume = resumeOf(await peer.enter({ control: true, resume_for: resumeFor }));
  for (const word of WORDS) peer.send(word);
  await payloads(peer, WORDS.length);
  peer.reset();
  await peer.closed;
  return resume;
}

/** Comes back, hears all again, and leaves for good. */
async function conclude(port: number, resume: Resume): Promise<void> {
  const [peer, welcome] = await reconnect(port, resume, 0);
  using _ = peer;
  expect(welcome).toMatchObject({ resumed: true, received: WORDS.length });
  expect(await payloads(peer, WORDS.length)).toEqual(WORDS);
  peer.control({ type: "ack", received: WORDS.length });
  peer.control({ type: "bye", code: "left", message: "" });
  await peer.rest();
}

test(
  `${SESSIONS} of them`,
  async () => {
    const limit = String(2 * SESSIONS + AT_ONCE);
    using folder = tempFolder();
    const flags = ["--auth", "none", "--no-tls", "--max-connections", limit];
    await using server = await serve(flags, { data: folder.path });
    const base = descriptors(server.pid);
    const look = async (what: string) => {
      await until("descriptors too many", 0, () => Math.max(0, descriptors(server.pid) - base));
      if (PRINTS) console.log(`${what}: ${(residentBytes(server.pid) / 1024 / 1024).toFixed(1)} MiB`);
    };
    await look("the server alone");
    const kept = await times(SESSIONS, () => detach(server.port, 120));
    await look("detached");
    await times(SESSIONS, (index) => conclude(server.port, kept[index]!));
    await look("resumed, and over");
    const brief = await times(SESSIONS, () => detach(server.port, 1));
    const log = join(folder.path, "parley.log");
    const expired = () => readFileSync(log, "utf8").match(/ session-expired /g)?.length;
    await until("sessions that have expired", SESSIONS, expired);
    const [peer, answer] = await reconnect(server.port, brief[0]!, 0);
    peer[Symbol.dispose]();
    expect(answer["code"]).toBe("session_gone");
    await look("expired");
    await server.stop();
  },
  60_000 + 100 * SESSIONS,
);
