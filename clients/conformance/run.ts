// Runs the cases of *.json against a client.
//
//     bun clients/conformance/run.ts [--trace] [--only TEXT] -- ADAPTER…
//
// The adapter is a program around the client; README.md says what it reads and prints. Each case runs twice: every write of the
// server as one segment, and torn into single bytes. Prints each case that fails, with the reason; exit 1 if there is one.

import { readFileSync } from "node:fs";
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { Adapter, FINAL, type Trace } from "./adapter.ts";
import {
  difference,
  itemsOf,
  numbered,
  PARTS,
  readCases,
  sized,
  type Case,
  type Json,
  type Part,
  type Step,
} from "./case.ts";
import { Peer, type Counts } from "./peer.ts";
import { Queue } from "./queue.ts";

const FOLDER = import.meta.dirname;
const CERTIFICATE = readFileSync(join(FOLDER, "tls/cert.pem"), "utf8");
const KEY = readFileSync(join(FOLDER, "tls/key.pem"), "utf8");
/** Settings that stand for something of this folder. */
const STANDS_FOR: Readonly<Record<string, string>> = {
  $ca: join(FOLDER, "tls/ca.pem"),
  "$other-ca": join(FOLDER, "tls/other-ca.pem"),
};
/** How many events are shown of a case that has failed. */
const MAX_SHOWN = 3;
const KNOWN = ["connected", "message", ...FINAL];

export interface Outcome {
  name: string;
  /** What it checks. */
  rule: string;
  /** Why it failed; undefined when it passed, or was skipped. */
  flaw?: string;
  /** The parts that the client does not have. */
  lacks?: Part[];
}

/** Runs all cases, one after the other. @param only cases whose name contains this. */
export async function* runAll(argv: readonly string[], only = "", trace?: Trace): AsyncGenerator<Outcome> {
  const adapter = new Adapter(argv, trace);
  const parts = await begin(adapter);
  try {
    for (const [file, cases] of readCases(FOLDER)) {
      for (const one of cases) {
        const name = `${file}: ${one.name}`;
        if (!name.includes(only)) continue;
        const { rule } = one;
        const lacks = one.parts.filter((part) => !parts.includes(part));
        if (lacks.length > 0) {
          yield { name, rule, lacks };
          continue;
        }
        for (const torn of [false, true]) {
          await begin(adapter);
          const full = torn ? `${name}, torn` : name;
          trace?.(`case     ${full}`);
          const flaw = await runCase(adapter, one, { torn, trace });
          yield { name: full, rule, flaw };
          if (flaw !== undefined) await adapter.stop();
        }
      }
    }
  } finally {
    await adapter.stop();
  }
}

/** The parts that the adapters have named. */
const ready = new WeakMap<Adapter, Part[]>();

/** Starts the adapter unless it runs. @returns the parts that it names. */
async function begin(adapter: Adapter): Promise<Part[]> {
  if (!adapter.start()) return ready.get(adapter) ?? [];
  const { event, parts } = await adapter.event();
  const unknown = Array.isArray(parts) ? parts.filter((part) => !PARTS.includes(part as Part)) : ["none"];
  if (event !== "ready" || unknown.length > 0)
    throw new Error(
      `the first line of an adapter is {"event":"ready","parts":[…]}, with some of ${PARTS.join(", ")}`,
    );
  ready.set(adapter, parts as Part[]);
  return parts as Part[];
}

/** How a case is run. */
interface How {
  torn: boolean;
  trace: Trace | undefined;
}

