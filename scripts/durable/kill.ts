// `kill -9` of the server in the middle of a conversation: does the client state exactly what nobody confirmed?
//
//     client ── proxy, which counts what it passes on ── server, which notes what it took
//
// What the client cannot know, an acknowledgement that was on its way, must not exist here: so the proxy passes on all
// that the server said before it ends the connection, and reads what the client says into the void.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { cuttingProxy, seeded } from "../../test/support/cutting-proxy.ts";
import { serve, start, type Serving } from "../../test/support/executable.ts";
import { tempFolder } from "../../test/support/folder.ts";
import { parting, type Figure, type Scale } from "./figure.ts";
import { Ears } from "./wire.ts";

const MESSAGES = 5000;
const PATIENCE_MS = 30_000;
const SERVER = ["--auth", "none", "--no-tls", "--handler", join(import.meta.dir, "numbering.ts")];
const LINES = Array.from({ length: MESSAGES }, (_, n) => `${n + 1}`);

/** What `connect` says at its end. */
const TALLY = /(\d+) messages? sent, (\d+) of them confirmed, (\d+) answers? received/;
const NEVER = /(\d+) messages? (?:was|were) never confirmed:/;

interface Try {
  /** Messages that the client states were never confirmed. */
  never: number;
  fault: string | undefined;
}

export async function* kill({ tries, seeds }: Scale): AsyncGenerator<Figure> {
  for (const restarted of [false, true]) {
    const random = seeded(seeds[0] ?? 1);
    const all: Try[] = [];
    for (let n = 0; n < tries; n++) all.push(await once(random, restarted));
    const nevers = all.map(({ never }) => never);
    const faults = all.flatMap(({ fault }, n) => (fault === undefined ? [] : [`try ${n + 1}: ${fault}`]));
    const after = restarted
      ? "another takes its place, and the client comes back to that"
      : "nothing comes after it";
    yield {
      scene: "kill",
      what: `${tries} × \`kill -9\` of the server; ${after}`,
      measured:
        `${tries - faults.length} of ${tries} stated exactly what was not confirmed: ` +
        `${Math.min(...nevers)} to ${Math.max(...nevers)} of ${MESSAGES} messages`,
      fault: faults.length === 0 ? undefined : `${faults.length} wrong: ${faults.slice(0, 3).join("; ")}`,
    };
  }
}

/** Kills the server once it was sent so many messages; all of them were ready to be sent, or came bit by bit. */
async function once(random: () => number, restarted: boolean): Promise<Try> {
  const killAt = 1 + Math.floor(random() * (MESSAGES - 1));
  const mostAtOnce = random() < 0.5 ? MESSAGES : 100;
  using folder = tempFolder();
  const taken = (name: string) => join(folder.path, name);
  const begin = (name: string): Promise<Serving> => serve(SERVER, { env: { TAKEN: taken(name) } });
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await begin("first"));
  const next = restarted ? stack.use(await begin("second")) : undefined;
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
  await using client = start([
    "connect",
    proxy.address,
    "--no-tls",
    ...(restarted ? ["--retry", "forever"] : []),
  ]);
  for (let from = 0; from < MESSAGES;) {
    const to = from + Math.ceil(random() * mostAtOnce);
    client.write(`${LINES.slice(from, to).join("\n")}\n`);
    from = to;
    await delay(1);
  }
  client.endInput();
  const code = await Promise.race([client.exited, delay(PATIENCE_MS, undefined, { ref: false })]);
  const said = client.stderr.text;
  const [, sent = NaN, confirmed = NaN, received = NaN] = (TALLY.exec(said) ?? []).map(Number);
  const never = sent - confirmed;
  const fault = judge();
  return { never, fault };

  function judge(): string | undefined {
    if (code === undefined) return "it does not end";
    if (code !== 6 || Number.isNaN(received)) return `exit ${code}: ${said.trim()}`;
    const first = heard[0]?.down.acknowledged ?? 0;
    const answers = client.stdout.text.split("\n").slice(0, -1);
    const wayDown = heard.reduce((sum, { down }) => sum + down.payloads, 0);
    const faults = [
      differ("answers received", received, wayDown),
      differ("answers printed", answers.length, wayDown),
      tookRightly(read("first"), first),
    ];
    if (next === undefined) {
      faults.push(differ("confirmed", confirmed, first));
      // What was sent but is still in the client's own queue is not seen on the way.
      const onItsWay = heard[0]?.up.payloads ?? 0;
      if (sent < onItsWay || sent > MESSAGES) faults.push(`${sent} sent, not ${onItsWay} to ${MESSAGES}`);
    } else {
      // Session two begins with what was not yet sent: what lies between that and the acknowledged was never confirmed.
      const { up, down } = heard.at(-1) ?? new Ears();
      const goesOn = Number(up.first ?? MESSAGES + 1);
      const stated = Number(NEVER.exec(said)?.[1]);
      faults.push(
        differ("never confirmed", stated, goesOn - 1 - first),
        differ("confirmed", confirmed, first + down.acknowledged),
        differ("sent", sent, MESSAGES),
        parting(read("second"), LINES.slice(goesOn - 1)),
      );
    }
    return faults.find((one) => one !== undefined);
  }

  function read(name: string): string[] {
    if (!existsSync(taken(name))) return [];
    const lines = readFileSync(taken(name), "utf8").split("\n").slice(0, -1);
    return lines.map((line) => line.slice(line.indexOf("\t") + 1));
  }
}

/** Was it taken in order, from the first on, and all that was acknowledged? */
function tookRightly(took: string[], acknowledged: number): string | undefined {
  const fault = parting(took, LINES.slice(0, took.length));
  if (fault !== undefined) return `taken: ${fault}`;
  return took.length < acknowledged ? `${acknowledged} acknowledged, but ${took.length} taken` : undefined;
}

function differ(what: string, stated: number, counted: number): string | undefined {
  return stated === counted ? undefined : `${what}: ${stated}, counted ${counted}`;
}
