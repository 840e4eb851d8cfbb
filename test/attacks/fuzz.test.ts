// Thousands of spoiled conversations, in every state of the login and after it: nobody gets in who should not, nothing
// breaks, hangs, stays behind or is given away.
//
//     PARLEY_FUZZ=20000 PARLEY_FUZZ_SEED=7 bun test test/attacks/fuzz

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseDocument } from "../../src/auth/document.ts";
import { normalizeName } from "../../src/auth/username.ts";
import type { AuthMode } from "../../src/auth/identity.ts";
import { parseToken } from "../../src/auth/token.ts";
import { LIFTED } from "../support/attack/target.ts";
import { tokenLogin } from "../../src/handshake/client.ts";
import type { Hello } from "../../src/wire/message.ts";
import {
  attack,
  descriptors,
  LENIENT,
  PATIENCE_MS,
  residentBytes,
  until,
  within,
} from "../support/attack.ts";
import { addUser, serve } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { Peer } from "../support/peer.ts";
import { PASSWORD, startServer } from "../support/server.ts";
import { cut, Random, SECRET, spoil, transcripts } from "./mutations.ts";

const COUNT = Number(process.env["PARLEY_FUZZ"] ?? 2000);
/** Fixed, so that a run says of a change what it did, not what chance did; others by hand. */
const SEED = Number(process.env["PARLEY_FUZZ_SEED"] ?? 1);
const BATCH = 100;
const AT_ONCE = 20;
const MAX_GROWTH_BYTES = 16 * 1024 * 1024;
/** Short enough for silence to end by itself, long enough for a login on a busy machine. */
const SILENCE_MS = 2000;
const TIMEOUT_MS = 15_000 + COUNT * 40;

interface Target {
  auth: AuthMode;
  register: boolean;
  port: number;
  /** What was logged since it was last asked, a JSON text an event. */
  events(): string[];
  /** Resolves when nobody is connected. */
  idle(): Promise<void>;
  /** The user file, and what it held before anybody came. */
  users: { path: string; before: string } | undefined;
}

/** A client that says what a good one would, spoiled, and goes away in one way or another. */
async function misbehave({ port, auth }: Target, random: Random): Promise<void> {
  const frames = random.pick(transcripts(PASSWORD));
  const client = await attack(port, `127.0.0.${2 + random.below(20)}`);
  const { socket } = client;
  let bytes = spoil(frames, random);
  if (random.chance(0.3)) {
    // The first login as it should be, so that what follows meets the answer.
    await client.greeted;
    const answered = new Promise((resolve) => socket.once("data", resolve));
    socket.write(frames[0]!);
    await Promise.race([answered, client.closed]);
    bytes = spoil(auth === "password" && random.chance(0.3) ? frames : frames.slice(1), random);
  }
  for (const piece of cut(bytes, random)) {
    await new Promise((resolve) => socket.write(piece, resolve));
  }
  const way = random.next();
  if (way < 0.5) socket.end();
  else if (way < 0.99) socket.resetAndDestroy();
  await client.closed; // or silence: the server loses its patience
}

/** The same behind a token that is a good one. */
async function misbehaveWithToken({ port }: Target, token: string, random: Random): Promise<void> {
  using peer = await Peer.connect(port);
  const parts = parseToken(token);
  if (parts === undefined) throw new Error(`no token: ${token}`);
  peer.json({
    ...tokenLogin((await peer.message()) as Hello, parts, new Uint8Array(0)),
    control: random.chance(0.5),
  });
  for (const piece of cut(spoil(random.pick(transcripts(PASSWORD)).slice(1), random), random))
    peer.raw(piece);
  peer.end();
  await peer.closed;
}

/** A good client logs in and is answered; its token, if it got one. */
async function beGood({ port, auth }: Target): Promise<string | undefined> {
  using peer = await Peer.connect(port);
  const hello = await peer.message();
  if (auth === "password") peer.json({ type: "login", method: "password", user: "ann", password: PASSWORD });
  else if (auth === "none") peer.json({ type: "login", method: "none" });
  else peer.json({ type: "login", method: hello["user"] === undefined ? "name" : "ip", user: "Good" });
  const welcome = await peer.message();
  expect(welcome["type"]).toBe("welcome");
  peer.send("well?");
  expect(await peer.text()).toBe("well?");
  peer.end();
  await peer.closed;
  return typeof welcome["token"] === "string" ? welcome["token"] : undefined;
}

function checkEvents(events: readonly string[]): void {
  expect(events.filter((event) => /internal-error|service-failed|users-failed/.test(event))).toEqual([]);
  expect(events.filter((event) => event.includes('"level":"error"'))).toEqual([]);
  expect(events.filter((event) => event.includes(SECRET) || event.includes(PASSWORD))).toEqual([]);
}