/** Why a case failed; undefined when it passed. */
async function runCase(adapter: Adapter, one: Case, how: How): Promise<string | undefined> {
  const stage = new Stage(adapter, one, how);
  try {
    await stage.open();
    for (const step of one.steps) {
      await stage.take(step);
      if (stage.isOver) break;
    }
    await stage.close();
    return undefined;
  } catch (error) {
    const rest = adapter.rest();
    const some = rest.slice(0, MAX_SHOWN).map((event) => JSON.stringify(event).slice(0, 300));
    const more = rest.length > MAX_SHOWN ? `, and ${rest.length - MAX_SHOWN} more` : "";
    const reported = rest.length > 0 ? `; the adapter has also reported ${some.join(" ")}${more}` : "";
    const said = adapter.said === "" ? "" : `\n    ${adapter.said.replaceAll("\n", "\n    ")}`;
    return `${error instanceof Error ? error.message : String(error)}${at(stage.step)}${reported}${said}`;
  } finally {
    stage.destroy();
  }
}

function at(step: Step | undefined): string {
  return step === undefined ? "" : ` (at ${JSON.stringify(step).slice(0, 300)})`;
}

/** A server, and the client that talks to it. */
class Stage {
  isOver = false;
  /** The step that is being taken. */
  step: Step | undefined;
  readonly #adapter: Adapter;
  readonly #case: Case;
  readonly #server: Server;
  readonly #peers: Peer[] = [];
  readonly #accepted = new Queue<Peer>();
  #peer: Peer | undefined;
  readonly #counts: Counts = { sent: 0, acked: 0, received: 0, unacknowledged: [], resumesFrom: 0 };

  constructor(adapter: Adapter, one: Case, { torn, trace }: How) {
    this.#adapter = adapter;
    this.#case = one;
    const certificate = one.tls === true ? CERTIFICATE : undefined;
    const bare = one.connect["bare"] === true;
    const accept = (socket: Socket) => {
      const peer = new Peer(socket, { counts: this.#counts, torn, bare, certificate, trace });
      this.#peers.push(peer);
      this.#accepted.push(peer);
    };
    this.#server =
      certificate === undefined
        ? createTcpServer({ allowHalfOpen: true }, accept)
        : createTlsServer({ cert: certificate, key: KEY, minVersion: "TLSv1.3" }, accept);
    this.#server.on("tlsClientError", () => undefined); // the adapter reports it
  }

  async open(): Promise<void> {
    await new Promise<void>((resolve) => void this.#server.listen(0, "127.0.0.1", resolve));
    const { port } = this.#server.address() as AddressInfo;
    const settings = Object.entries(this.#case.connect).map(([name, value]) => {
      return [name, STANDS_FOR[String(value)] ?? value];
    });
    this.#adapter.send({ do: "connect", host: "127.0.0.1", port, ...Object.fromEntries(settings) });
  }

  async take({ times, ...step }: Step): Promise<void> {
    for (let index = 1; index <= (times ?? 1) && !this.isOver; index++) {
      this.step = times === undefined ? step : numbered(step, index);
      await this.#take(this.step);
    }
    if (!this.isOver) this.step = undefined;
  }

  async #take(step: Step): Promise<void> {
    if (step.do !== undefined) this.#adapter.send(sized(step));
    else if (step.report !== undefined) await this.#report([step.report].flat().map(sized));
    else if (step.accept !== undefined) await this.#accept();
    else if (step.begin !== undefined) await this.#begin(step.begin);
    else await this.#atPeer(step, this.#peer);
  }

  async #atPeer(step: Step, peer: Peer | undefined): Promise<void> {
    if (peer === undefined) throw new Error("the case has no connection for this step");
    if (step.send !== undefined) await peer.send(itemsOf(step.send));
    else if (step.expect !== undefined) for (const item of itemsOf(step.expect)) await peer.expect(item);
    else if (step.acked !== undefined) await peer.acked(step.acked);
    else if (step.close !== undefined) peer.close(step.close);
    else if (step.left !== undefined) await peer.left();
    else if (step.ignore !== undefined) peer.ignore();
    else if (step.finish !== undefined) await this.#finish(peer);
    else if (step.maybe !== undefined) {
      const next = await peer.received.peek("the client neither sends something nor closes its connection");
      if (next.kind !== "end") for (const one of step.maybe) await this.take(one);
    } else throw new Error("the case has a step without a meaning");
  }

