// What parley wants to be, in numbers, and whether a run shows it.

import { ratio, say, typical, type Measured } from "./results.ts";
import { CROWD } from "./workloads.ts";

export interface Goal {
  text: string;
  /** What was found, by contender. */
  found: { who: string; value: number; unit: string }[];
  /** Undefined when something it needs was not measured. */
  met: boolean | undefined;
}

const SESSIONS = ["none", "password"];

export function goals(all: readonly Measured[]): Goal[] {
  const of = (name: string) => all.find((measured) => measured.name === name);
  const value = (name: string, who: string) => typical(of(name), who);
  const times = (name: string, who: string, yardstick: string) => ratio(of(name), who, yardstick);

  function atMost(
    limit: number,
    unit: string,
    text: string,
    whose: readonly string[],
    get: (who: string) => number | undefined,
    isMet = (found: number) => found <= limit,
  ): Goal {
    const values = whose.map((who) => ({ who, value: get(who), unit }));
    const found = values.flatMap(({ who, value: there }) =>
      there === undefined ? [] : { who, value: there, unit },
    );
    const met = found.length < whose.length ? undefined : found.every(({ value: there }) => isMet(there));
    return { text, found, met };
  }
  const overBare = (name: string, title: string, limit: number) =>
    atMost(limit, "×", `${title}: at most ${limit} times bare \`Bun.listen\``, SESSIONS, (who) =>
      times(name, who, "bare"),
    );
  const ahead = (name: string, title: string, yardstick: string) =>
    atMost(1, "×", `${title}: ahead of ${yardstick}`, SESSIONS, (who) => times(name, who, yardstick));

  /** How much more one end of a curve costs than the other, where `yardstick` does not. */
  function growth(from: string, to: string, who: string, yardstick: string): number | undefined {
    const [first, last] = [times(from, who, yardstick), times(to, who, yardstick)];
    return first === undefined || last === undefined ? undefined : last / first;
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
      (who) => {
        const cost = value("connect", who);
        return cost === undefined ? undefined : 1e6 / cost;
      },
      (found) => found >= 4000,
    ),
    atMost(4, "KiB", "an idle connection: at most 4 KiB", SESSIONS, (who) => value("idle", who)),
    atMost(10, "KiB", "an idle connection over TLS: at most 10 KiB", ["none-tls", "password-tls"], (who) =>
      value("idle", who),
    ),
    atMost(
      1.5,
      "×",
      `the 99th of 100 echoes beside ${CROWD.toLocaleString("en")} idle connections: at most 1.5 times as late`,
      SESSIONS,
      (who) => ratio(of("crowded"), who, who, of("alone")),
    ),
    atMost(1.6, "×", "TLS, 50 × 32 × 64 B: at most 1.6 times plain", SESSIONS, (who) =>
      ratio(of("many"), `${who}-tls`, who),
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
      value("members-1000", who),
    ),
    atMost(40, "ms", "start to first connection: at most 40 ms", SESSIONS, (who) => value("start", who)),
    atMost(15, "ms", "`parley --version`: at most 15 ms", ["none"], (who) => value("version", who)),
    atMost(
      1.1,
      "×",
      "from 1 to 10,000 connections a message grows no more than on bare `Bun.listen` (within 10 %)",
      SESSIONS,
      (who) => growth("connections-1", "connections-10000", who, "bare"),
    ),
    atMost(1.1, "×", "from 10 to 100,000 users a login does not grow (within 10 %)", ["password"], (who) =>
      ratio(of("users-100000"), who, who, of("users-10")),
    ),
    atMost(
      1.1,
      "×",
      "memory at the end of a long run: within 10 % of that after its first tenth",
      [...SESSIONS, "acknowledged"],
      (who) => value("memory", who),
    ),
  ];
}

const VERDICT = new Map([
  [true, "met"],
  [false, "**not met**"],
  [undefined, "not measured"],
]);

export function goalList(all: readonly Goal[]): string {
  const rows = all.map(({ text, found, met }) => {
    const values = found.map(({ who, value, unit }) => `${who} ${say(value)} ${unit}`).join(", ");
    return `| ${text} | ${values} | ${VERDICT.get(met)} |\n`;
  });
  return `| goal | found | |\n| --- | --- | --- |\n${rows.join("")}`;
}
