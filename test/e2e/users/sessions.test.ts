// parley users sessions beside a running server: which tokens are in a conversation, which conversations have none, which
// of them sleep, and since when.

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { addUser, PASSWORD, run, serve, type Serving } from "../../support/executable.ts";
import { FileStore } from "../../../src/auth/file-store.ts";
import { MAX_TOKENS_PER_USER } from "../../../src/base/limits.ts";
import { tempFolder } from "../../support/folder.ts";
import { Peer } from "../../support/peer.ts";
import { until } from "../../support/attack.ts";

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
    const { live, detached_since } = JSON.parse(stdout) as { live: number; detached_since: string | null };
    return [live, detached_since !== null];
  };
  await until("sessions", [1, false], list);
  peer.reset();
  await until("sessions", [0, true], list);
  await server.stop();
  expect(await list()).toEqual([0, false]);
  await until("files left", [], () => readdirSync(data).filter((name) => name.startsWith("sessions-")));
});

test("a file that a killed server left says nothing, although its process id is another's by now", async () => {
  using folder = tempFolder();
  const data = folder.path;
  const left = { token: null, user: "ann", peer: "127.0.0.1:1", since: Date.now(), detached_since: null };
  const file = join(data, `sessions-${process.pid}.json`);
  writeFileSync(file, JSON.stringify({ sessions: [left] }), { mode: 0o600 });
  expect((await run(["users", "sessions", "--json"], { data })).stdout).toBe("");
  await using _ = await serve([], { data });
  expect(existsSync(file)).toBe(false);
});

test("a list that was taken away is made anew", async () => {
  using folder = tempFolder();
  const data = folder.path;
  await addUser(data);
  await using server = await serve([], { data });
  using peer = await Peer.connect(server.port);
  await peer.logIn("ann", PASSWORD, { control: true });
  const files = () => readdirSync(data).filter((name) => name.startsWith("sessions-"));
  const [first = ""] = files();
  rmSync(join(data, first));
  await until("another file", true, () => files().length === 1 && files()[0] !== first);
  const live = async () => (await run(["users", "sessions", "--json"], { data })).stdout.includes('"live":1');
  await until("a live session", true, live);
  peer.reset();
  await server.stop();
});

test("logins end no conversation that goes on, at this server or at another one on the same folder", async () => {
  using folder = tempFolder();
  const data = folder.path;
  await addUser(data);
  const flags = ["--max-per-user", "100", "--penalties", "off"];
  await using here = await serve(flags, { data });
  await using there = await serve(flags, { data });
  const login = async (server: Serving) => {
    const peer = await Peer.connect(server.port);
    return { peer, welcome: await peer.logIn("ann", PASSWORD, { control: true, resume_for: 60 }) };
  };
  // As many as are kept have a conversation, and one more: awake at one server, asleep at the other.
  const awake = await login(here);
  const asleep: Awaited<ReturnType<typeof login>>[] = [];
  while (asleep.length < MAX_TOKENS_PER_USER) asleep.push(await login(there));
  for (const { peer } of asleep) peer.reset();
  const live = async () => {
    const { stdout } = await run(["users", "sessions", "--json"], { data });
    const rows = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Row);
    return rows.filter((row) => row.live > 0 || row.detached_since !== null).length;
  };
  await until("sessions", MAX_TOKENS_PER_USER + 1, live);
  // An hour passes: none of them was used a moment ago, and there are more that are not in use at all.
  const old = (minutes: number) => new Date(Date.now() - (60 + minutes) * 60_000).toISOString();
  const store = new FileStore(join(data, "users.json"));
  await store.change((draft) => {
    for (const [id, token] of draft.tokens) draft.tokens.set(id, { ...token, created: old(9), used: old(9) });
    for (let n = 0; n < MAX_TOKENS_PER_USER; n++) {
      const [, token] = [...draft.tokens][0] ?? [];
      if (token !== undefined) draft.tokens.set(`idle000${n}`, { ...token, created: old(n), used: old(-n) });
    }
  });
  const inUse = [awake, ...asleep].map(({ welcome }) => String(welcome["token"]).split("_")[1] ?? "");
  for (let logins = 0; logins < 3; logins++) {
    const { peer } = await login(logins % 2 === 0 ? there : here);
    peer.control({ type: "bye", code: "left" });
    await peer.rest();
  }
  const { tokens } = new FileStore(store.place).document;
  expect(inUse.filter((id) => !tokens.has(id))).toEqual([]);
  expect([...tokens.keys()].filter((id) => id.startsWith("idle"))).toHaveLength(MAX_TOKENS_PER_USER);
  awake.peer.send("still here");
  expect(await awake.peer.text()).toBe("still here");
  awake.peer.reset();
  for (const server of [here, there]) await server.stop();
});

interface Row {
  id: string | null;
  user: string | null;
  from: string;
  live: number;
  since: string | null;
  detached_since: string | null;
}

test.each([
  ["whoever needs no login", ["--auth", "none"], null],
  ["a known address", ["--auth", "ip"], "Ann"],
  ["a login that wanted no token", [], "ann"],
] as const)("shows a conversation without a token, live and asleep: %s", async (_, flags, user) => {
  using folder = tempFolder();
  const data = folder.path;
  if (flags.length === 0) await addUser(data);
  await using server = await serve([...flags], { data });
  const list = async (name: string[] = []) => {
    const { stdout, exitCode } = await run(["users", "sessions", ...name, "--json"], { data });
    expect(exitCode).toBe(0);
    return stdout.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Row]));
  };
  const becomes = async (live: number) => {
    let rows: Row[] = [];
    const look = async () => (rows = await list()).map((row) => [row.live, row.detached_since !== null]);
    await until("sessions", [[live, live === 0]], look);
    expect(rows[0]).toMatchObject({ id: null, user });
    return rows[0]!;
  };
  using peer = await Peer.connect(server.port);
  await peer.message();
  const method = user === null ? "none" : user === "Ann" ? "name" : "password";
  const login = { type: "login", method, user: user ?? undefined, password: PASSWORD, token: false };
  peer.json({ ...login, control: true, resume_for: 60 });
  expect(await peer.message()).toMatchObject({ type: "welcome", user });
  const awake = await becomes(1);
  expect(awake.from).toMatch(/^127\.0\.0\.1:\d+$/);
  expect(Date.parse(awake.since ?? "")).toBeWithin(Date.now() - 60_000, Date.now() + 1);
  peer.reset();
  const asleep = await becomes(0);
  expect(asleep.since).toBe(awake.since);
  if (user !== null) expect(await list([user])).toEqual([asleep]);
  else expect((await run(["users", "sessions", "ann"], { data })).exitCode).toBe(1);
  await server.stop();
  await until("files left", [], () => readdirSync(data).filter((name) => name.startsWith("sessions-")));
});