  async #begin(welcome: Json): Promise<void> {
    await this.#accept();
    await this.#atPeer({ send: { hello: {} } }, this.#peer);
    await this.#atPeer({ expect: { login: { method: "none" } } }, this.#peer);
    await this.#atPeer({ send: { welcome } }, this.#peer);
    await this.#report([{ event: "connected" }]);
  }

  async #finish(peer: Peer): Promise<void> {
    this.#adapter.send({ do: "end" });
    if (peer.control) {
      const { received } = this.#counts;
      await peer.expect({ control: { type: "end" } });
      const bye = { control: { type: "bye", code: "done", message: "the end", status: 0 } };
      await peer.send([...(peer.hasSession ? [{ control: { type: "ack", received } }] : []), bye]);
      if (peer.hasSession) await peer.expect({ control: { type: "bye", code: "left" } });
    } else {
      await peer.left();
      peer.close("fin");
    }
    await this.#report([{ event: "done" }]);
  }

  async #accept(): Promise<void> {
    const over = this.#adapter.over.then((event) => {
      throw new Error(`the client does not connect, and reports ${JSON.stringify(event)}`);
    });
    this.#peer = await Promise.race([this.#accepted.next("the client does not connect"), over]);
  }

  /** Takes the next event, which has to be one of `wanted`. */
  async #report(wanted: readonly Json[]): Promise<void> {
    const event = await this.#event();
    const name = String(event["event"]);
    const flaws = wanted.map((one) => difference(one, event));
    if (!flaws.includes(undefined))
      throw new Error(`the adapter reports ${JSON.stringify(event).slice(0, 500)}: ${flaws[0]}`);
    this.isOver = FINAL.includes(name);
  }

  async #event(): Promise<Json> {
    for (;;) {
      const event = await this.#adapter.event();
      if (KNOWN.includes(String(event["event"]))) return event;
    }
  }

  /** Checks that the client has ended, and has done nothing that no step expects. */
  async close(): Promise<void> {
    if (!this.isOver) throw new Error("the case does not end with done or error");
    this.step = undefined;
    const accepted = this.#case.steps.filter(({ accept, begin }) => (accept ?? begin) !== undefined).length;
    if (this.#peers.length > Math.max(1, accepted)) throw new Error("the client has connected again");
    this.#peer?.close("fin");
    for (const peer of this.#peers) if (accepted > 0) await peer.left();
    const events = this.#adapter.rest().filter(({ event }) => KNOWN.includes(String(event)));
    if (events.length > 0) throw new Error(`the adapter reports ${JSON.stringify(events)} after the end`);
  }

  destroy(): void {
    this.#server.close();
    for (const peer of this.#peers) peer.destroy();
  }
}

if (import.meta.main) {
  const words = process.argv.slice(2);
  let trace: Trace | undefined;
  let only = "";
  for (; words[0] === "--trace" || words[0] === "--only"; words.shift()) {
    if (words[0] === "--trace") trace = (line) => void process.stdout.write(`  ${line}\n`);
    else only = words.splice(1, 1)[0] ?? "";
  }
  if (words[0] === "--") words.shift(); // Bun has removed it
  if (words.length === 0 || words[0]?.startsWith("-") === true) {
    process.stderr.write("usage: bun clients/conformance/run.ts [--trace] [--only TEXT] -- ADAPTER…\n");
    process.exit(2);
  }
  const counts = { passed: 0, failed: 0, skipped: 0 };
  try {
    for await (const { name, rule, flaw, lacks } of runAll(words, only, trace)) {
      if (lacks !== undefined) process.stdout.write(`skipped  ${name} (needs ${lacks.join(", ")})\n`);
      else if (flaw !== undefined) process.stdout.write(`FAILED   ${name}\n    ${rule}\n    ${flaw}\n`);
      counts[lacks !== undefined ? "skipped" : flaw !== undefined ? "failed" : "passed"]++;
    }
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  }
  process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
  process.exitCode = counts.failed === 0 && counts.passed > 0 ? 0 : 1;
}
