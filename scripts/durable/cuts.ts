// A way that is cut again and again: every message once and in order, on both sides.

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { cuttingProxy, type CuttingOptions } from "../../test/support/cutting-proxy.ts";
import { serve, start, type Running } from "../../test/support/executable.ts";
import { parting, seconds, type Figure, type Scale } from "./figure.ts";
import { Ears } from "./wire.ts";

export interface Way {
  scene: string;
  server: readonly string[];
  tls: boolean;
}

const NUMBERING = join(import.meta.dir, "numbering.ts");
const OPEN = ["--auth", "none"];
export const WAYS = {
  echo: { scene: "echo", server: [...OPEN, "--no-tls", "--handler", NUMBERING], tls: false },
  tls: { scene: "tls", server: [...OPEN, "--tls", "--handler", NUMBERING], tls: true },
  program: { scene: "program", server: [...OPEN, "--no-tls", "--", "cat", "-n"], tls: false },
} as const satisfies Record<string, Way>;

/** What the cuts came to, told by where they were. */
class Cuts {
  readonly #ears = new Map<number, Ears>();
  readonly #how = { reset: 0, end: 0 };
  readonly #where = { login: 0, frame: 0, between: 0 };
  readonly #tls: boolean;

  constructor(tls: boolean) {
    this.#tls = tls;
  }

  /** What a proxy has to be told. */
  get options(): Pick<CuttingOptions, "tap" | "onCut"> {
    return {
      tap: (direction, bytes, connection) => {
        if (this.#tls) return;
        const ears = this.#ears.get(connection) ?? new Ears();
        this.#ears.set(connection, ears);
        ears.hear(direction, bytes);
      },
      onCut: (how, connection) => {
        this.#how[how]++;
        if (!this.#tls) this.#where[this.#ears.get(connection)?.place ?? "login"]++;
        this.#ears.delete(connection);
      },
    };
  }

  get total(): number {
    return this.#how.reset + this.#how.end;
  }

  get summary(): string {
    const { login, frame, between } = this.#where;
    const where = this.#tls ? "" : `; ${login} before welcome, ${frame} within a frame, ${between} between`;
    return `${this.total} cuts (${this.#how.reset} RST, ${this.#how.end} FIN${where})`;
  }
}

/** Bytes from cut to cut: under TLS many are cut in its handshake, of about 2 KB, too. */
const stride = (tls: boolean) =>
  tls ? { first: 6000, least: 200, most: 12_000 } : { least: 100, most: 3000 };

const patienceMs = (cuts: number) => 60_000 + cuts * 2000;

/** Waits for `condition`; false when that takes too long. */
async function comes(condition: () => boolean, withinMs: number): Promise<boolean> {
  for (const deadline = performance.now() + withinMs; !condition(); await delay(20)) {
    if (performance.now() > deadline) return false;
  }
  return true;
}

/** Its exit code; undefined when it is not at its end in time. */
function exit(running: Running, withinMs: number): Promise<number | undefined> {
  return Promise.race([running.exited, delay(withinMs, undefined, { ref: false })]);
}

/** One conversation through a pipe. */
export async function through(
  { scene, server, tls }: Way,
  { messages, cuts }: Scale,
  seed: number,
): Promise<Figure> {
  await using serving = await serve([...server]);
  const seen = new Cuts(tls);
  using proxy = await cuttingProxy({ port: serving.port, cuts, seed, ...stride(tls), ...seen.options });
  const lines = Array.from({ length: messages }, (_, n) => `${n + 1} ${"x".repeat(n % (tls ? 297 : 97))}`);
  const pin = tls ? ["--tls", "--pin", String(serving.ready["tls"])] : ["--no-tls"];
  const began = performance.now();
  await using client = start(["connect", proxy.address, ...pin, "--retry", "forever"]);
  client.write(`${lines.join("\n")}\n`);
  client.endInput();
  const code = await exit(client, patienceMs(cuts));
  const took = performance.now() - began;
  const got = client.stdout.text.split("\n").slice(0, -1);
  const wanted = lines.map((line, n) => `${n + 1}\t${line}`);
  return {
    scene,
    what: `seed ${seed}: ${messages} messages`,
    measured: `${seen.summary}, ${proxy.connections} connections, ${seconds(took)}`,
    fault:
      parting(
        got.map((line) => line.trimStart()),
        wanted,
      ) ?? ending(code, client.stderr.text, seen.total, cuts),
  };
}

/** What is said of each return when nothing was lost. */
const RETURN = /^reconnected after .*, none lost\n/gm;

function ending(code: number | undefined, said: string, done: number, cuts: number): string | undefined {
  if (code === undefined) return "it does not end";
  const more = said.replaceAll(RETURN, "").trim();
  if (code !== 0 || more !== "") return `exit ${code}: ${more}`;
  return done < cuts ? `only ${done} cuts` : undefined;
}

/** Two members of a chat, each over its own broken way. */
export async function chat({ messages, cuts }: Scale, seed: number): Promise<Figure> {
  const NAMES = ["one", "two"] as const;
  const each = messages / NAMES.length;
  const patience = patienceMs(cuts);
  await using stack = new AsyncDisposableStack();
  const serving = stack.use(await serve([...OPEN, "--no-tls", "--service", "chat"]));
  const seen = new Cuts(false);
  const began = performance.now();
  const members: Running[] = [];
  for (const index of NAMES.keys()) {
    // Each counts its connections from 1: the second's are told apart by their sign.
    const { tap, onCut } = seen.options;
    const sign = index === 0 ? 1 : -1;
    const proxy = stack.use(
      await cuttingProxy({
        port: serving.port,
        cuts: Math.floor(cuts / NAMES.length),
        seed: NAMES.length * seed + index,
        ...stride(false),
        tap: (direction, bytes, connection) => tap?.(direction, bytes, sign * connection),
        onCut: (how, connection) => onCut?.(how, sign * connection),
      }),
    );
    const member = stack.use(start(["connect", proxy.address, "--no-tls", "--retry", "forever"]));
    members.push(member);
    await member.stdout.see("here:");
  }
  const said = NAMES.map((name) => Array.from({ length: each }, (_, n) => `${name} ${n + 1}.`));
  for (const [index, member] of members.entries()) member.write(`${said[index]?.join("\n")}\n`);
  const last = said.map((lines) => `: ${lines.at(-1)}\n`);
  await comes(
    () => members.every(({ stdout }) => last.every((line) => stdout.text.includes(line))),
    patience,
  );
  const took = performance.now() - began;
  for (const member of members) member.endInput();
  const codes = await Promise.all(members.map((member) => exit(member, 30_000)));
  const heard = members.map(({ stdout }) => stdout.text.match(/(?:one|two) \d+\./g) ?? []);
  const faults = heard.flatMap((lines, index) => [
    ...NAMES.map((name, from) =>
      parting(
        lines.filter((line) => line.startsWith(name)),
        said[from] ?? [],
      ),
    ),
    ending(codes[index], members[index]?.stderr.text ?? "", seen.total, cuts),
  ]);
  const [one = [], two = []] = heard;
  return {
    scene: "chat",
    what: `seed ${seed}: ${NAMES.length} members, ${each} messages each`,
    measured: `${seen.summary}, ${seconds(took)}`,
    fault: faults.find((fault) => fault !== undefined) ?? parting(two, one),
  };
}
