// What parley wants to be, in numbers, and whether a run shows it.

import { figures, halfRange, median, percent, ratios, say, type Measured } from "./results.ts";
import { CROWD } from "./workloads.ts";

/** `too noisy`: the rounds differ by more than what is found is away from the limit. `incomplete`: of some, nothing. */
export type Verdict = "met" | "**not met**" | "too noisy" | "incomplete" | "not measured";

export interface Goal {
  text: string;
  /** What was found, by contender: the median of the rounds, and half of largest less smallest. */
  found: { who: string; value: number; noise: number; unit: string }[];
  verdict: Verdict;
}

const SESSIONS = ["none", "password"];

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
      return rounds.length === 0 ? [] : { who, value: median(rounds), noise: halfRange(rounds), unit };
    });
    const isClear = ({ value, noise }: (typeof found)[number]) =>
      noise === 0 || Math.abs(value - limit) > noise;
    const verdict = (): Verdict => {
      if (found.length === 0) return "not measured";
      if (found.some((one) => !isMet(one.value) && isClear(one))) return "**not met**";
      if (!found.every(isClear)) return "too noisy";
      return found.length < whose.length ? "incomplete" : "met";
    };
    return { text, found, verdict: verdict() };
  }
  const overBare = (name: string, title: string, limit: number) =>
    atMost(limit, "×", `${title}: at most ${limit} times bare \`Bun.listen\``, SESSIONS, (who) =>
      times(name, who, "bare"),
    );
  const ahead = (name: string, title: string, yardstick: string) =>
    atMost(1, "×", `${title}: ahead of ${yardstick}`, SESSIONS, (who) => times(name, who, yardstick));

  /** How much more one end of a curve costs than the other, where `yardstick` does not. */
  function growth(from: string, to: string, who: string, yardstick: string): number[] {
    const first = times(from, who, yardstick);
    return times(to, who, yardstick).flatMap((last, round) => {
      const before = first[round];
      return before === undefined ? [] : last / before;
    });
  }

  return [
    overBare("one", "50 × 1 × 64 B", 1.1),
    ...["tokio", "go"].map((peer) => ahead("one", "50 × 1 × 64 B", peer)),
    overBare("many", "50 × 32 × 64 B", 1.25),
    ...["tokio", "go"].map((peer) => ahead("many", "50 × 32 × 64 B", peer)),
    overBare("16k", "50 × 4 × 16 KiB", 1.15),
    ...["go", "tokio"].map((peer) => ahead("1m", "4 × 4 × 1 MiB", peer)),
    atMost(2.5, "×", "connect, hello, login (`none`), echo, close: at most 2.5 times bare", ["none"], (who) =>
      times("connect", who, "bare"),
    ),
    atMost(
      4000,
      "a second",
      "logins by token, each with an echo: at least 4,000 a second on one core",
      ["password"],
      (who) => values("connect", who).map((cost) => 1e6 / cost),
      (found) => found >= 4000,
    ),
    atMost(4, "KiB", "an idle connection: at most 4 KiB", SESSIONS, (who) => values("idle", who)),
    atMost(10, "KiB", "an idle connection over TLS: at most 10 KiB", ["none-tls", "password-tls"], (who) =>
      values("idle", who),
    ),
    atMost(
      1.5,
      "×",
      `the 99th of 100 echoes beside ${CROWD.toLocaleString("en")} idle connections: at most 1.5 times as late`,
      SESSIONS,
      (who) => ratios(of("crowded"), who, who, of("alone")),
    ),
    atMost(1.6, "×", "TLS, 50 × 32 × 64 B: at most 1.6 times plain", SESSIONS, (who) =>
      ratios(of("many"), `${who}-tls`, who),
    ),
    ...["one", "many"].map((name) =>
      atMost(
        1.15,
        "×",
        `a handler file: at most 1.15 times the built-in echo (${name})`,
        ["handler"],
        (who) => times(name, who, "none"),
      ),
    ),
    atMost(2, "ms", "one message to 1,000 members: at most 2 ms", ["chat"], (who) =>
      values("members-1000", who),
    ),
    atMost(40, "ms", "start to first connection: at most 40 ms", SESSIONS, (who) => values("start", who)),
    atMost(15, "ms", "`parley --version`: at most 15 ms", ["none"], (who) => values("version", who)),
    atMost(
      1.1,
      "×",
      "from 1 to 10,000 connections a message grows no more than on bare `Bun.listen` (within 10 %)",
      SESSIONS,
      (who) => growth("connections-1", "connections-10000", who, "bare"),
    ),
    atMost(1.1, "×", "from 10 to 100,000 users a login does not grow (within 10 %)", ["password"], (who) =>
      ratios(of("users-100000"), who, who, of("users-10")),
    ),
    atMost(
      1.1,
      "×",
      "memory at the end of a long run: within 10 % of that after its first tenth",
      [...SESSIONS, "acknowledged"],
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
