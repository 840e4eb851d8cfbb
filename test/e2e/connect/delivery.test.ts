// Every byte arrives, and then it is said that it did: through a reader that sleeps, through a slow line, through a drain, in
// plain text and over TLS, with control frames and without. PARLEY_DELIVERIES=20 plays each so often, with 5 MB.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { until } from "../../support/attack.ts";
import { cleanEnv, EXECUTABLE, serve, type Serving } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { lacks } from "../../support/privileges.ts";

const TIMES = Number(process.env["PARLEY_DELIVERIES"] ?? 1);
const IS_LONG = process.env["PARLEY_DELIVERIES"] !== undefined;
/** More than the kernel keeps for a connection on loopback, so that the server has some of it when it has said all. */
const BYTES = IS_LONG ? 5_000_000 : 3_000_000;
/** Longer than a refused peer is listened to. */
const SLEEP_S = IS_LONG ? 5 : 2.5;

setDefaultTimeout(90_000 + TIMES * 30_000);

/** What a shell says of `words`, and of what comes out of it `readers` read. */
async function pipe(command: string, words: string[], data: string): Promise<string> {
  const child = Bun.spawn(["sh", "-c", command, "sh", ...words], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: cleanEnv(data),
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  await child.exited;
  return (stdout + stderr).trim();
}

/** The client behind a reader that does not read at first: `same` and its exit code. */
const SLEEPER = `{ "$@"; echo "exit $?" >&2; } | { sleep ${SLEEP_S}; cmp - "$PARLEY_DATA/file" && echo same; }`;

async function withFile(work: (data: string) => Promise<void>): Promise<void> {
  using folder = tempFolder();
  writeFileSync(join(folder.path, "file"), randomBytes(BYTES));
  await work(folder.path);
}

const flagsOf = (tls: boolean) => (tls ? ["--tls", "--accept-new"] : []);

function serveFile(data: string, tls: boolean, ...flags: string[]): Promise<Serving> {
  const program = ["--program-io", "bytes", ...flags, "--", "cat", join(data, "file")];
  const open = flags.includes("--bare") ? [] : ["--auth", "none"];
  return serve([...open, ...(tls ? ["--tls"] : []), ...program], { data });
}

describe.each([
  ["plain", false],
  ["TLS", true],
] as const)("%s", (_, tls) => {
  test.concurrent("a reader that sleeps gets all of it, with exit 0", () =>
    withFile(async (data) => {
      await using server = await serveFile(data, tls);
      const client = [EXECUTABLE, "connect", server.address, ...flagsOf(tls), "--raw"];
      const all = await Promise.all(Array.from({ length: TIMES }, () => pipe(SLEEPER, client, data)));
      expect(all.map((said) => said.split("\n").sort())).toEqual(Array(TIMES).fill(["exit 0", "same"]));
      await server.stop();
      expect(readFileSync(join(data, "parley.log"), "utf8")).not.toMatch(/bye=(?!done)/);
    }),
  );

  test.concurrent("a reader that sleeps gets all of it while the server stops, and nothing was cut", () =>
    withFile(async (data) => {
      for (let times = 0; times < TIMES; times++) {
        await using server = await serveFile(data, tls);
        const client = [EXECUTABLE, "connect", server.address, ...flagsOf(tls), "--raw"];
        const log = () => readFileSync(join(data, "parley.log"), "utf8");
        const before = log().split("program-ended").length;
        const reading = pipe(SLEEPER, client, data);
        await until("the program's end", true, () => log().split("program-ended").length > before);
        await server.stop();
        expect((await reading).split("\n").sort()).toEqual(["exit 0", "same"]);
        expect(log()).toMatch(/stopped cut=0\n$/);
      }
    }),
  );
});

test.concurrent("a reader without control frames gets all of it", () =>
  withFile(async (data) => {
    await using server = await serveFile(data, false, "--bare");
    const words = [
      "bash",
      "-c",
      `exec 3<>/dev/tcp/127.0.0.1/${server.port}; sleep ${SLEEP_S}; cat <&3 | wc -c`,
    ];
    const said = await Promise.all(Array.from({ length: TIMES }, () => pipe('"$@"', words, data)));
    // Behind a header of four bytes for each message.
    for (const bytes of said) expect(Number(bytes)).toBeGreaterThan(BYTES);
    const whole = Number(said[0]) - BYTES;
    expect(whole % 4).toBe(0);
    await server.stop();
  }),
);

const NETWORK = ["unshare", "--net"];
const RATE = IS_LONG ? "4mbit" : "6mbit";

describe.skipIf(lacks("unshare", "ip", "tc") || Bun.spawnSync([...NETWORK, "true"]).exitCode !== 0)(
  `over a line of ${RATE}`,
  () => {
    test.concurrent.each([
      ["plain", false],
      ["TLS", true],
    ] as const)("%s", (_, tls) =>
      withFile(async (data) => {
        const script = `
          ip link set lo up && tc qdisc add dev lo root tbf rate ${RATE} burst 128kb limit 4mb || exit 9
          : > "$PARLEY_DATA/ready"
          "$1" serve --auth none ${tls ? "--tls" : ""} --port 0 --port-file "$PARLEY_DATA/port" --program-io bytes \\
            -- cat "$PARLEY_DATA/file" > "$PARLEY_DATA/ready" 2>&1 & server=$!
          until grep -q listening "$PARLEY_DATA/ready"; do :; done
          for n in $(seq ${TIMES}); do
            { "$1" connect "127.0.0.1:$(cat "$PARLEY_DATA/port")" ${flagsOf(tls).join(" ")} --raw < /dev/null
              echo "exit $?" >&2; } | { cmp - "$PARLEY_DATA/file" && echo same; }
          done
          kill -TERM $server; wait $server; echo "server $?"`;
        const child = Bun.spawn([...NETWORK, "bash", "-c", script, "bash", EXECUTABLE], {
          stdin: "ignore",
          stdout: "pipe",
          stderr: "pipe",
          env: cleanEnv(data),
        });
        const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
        await child.exited;
        expect([stdout, stderr]).toEqual([`${"same\n".repeat(TIMES)}server 0\n`, "exit 0\n".repeat(TIMES)]);
      }),
    );
  },
);
