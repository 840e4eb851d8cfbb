// parley users sessions with two servers on one engine.

import { join } from "node:path";
import { expect, setDefaultTimeout, test } from "bun:test";
import { PASSWORD, run, serve, start, type Running } from "../../support/executable.ts";
import { LOST_SERVER_MS, SILENT_SERVER_MS } from "../../../src/base/limits.ts";
import { tempFolder } from "../../support/folder.ts";
import { lacksTools } from "../../support/privileges.ts";
import { startRedis } from "../../support/redis.ts";

setDefaultTimeout(90_000);

interface Row {
  user: string;
  live: number;
  detached_since: string | null;
}

test.skipIf(lacksTools("redis-server"))(
  "sessions of all servers on one engine are listed, until their server stops or is killed",
  async () => {
    using folder = tempFolder();
    await using redis = await startRedis();
    const options = { data: join(folder.path, "one"), env: { PARLEY_STORE: redis.url } };
    for (const name of ["ann", "bob"])
      await run(["users", "add", name, "--password-stdin"], { ...options, stdin: PASSWORD });
    await using first = await serve([], options);
    await using second = await serve([], { ...options, data: join(folder.path, "two") });
    const converse = async (user: string, { address }: { address: string }): Promise<Running> => {
      const client = start(["connect", `${user}@${address}`], { env: { PARLEY_PASSWORD: PASSWORD } });
      client.write("hello\n");
      await client.stdout.see("hello\n");
      return client;
    };
    const listed = async () => {
      const { stdout, stderr, exitCode } = await run(["users", "sessions", "--json"], options);
      expect([exitCode, stderr]).toEqual([0, ""]);
      const rows = stdout.split("\n").flatMap((line) => (line === "" ? [] : (JSON.parse(line) as Row)));
      return Object.fromEntries(rows.map(({ user, live }) => [user, live]));
    };
    const untilListed = async (wanted: Record<string, number>) => {
      while (!Bun.deepEquals(await listed(), wanted)) await Bun.sleep(20);
    };

    await using _ann = await converse("ann", first);
    await using _bob = await converse("bob", second);
    await untilListed({ ann: 1, bob: 1 });

    second.signal("SIGKILL");
    await second.exited;
    const key = "parley:{parley}:servers";
    const silent = async (id: string) => {
      // As if the time had passed: the server that lives speaks again within 2 s.
      await redis.command("HINCRBY", key, id, String(-SILENT_SERVER_MS));
    };
    for (const id of (await redis.command("HKEYS", key)) as string[]) await silent(id);
    await untilListed({ ann: 1, bob: 0 });

    await redis.command("HSET", key, "strange", String(Date.now() + LOST_SERVER_MS));
    await redis.command("HSET", "parley:{parley}:sessions:strange", "list", "torn");
    const { stdout, stderr } = await run(["users", "sessions"], options);
    expect(stdout).toContain("\n");
    expect(stderr).toBe(
      "the list may be incomplete: the list of sessions in parley:{parley}:sessions:strange is missing or damaged\n",
    );
    await redis.command("HDEL", key, "strange");
    await redis.command("DEL", "parley:{parley}:sessions:strange");

    await first.stop();
    expect(await listed()).toEqual({ ann: 0, bob: 0 });
    const left = (await redis.command("KEYS", "parley:{parley}:sessions:*")) as string[];
    expect(left).toHaveLength(1); // that of the killed server, which may only be cut off for all that others know
  },
);
