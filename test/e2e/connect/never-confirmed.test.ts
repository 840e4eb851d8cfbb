// `kill -9` of the server in the middle of a conversation: the client states exactly what was not confirmed.
//
//     client ── proxy, which counts what it passes on ── server, which notes what it took
//
// What the client cannot know, an acknowledgement that was on its way, must not exist here: so the proxy passes on all
// that the server said before it ends the connection, and reads what the client says into the void.
//
// PARLEY_TRIES, PARLEY_SEED: how many kills, and which.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { within } from "../../support/attack.ts";
import { cuttingProxy, seeded } from "../../support/cutting-proxy.ts";
import { Ears } from "../../support/ears.ts";
import { serve, start, type Serving } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";

const TRIES = Number(process.env["PARLEY_TRIES"] ?? 5);
const SEED = Number(process.env["PARLEY_SEED"] ?? 1);
const MESSAGES = 3000;
const LINES = Array.from({ length: MESSAGES }, (_, n) => `${n + 1}`);
const HANDLER = join(import.meta.dir, "../../support/numbering-handler.ts");
const SERVER = ["--auth", "none", "--no-tls", "--handler", HANDLER];

/** What `connect` says at its end. */
const TALLY = /sent (\d+) \((\d+) confirmed\), received (\d+)/;
const NEVER = /(\d+) messages? (?:was|were) never confirmed:/;

/** A talk whose server is killed once it was sent so many messages; all of them were ready by then, or came bit by bit. */
async function talk(random: () => number, isReplaced: boolean) {
  const killAt = 1 + Math.floor(random() * (MESSAGES - 1));
  const mostAtOnce = random() < 0.5 ? MESSAGES : 100;
  using folder = tempFolder();
  const noteOf = (name: string) => join(folder.path, name);
  const begin = (name: string): Promise<Serving> => serve(SERVER, { env: { TAKEN: noteOf(name) } });
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await begin("first"));
  const next = isReplaced ? stack.use(await begin("second")) : undefined;
  const heard: Ears[] = [];
  using proxy = await cuttingProxy({
    port: server.port,
    gentle: true,
    tap(direction, bytes, connection) {
      const ears = (heard[connection - 1] ??= new Ears());
      ears.hear(direction, bytes);
      if (connection > 1 || ears.up.payloads < killAt || proxy.options.port !== server.port) return;
      server.signal("SIGKILL");
      proxy.options.port = next?.port ?? 0;
    },
  });
  const flags = ["--no-tls", ...(isReplaced ? ["--retry", "forever"] : [])];
  await using client = start(["connect", proxy.address, ...flags]);
  for (let from = 0; from < MESSAGES;) {
    const to = from + Math.ceil(random() * mostAtOnce);
    client.write(`${LINES.slice(from, to).join("\n")}\n`);
    from = to;
    await new Promise((resolve) => setImmediate(resolve));
  }
  client.endInput();
  const code = await within("the end", client.exited);
  const said = client.stderr.text;
  const taken = (name: string): string[] => {
    if (!existsSync(noteOf(name))) return [];
    const lines = readFileSync(noteOf(name), "utf8").split("\n").slice(0, -1);
    return lines.map((line) => line.slice(line.indexOf("\t") + 1));
  };
  const [, sent = NaN, confirmed = NaN, received = NaN] = (TALLY.exec(said) ?? []).map(Number);
  const never = Number(NEVER.exec(said)?.[1]);
  const answers = client.stdout.text.split("\n").length - 1;
  return {
    code,
    said,
    sent,
    confirmed,
    received,
    never,
    answers,
    heard,
    first: taken("first"),
    second: taken("second"),
  };
}

describe.each([
  ["nothing comes after it", false],
  ["another takes its place", true],
])("a server that is killed, and %s", (_, isReplaced) => {
  const random = seeded(SEED);
  test.each(Array.from({ length: TRIES }, (_, n) => n + 1))(
    "%d",
    async () => {
      const { code, said, heard, ...told } = await talk(random, isReplaced);
      expect([code, TALLY.test(said) || said]).toEqual([6, true]);
      const acknowledged = heard[0]?.down.acknowledged ?? 0;
      const wayDown = heard.reduce((sum, { down }) => sum + down.payloads, 0);
      expect([told.received, told.answers]).toEqual([wayDown, wayDown]);
      // It was taken in order, from the first on, and so was all that was acknowledged.
      expect(told.first).toEqual(LINES.slice(0, told.first.length));
      expect(told.first.length).toBeGreaterThanOrEqual(acknowledged);
      if (!isReplaced) {
        expect(told.confirmed).toBe(acknowledged);
        // What was sent but is still in the client's own queue is not seen on the way.
        expect(told.sent).toBeWithin(heard[0]?.up.payloads ?? 0, MESSAGES + 1);
        return;
      }
      // Session two begins with what was not yet sent: what lies before that, and was not acknowledged, was never confirmed.
      const { up, down } = heard.at(-1) ?? new Ears();
      const goesOn = Number(up.first ?? MESSAGES + 1);
      expect(told.never).toBe(goesOn - 1 - acknowledged);
      expect([told.sent, told.confirmed]).toEqual([MESSAGES, acknowledged + down.acknowledged]);
      expect(told.second).toEqual(LINES.slice(goesOn - 1));
    },
    60_000,
  );
});