/** Only what clients may do was done: accounts by registering, names by saying them, nothing to those there were. */
function checkUsers({ users, auth, register }: Target): void {
  if (users === undefined) return;
  const text = readFileSync(users.path, "utf8");
  const document = parseDocument(text, users.path);
  for (const [name, user] of parseDocument(users.before, users.path).users) {
    const { last_login: _, ...now } = document.users.get(name) ?? {};
    expect(now).toEqual({ ...user });
  }
  for (const name of document.users.keys()) expect(normalizeName(name)).toBe(name);
  if (!register) expect([...document.users.keys()]).toEqual(auth === "password" ? ["ann"] : []);
  for (const token of document.tokens.values()) expect(document.users.has(token.user)).toBe(true);
  for (const address of document.hosts.keys()) expect(address).toStartWith("127.0.0.");
  expect(text).not.toContain(SECRET);
}

async function fuzz(targets: readonly Target[], wanted: number, resident: () => number): Promise<void> {
  const count = Math.ceil(wanted / BATCH) * BATCH;
  process.stderr.write(`PARLEY_FUZZ_SEED=${SEED} PARLEY_FUZZ=${count}\n`);
  const random = new Random(SEED);
  const tokens = new Map<Target, string | undefined>();
  let warm = 0;
  let growth = Infinity;
  // A heap may happen to grow while all else is well, the more so beside other tests; a leak does so every time.
  for (let done = 0; done < count || (growth >= MAX_GROWTH_BYTES && done < 4 * count); done += BATCH) {
    for (let sent = 0; sent < BATCH; sent += AT_ONCE) {
      const cases = Array.from({ length: AT_ONCE }, () => {
        const target = random.pick(targets);
        const own = new Random(random.below(2 ** 32)); // what one client does depends on no other's pace
        const token = tokens.get(target);
        const isHolder = token !== undefined && own.chance(0.1);
        return isHolder ? misbehaveWithToken(target, token, own) : misbehave(target, own);
      });
      await within(`clients ${done + sent} and on`, Promise.all(cases), PATIENCE_MS + SILENCE_MS);
    }
    for (const target of targets) {
      await target.idle();
      tokens.set(target, await within("a good client", beGood(target)));
      await target.idle();
      checkEvents(target.events());
      checkUsers(target);
    }
    Bun.gc(true);
    if (done < count / 4) warm = Math.max(warm, resident());
    else if ((done + BATCH) % count === 0) {
      const now = resident();
      growth = now - warm;
      warm = now;
    }
  }
  process.stderr.write(`resident memory grew by ${(growth / 1024 / 1024).toFixed(1)} MiB\n`);
  expect(growth).toBeLessThan(MAX_GROWTH_BYTES);
}

const MODES: readonly Pick<Target, "auth" | "register">[] = [
  { auth: "password", register: false },
  { auth: "password", register: true },
  { auth: "ip", register: false },
  { auth: "none", register: false },
];

test(
  "no spoiled conversation breaks a server, gets in, stays behind, or shows a password to the log",
  async () => {
    await using servers = new AsyncDisposableStack();
    const targets: Target[] = [];
    for (const mode of MODES) {
      const timeouts = { loginTimeoutMs: SILENCE_MS, idleTimeoutMs: SILENCE_MS };
      const { server, port, path, events } = servers.use(
        await startServer({ ...LENIENT, ...mode, ...timeouts }),
      );
      const before = mode.auth === "password" ? readFileSync(path, "utf8") : '{"version":1,"rev":0}';
      targets.push({
        ...mode,
        port,
        events: () => events.splice(0).map((event) => JSON.stringify(event)),
        idle: () => until("connections, sessions", [0, 0], () => [server.connections, server.sessions]),
        users: mode.auth === "none" ? undefined : { path, before },
      });
    }
    await fuzz(targets, COUNT, () => residentBytes("self"));
  },
  TIMEOUT_MS,
);

test(
  "nor the executable",
  async () => {
    using folder = tempFolder();
    const data = join(folder.path, "data");
    const log = join(folder.path, "log");
    await addUser(data, "ann", PASSWORD);
    const before = readFileSync(join(data, "users.json"), "utf8");
    const timeouts = ["--login-timeout", `${SILENCE_MS}ms`, "--idle-timeout", `${SILENCE_MS}ms`];
    const logging = ["--log", log, "--log-format", "json", "--log-level", "debug"];
    await using server = await serve(["--register", ...LIFTED, ...timeouts, ...logging], { data });
    await within("a good client", beGood({ auth: "password", port: server.port } as Target));
    const base = descriptors(server.pid);
    let read = 0;
    const target: Target = {
      auth: "password",
      register: true,
      port: server.port,
      events() {
        const lines = readFileSync(log, "utf8").split("\n");
        const fresh = lines.slice(read, -1);
        read = lines.length - 1;
        return fresh;
      },
      idle: () => until("descriptors", 0, () => Math.max(0, descriptors(server.pid) - base)),
      users: { path: join(data, "users.json"), before },
    };
    await fuzz([target], Math.ceil(COUNT / 4), () => residentBytes(server.pid));
    await server.stop();
  },
  TIMEOUT_MS,
);
