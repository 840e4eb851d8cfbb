// parley users sessions beside a running server: which tokens are in a conversation, which of them sleep, and since when.

import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { addUser, PASSWORD, run, serve } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { Peer } from "../support/peer.ts";
import { until } from "../support/attack.ts";

setDefaultTimeout(90_000);

test("shows live and sleeping sessions, and nothing of a server that is gone", async () => {
  using folder = tempFolder();
  const data = folder.path;
  await addUser(data);
  await using server = await serve([], { data });
  using peer = await Peer.connect(server.port);
  await peer.logIn("ann", PASSWORD, { control: true, resume_for: 60 });
  const list = async () => {
    const { stdout } = await run(["users", "sessions", "--json"], { data });
    const { live, asleep_since } = JSON.parse(stdout) as { live: number; asleep_since: string | null };
    return [live, asleep_since !== null];
  };
  const becomes = async (wanted: unknown[]) => {
    while (JSON.stringify(await list()) !== JSON.stringify(wanted)) continue; // each look takes a process
  };
  await becomes([1, false]);
  peer.reset();
  await becomes([0, true]);
  await server.stop();
  expect(await list()).toEqual([0, false]);
  await until("files left", [], () => readdirSync(data).filter((name) => name.startsWith("sessions-")));
});
