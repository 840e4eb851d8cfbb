// What sessions cost a server that sleep: memory and descriptors, before, while they live, asleep, and when they are over.

import { setTimeout as delay } from "node:timers/promises";
import { descriptors, residentBytes } from "../../test/support/attack.ts";
import { reconnect, payloads, resumeOf, type Resume } from "../../test/support/resume.ts";
import { serve } from "../../test/support/executable.ts";
import { Peer } from "../../test/support/peer.ts";
import { parting, seconds, type Figure, type Scale } from "./figure.ts";

const ROUNDS = 3;
/** What each leaves unacknowledged. */
const KEPT = 10;
/** Logins at once: no more are let in from one address. */
const AT_ONCE = 8;
/** Memory is looked at after so long, when what is over has been collected. */
const SETTLE_MS = 3000;
const LONG_SECONDS = 120;
/** In the last round they are not come back to. */
const SHORT_SECONDS = 5;
const KIB = 1024;

const WORDS = Array.from({ length: KEPT }, (_, n) => `message ${n + 1} ${"x".repeat(80)}`);

/** A durable client that acknowledges nothing. */
class Sleeper {
  readonly #port: number;
  #resume: Resume | undefined;
  #peer: Peer | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  async begin(resumeSeconds: number): Promise<void> {
    this.#peer = await Peer.connect(this.#port);
    this.#resume = resumeOf(await this.#peer.enter({ control: true, resume_for: resumeSeconds }));
    for (const word of WORDS) this.#peer.send(word);
    await payloads(this.#peer, KEPT);
  }

  async lose(): Promise<void> {
    this.#peer?.reset();
    await this.#peer?.closed;
  }

  /** Comes back, hears again all that it did not acknowledge, and leaves for good; what was wrong with that. */
  async conclude(): Promise<string | undefined> {
    if (this.#resume === undefined) return "it never began";
    const [peer, welcome] = await reconnect(this.#port, this.#resume, 0);
    using _ = peer;
    if (welcome["resumed"] !== true) return JSON.stringify(welcome);
    if (welcome["received"] !== KEPT) return `the server has ${Number(welcome["received"])} messages`;
    const fault = parting(await payloads(peer, KEPT), WORDS);
    peer.control({ type: "ack", received: KEPT });
    peer.control({ type: "bye", code: "left", message: "" });
    await peer.rest();
    return fault;
  }

  /** What was there, when it should be gone. */
  async isGone(): Promise<string | undefined> {
    if (this.#resume === undefined) return "it never began";
    const [peer, answer] = await reconnect(this.#port, this.#resume, 0);
    peer[Symbol.dispose]();
    return answer["code"] === "session_gone" ? undefined : JSON.stringify(answer);
  }
}

/** Does `work` for each, a few at a time. */
async function forEach<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const rest = items.values();
  const worker = async () => {
    for (const item of rest) results.push(await work(item));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

export async function* sleeping({ sessions }: Scale): AsyncGenerator<Figure> {
  const connections = ["--max-connections", String(2 * sessions)];
  await using serving = await serve(["--auth", "none", "--no-tls", ...connections]);
  let alone: { bytes: number; open: number } | undefined;
  const look = async (what: string, sockets: number, note = "", fault?: string): Promise<Figure> => {
    await delay(SETTLE_MS);
    const bytes = residentBytes(serving.pid);
    const open = descriptors(serving.pid);
    alone ??= { bytes, open };
    const measured = `${(bytes / KIB / KIB).toFixed(1)} MiB, ${open} descriptors${note}`;
    const left = open - alone.open - sockets;
    const leak = left > 0 ? `${left} descriptors too many` : undefined;
    return { scene: "sleeping", what, measured, fault: fault ?? leak };
  };
  yield await look("the server alone", 0);
  for (let round = 1; round <= ROUNDS; round++) {
    const name = `round ${round}: ${sessions} sessions, ${KEPT} answers unacknowledged`;
    const expires = round === ROUNDS;
    const all = Array.from({ length: sessions }, () => new Sleeper(serving.port));
    await forEach(all, (sleeper) => sleeper.begin(expires ? SHORT_SECONDS : LONG_SECONDS));
    yield await look(`${name}, live`, sessions);
    await Promise.all(all.map((sleeper) => sleeper.lose()));
    yield await look(`${name}, asleep`, 0);
    const began = performance.now();
    if (expires) await delay(SHORT_SECONDS * 1000);
    const ends = await forEach(all, (sleeper) => (expires ? sleeper.isGone() : sleeper.conclude()));
    const took = expires ? "" : `, in ${seconds(performance.now() - began)}`;
    const faults = ends.filter((fault) => fault !== undefined);
    const wrong = faults.length === 0 ? undefined : `${faults.length} wrong: ${faults[0]}`;
    const end = expires ? "all have expired" : "all came back, heard all again and left";
    yield await look(`round ${round}: ${end}`, 0, took, wrong);
  }
}
