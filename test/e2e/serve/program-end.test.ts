// How programs end with the executable that serves them: however that is ended, nothing of a process group stays.

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { until, within } from "../../support/attack.ts";
import { EXECUTABLE, cleanEnv, serve, type Serving } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { Peer } from "../../support/peer.ts";
import { enterGroup, processesOf, STUBBORN } from "../../support/program.ts";

setDefaultTimeout(90_000);

function serveStubborn(flags: string[]): Promise<Serving> {
  return serve(["--auth", "none", ...flags, "--", "sh", "-c", STUBBORN]);
}

describe("a group that ignores TERM is gone", () => {
  test.concurrent.each(["SIGTERM", "SIGINT"] as const)(
    "after %s and the drain, with the server",
    async (signal) => {
      await using server = await serveStubborn(["--drain", "500ms"]);
      using peer = await Peer.connect(server.port);
      const group = await enterGroup(peer);
      server.signal(signal);
      expect(await within("the end", server.exited)).toBe(0);
      expect(processesOf(group)).toEqual([]);
    },
  );

  test.concurrent("at once after a second signal", async () => {
    await using server = await serveStubborn(["--drain", "1h"]);
    using peer = await Peer.connect(server.port);
    const group = await enterGroup(peer);
    server.signal("SIGTERM");
    const again = setInterval(() => server.signal("SIGTERM"), 100);
    try {
      expect(await within("the end", server.exited)).toBe(0);
    } finally {
      clearInterval(again);
    }
    expect(processesOf(group)).toEqual([]);
  });
});

test.concurrent("the caller's own process group hears of none of it", async () => {
  using folder = tempFolder();
  const said = join(folder.path, "said");
  writeFileSync(said, "");
  // The server's neighbour in its group would write down any signal.
  const script = `
    setsid --wait sh -c '
      (trap "echo TERM >>\\"$1\\"" TERM; trap "echo HUP >>\\"$1\\"" HUP; while [ -e "$1" ]; do sleep 0.05; done) &
      "$2" serve --auth none --port-file "$3" --port 0 -- sh -c "$4" & server=$!
      echo $server; wait $server; echo "ended $?"' sh "$@"`;
  const args = [said, EXECUTABLE, join(folder.path, "port"), STUBBORN];
  const child = Bun.spawn(["sh", "-c", script, "sh", ...args], {
    cwd: folder.path,
    env: cleanEnv(folder.path),
    stdout: "pipe",
  });
  const reader = child.stdout.getReader();
  let output = "";
  const see = async (wanted: RegExp) => {
    for (;;) {
      const match = wanted.exec(output);
      if (match !== null) return match;
      output += Buffer.from((await within("output", reader.read())).value ?? []).toString();
    }
  };
  const [, port] = await see(/127\.0\.0\.1:(\d+)/);
  const [, pid] = await see(/^(\d+)$/m);
  using peer = await Peer.connect(Number(port));
  const group = await enterGroup(peer);
  expect(processesOf(group).includes(Number(pid))).toBe(false);
  peer.reset();
  await until("processes of the group", [], () => processesOf(group));
  process.kill(Number(pid), "SIGTERM");
  await see(/ended 0/);
  expect(await Bun.file(said).text()).toBe("");
  rmSync(said);
  await child.exited;
});
