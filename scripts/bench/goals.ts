// What parley wants to be, in numbers, and whether a run shows it.

import { figures, halfRange, median, percent, ratios, say, type Measured } from "./results.ts";
import { CROWD } from "./workloads.ts";

/**
 * `too noisy`: half the spread between rounds is more than what is found is away from the limit. `one round`: nothing is known of
 * the spread. `incomplete`: of some contenders nothing was found.
 */
export type Verdict = "met" | "**not met**" | "too noisy" | "one round" | "incomplete" | "not measured";

export interface Goal {
  text: string;
  /** What was found, by contender: the median of the rounds, and half of largest less smallest. */
  found: { who: string; value: number; noise: number; unit: string; rounds: number }[];
  verdict: Verdict;
}

/** Of a message, × bare `Bun.listen`: a handler file, one that looks at the bytes, and a session with acknowledgements. */
const MESSAGES: readonly [workload: string, title: string, limits: Readonly<Record<string, number>>][] = [
  ["one", "50 × 1 × 64 B", { handler: 1.08, acknowledged: 1.12 }],
  ["many", "50 × 32 × 64 B", { handler: 1.2, view: 1.35, acknowledged: 1.3 }],
  ["16k", "50 × 4 × 16 KiB", { handler: 1.12, acknowledged: 1.2 }],
  ["1m", "4 × 4 × 1 MiB", { handler: 1.25, acknowledged: 1.3 }],
];
/** To connect, log in, echo and close, × bare `Bun.listen`. */
const CONNECT = { none: 2, password: 2.5 };
/** What one message to 1,000 members may cost, × a bare `Bun.listen` that writes to all. */
const ROOM_LIMIT = 1.15;
/** Level means: not more than so many times. */
const LEVEL = 1.05;

export function goals(all: readonly Measured[]): Goal[] {
  const of = (name: string) => all.find((measured) => measured.name === name);
  const values = (name: string, who: string) => figures(of(name), who);
  const times = (name: string, who: string, yardstick: string) => ratios(of(name), who, yardstick);

  /** `get` gives what was found in each round. */
  function atMost(
    limit: number,
    unit: string,
    text: string,
    whose: readonly string[],
    get: (who: string) => readonly number[],
    isMet = (found: number) => found <= limit,
  ): Goal {
    const found = whose.flatMap((who) => {
      const rounds = get(who);
      if (rounds.length === 0) return [];
      return { who, value: median(rounds), noise: halfRange(rounds), unit, rounds: rounds.length };
    });
    const isClear = ({ value, noise }: (typeof found)[number]) =>
      noise === 0 || Math.abs(value - limit) > noise;
    const verdict = (): Verdict => {
      if (found.length === 0) return "not measured";
      if (found.some(({ rounds }) => rounds === 1)) return "one round";
      if (found.some((one) => !isMet(one.value) && isClear(one))) return "**not met**";
      if (!found.every(isClear)) return "too noisy";
      return found.length < whose.length ? "incomplete" : "met";
    };
    return { text, found, verdict: verdict() };
  }
  const overBare = (name: string, title: string, who: string, limit: number, bare = "bare") =>
    atMost(limit, "×", `${title}, ${who}: at most ${limit} × bare`, [who], () => times(name, who, bare));
  const ahead = (name: string, title: string, peer: string) =>
    atMost(1, "×", `${title}: ahead of ${peer}`, ["handler"], (who) => times(name, who, peer));

  /** How much more one end of a curve costs than the other, where `yardstick` does not. */
  function growth(from: string, to: string, who: string, yardstick: string): number[] {
    const first = times(from, who, yardstick);
    return times(to, who, yardstick).flatMap((last, round) => {
      const before = first[round];
      return before === undefined ? [] : last / before;
    });
  }

  return [
    ...MESSAGES.flatMap(([name, title, limits]) =>
      Object.entries(limits).map(([who, limit]) => overBare(name, title, who, limit)),
    ),
    ahead("one", "50 × 1 × 64 B", "go"),
    atMost(LEVEL, "×", `50 × 32 × 64 B: level with go (at most ${LEVEL} ×)`, ["handler"], (who) =>
      times("many", who, "go"),
    ),
    ...["tokio", "go"].map((peer) => ahead("16k", "50 × 4 × 16 KiB", peer)),
    ...Object.entries(CONNECT).map(([who, limit]) =>
      overBare("connect", "connect, log in, echo, close", who, limit),
    ),
    overBare("members-1000", "one message to 1,000 members", "room", ROOM_LIMIT, "to-all"),
    atMost(
      1280,
      "KiB",
      "a connection whose message of 1 MiB is not complete: at most 1.25 MiB",
      ["handler"],
      (who) => values("gather", who),
    ),
    atMost(
      4000,
      "a second",
      "logins by token, each with an echo: at least 4,000 a second on one core",
      ["password"],
      (who) => values("connect", who).map((cost) => 1e6 / cost),
      (found) => found >= 4000,
    ),
    atMost(4, "KiB", "an idle connection: at most 4 KiB", ["none", "handler"], (who) => values("idle", who)),
    atMost(10, "KiB", "an idle connection over TLS: at most 10 KiB", ["none-tls", "password-tls"], (who) =>
      values("idle", who),
    ),
    atMost(
      1.5,
      "×",
      `the 99th of 100 echoes beside ${CROWD.toLocaleString("en")} idle connections: at most 1.5 times as late`,
      ["handler"],
      (who) => ratios(of("crowded"), who, who, of("alone")),
    ),
    atMost(1.6, "×", "TLS, 50 × 32 × 64 B: at most 1.6 times plain", ["none", "password"], (who) =>
      ratios(of("many"), `${who}-tls`, who),
    ),
    atMost(40, "ms", "start to first connection: at most 40 ms", ["none", "handler"], (who) =>
      values("start", who),
    ),
    atMost(15, "ms", "`parley --version`: at most 15 ms", ["none"], (who) => values("version", who)),
    atMost(
      1.1,
      "×",
      "from 1 to 10,000 connections a message grows no more than on bare `Bun.listen` (within 10 %)",
      ["handler"],
      (who) => growth("connections-1", "connections-10000", who, "bare"),
    ),
    atMost(1.1, "×", "from 10 to 100,000 users a login does not grow (within 10 %)", ["password"], (who) =>
      ratios(of("users-100000"), who, who, of("users-10")),
    ),
    atMost(
      1.1,
      "×",
      "memory at the end of a long run: within 10 % of that after its first tenth",
      ["none", "handler", "acknowledged"],
      (who) => values("memory", who),
    ),
  ];
}

export function goalList(all: readonly Goal[]): string {
  const rows = all.map(({ text, found, verdict }) => {
    const parts = found.map(({ who, value, noise, unit }) => {
      const doubt = noise === 0 || value === 0 ? "" : ` ±${percent(noise / Math.abs(value))}`;
      return `${who} ${say(value)} ${unit}${doubt}`;
    });
    return `| ${text} | ${parts.join(", ")} | ${verdict} |\n`;
  });
  return `| goal | found | |\n| --- | --- | --- |\n${rows.join("")}`;
}
