// What an engine sees and writes down of a whole run: no password, no token secret, no password of its own. And many servers that start
// at once on an empty engine share one store.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { until } from "../support/attack.ts";
import { run, serve, start, type Options } from "../support/executable.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";
import { lacksTools } from "../support/privileges.ts";
import { startRedis } from "../support/redis.ts";

setDefaultTimeout(90_000);

let folder: TempFolder;
let data: string;
beforeEach(() => {
  folder = tempFolder();
  data = join(folder.path, "data");
});
afterEach(() => folder[Symbol.dispose]());

const STORE_PASSWORD = "canary-store-0d8f";
const FIRST = "canary-first-71b2";
const SECOND = "canary-second-9c4e";
const OWN = "canary-own-55aa";
const WRONG = "canary-wrong-e3f0";
const STDIN = "--password-stdin";

/** Every text in a file below `path`. */
function contentsBelow(path: string): string {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"))
    .join("\n");
}

describe.skipIf(lacksTools("redis-server", "redis-cli"))("an engine", () => {
  test("sees no password and no secret of a token in a whole run, and writes none down", async () => {
    await using redis = await startRedis({
      appendonly: true,
      acl: ["user default on nopass ~* +@all", `user parley on >${STORE_PASSWORD} ~* +@all`],
    });
    const monitor = Bun.spawn(["redis-cli", "-s", redis.socket, "MONITOR"], { stdout: "pipe" });
    let seen = "";
    const watching = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of monitor.stdout) seen += decoder.decode(chunk, { stream: true });
    })();
    await until("the monitor", true, () => seen.startsWith("OK"));
    const env = {
      PARLEY_STORE: redis.url.replace("://", "://parley@"),
      PARLEY_STORE_PASSWORD: STORE_PASSWORD,
    };
    const users = (argv: string[], options: Options = {}) =>
      run(["users", ...argv], { data, env, ...options });
    const home = join(folder.path, "client");
    const connect = (to: string, password: string, more: string[] = []) =>
      run(["connect", to, "--send", "x", ...more], { data: home, env: { PARLEY_PASSWORD: password } });

    expect((await users(["add", "ann", STDIN], { stdin: FIRST })).exitCode).toBe(0);
    await using server = await serve(["--register"], { data, env });
    const { address } = server;
    expect((await connect(`ann@${address}`, FIRST)).exitCode).toBe(0); // gets a token
    expect((await connect(`ann@${address}`, "")).exitCode).toBe(0); // uses it
    const secrets = contentsBelow(home).match(/[\w+/-]{40,}={0,2}/g) ?? [];
    expect(secrets.length).toBeGreaterThan(0);
    expect((await connect(`eve@${address}`, OWN, ["--register"])).exitCode).toBe(0);
    expect((await connect(`dan@${address}`, WRONG)).exitCode).not.toBe(0);
    expect((await users(["passwd", "ann", STDIN], { stdin: SECOND })).exitCode).toBe(0);
    expect((await connect(`ann@${address}`, WRONG)).exitCode).not.toBe(0);
    await using talk = start(["connect", `ann@${address}`], { data: home, env: { PARLEY_PASSWORD: SECOND } });
    talk.write("canary-message\n");
    await talk.stdout.see("canary-message\n");
    expect((await users(["revoke", "--all"])).exitCode).toBe(0);
    expect(await talk.exited).not.toBe(0);
    const wrong = { ...env, PARLEY_STORE_PASSWORD: WRONG };
    expect((await users(["list"], { env: wrong })).exitCode).toBe(1);
    const exported = (await users(["export", "--all"])).stdout;
    expect((await users(["import", "--all", "-", "--replace"], { stdin: exported })).exitCode).toBe(0);
    await server.stop();
    monitor.kill();
    await watching;

    const stored = contentsBelow(join(redis.folder, "appendonlydir"));
    const digests = new Set(exported.match(/[\w+/-]{40,}={0,2}/g));
    for (const [what, text] of [
      ["MONITOR", seen],
      ["the file", stored],
      ["the engine's log", readFileSync(join(redis.folder, "redis.log"), "latin1")],
    ] as const) {
      const found = ["canary", ...secrets.filter((one) => !digests.has(one))].filter((secret) =>
        text.includes(secret),
      );
      expect([what, found]).toEqual([what, []]);
    }
    // They did see the run.
    for (const text of [seen, stored]) expect(text).toContain("$argon2id$");
  });

  test("that is empty gets one identity from ten servers that start at once", async () => {
    await using redis = await startRedis();
    const env = { PARLEY_STORE: redis.url };
    const servers = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        serve(["--register"], { data: join(folder.path, `data-${n}`), env }),
      ),
    );
    const registered = await Promise.all(
      servers.map(({ address }, n) =>
        run(["connect", `user-${n}@${address}`, "--register", "--send", "x"], {
          data: join(folder.path, `client-${n}`),
          env: { PARLEY_PASSWORD: FIRST },
        }),
      ),
    );
    expect(registered.map(({ exitCode }) => exitCode)).toEqual(servers.map(() => 0));
    const epoch = await redis.command("HGET", "parley:{parley}:meta", "epoch");
    for (const [n, server] of servers.entries()) {
      await server.stop();
      const known = readFileSync(join(folder.path, `data-${n}`, "stores.json"), "utf8");
      expect(known).toContain(String(epoch));
    }
    const listed = await run(["users", "list"], { data, env });
    expect(listed.stdout.match(/^user-/gm)?.length).toBe(10);
  });
});
