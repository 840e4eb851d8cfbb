// A good client that goes wrong after each of its first bytes, by RST, by FIN or by falling silent: each connection's
// fate is in the log once, and nothing of it stays behind.

import { expect, test } from "bun:test";
import { attack, descriptors, LENIENT, PATIENCE_MS, until, within } from "../support/attack.ts";
import { frame } from "../support/peer.ts";
import { PASSWORD, startServer, type LoggedEvent, type TestServer } from "../support/server.ts";

const POINTS = 400;
/** Fewer than may wait for their hashes. */
const AT_ONCE = 30;
/** Ends a silence, and is four looks at all sessions. */
const SILENCE_MS = 400;

const LOGIN = frame(
  JSON.stringify({ type: "login", method: "password", user: "ann", password: PASSWORD, control: true }),
);
const TRANSCRIPT = Buffer.concat([
  LOGIN,
  ...["one", "", "two".repeat(20), "three".repeat(40)].map((text) => frame(text)),
  frame('{"type":"ping","n":1}', true),
  frame("the last"),
  frame('{"type":"end"}', true),
]);

type Way = "RST" | "FIN" | "silence";

/** Sends the first `count` bytes and then goes wrong; resolves when the socket is closed. */
async function fail(port: number, count: number, way: Way, from: string): Promise<string> {
  const { socket, closed, greeted } = await attack(port, from);
  const peer = `${from}:${socket.localPort}`;
  await greeted; // half of them after hello, half on its heels, would be a matter of luck
  await new Promise((resolve) => socket.write(TRANSCRIPT.subarray(0, count), resolve));
  if (way === "RST") socket.resetAndDestroy();
  if (way === "FIN") socket.end();
  await closed;
  return peer;
}

const ENDS = new Set(["disconnected", "refused"]);

/** What must be in the log of one connection, whatever happened. */
function checkFate(events: readonly LoggedEvent[], count: number, way: Way): void {
  const names = events.map(({ event }) => event);
  const told = `${count} bytes, ${way}: ${names.join(", ")}`;
  const times = (wanted: string) => names.filter((name) => name === wanted).length;
  expect([told, names[0]]).toEqual([told, "connected"]);
  expect([told, names.filter((name) => ENDS.has(name)).length]).toEqual([told, 1]);
  expect([told, ENDS.has(names.at(-1) ?? "")]).toEqual([told, true]);
  expect([told, times("logged-in") <= 1, times("dropped") <= times("logged-in")]).toEqual([told, true, true]);
  if (count < LOGIN.length) expect([told, times("logged-in")]).toEqual([told, 0]);
  // Whoever was patient enough to be logged in, was.
  else if (way !== "RST") expect([told, times("logged-in")]).toEqual([told, 1]);
}

/** Goes wrong after each count of bytes, some at once; every end is in the server's log. */
async function failAll(
  { server, port, events: logged }: TestServer,
  counts: number[],
  way: Way,
  atOnce: number,
): Promise<void> {
  while (counts.length > 0) {
    // An address each, so that nobody is refused for another's sake.
    const batch = counts.splice(0, atOnce).map(async (count, index) => {
      return { count, peer: await fail(port, count, way, `127.0.0.${10 + index}`) };
    });
    const failed = await within(`${way}, ${counts.length} points to go`, Promise.all(batch));
    await until("connections and sessions", [0, 0], () => [server.connections, server.sessions]);
    // The login of one that left is given up when its turn has come.
    const ends = () => logged.filter(({ event }) => ENDS.has(event)).length;
    await until("ends", failed.length, ends);
    const events = logged.splice(0);
    expect(events.filter(({ level }) => level === "error")).toEqual([]);
    for (const { count, peer } of failed) {
      const own = events.filter(({ fields }) => fields["peer"] === peer);
      checkFate(own, count, way);
    }
  }
}

test.each<Way>(["RST", "FIN", "silence"])(
  `%s after each of the first ${POINTS} bytes: one end for each connection, and nothing left`,
  async (way) => {
    expect(TRANSCRIPT.length).toBeGreaterThanOrEqual(POINTS);
    const counts = Array.from({ length: POINTS }, (_, index) => index + 1);
    const isSilent = way === "silence";
    await using hasty = await startServer({
      ...LENIENT,
      loginTimeoutMs: isSilent ? SILENCE_MS : PATIENCE_MS,
    });
    // Whoever says all of its login is given the time for its hash, and is silent only after that.
    await using patient = await startServer({
      ...LENIENT,
      loginTimeoutMs: PATIENCE_MS,
      idleTimeoutMs: isSilent ? SILENCE_MS : undefined,
      abandonedHookMs: SILENCE_MS,
    });
    const base = descriptors("self");
    await failAll(hasty, counts.splice(0, LOGIN.length - 1), way, LOGIN.length);
    await failAll(patient, counts, way, AT_ONCE);
    await until("descriptors too many", 0, () => Math.max(0, descriptors("self") - base));
  },
  120_000,
);
