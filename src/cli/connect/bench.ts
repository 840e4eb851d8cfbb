// parley connect --bench: how many messages a second a server answers, and how long the answers take; a row for each
// workload. The service must answer each message with one, which is checked first with single messages.

import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "../../client/client.ts";
import { ParleyError } from "../../base/errors.ts";
import { HELLO_TIMEOUT_MS, LINGER_MS } from "../../base/limits.ts";
import type { Printer } from "./printer.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { stdout } from "../../terminal/stdio.ts";

export interface BenchOptions {
  json: boolean;
  /** Messages of each workload; undefined: as many as are answered in two seconds. */
  count: number | undefined;
  timeoutMs: number | undefined;
  printer: Printer;
  terminal: Terminal;
}

interface Workload {
  bytes: number;
  inFlight: number;
}

/** The messages of a person, of a pipe, and of a file. */
const WORKLOADS: readonly Workload[] = [
  { bytes: 64, inFlight: 1 },
  { bytes: 64, inFlight: 32 },
  { bytes: 16 * 1024, inFlight: 4 },
];
const ROW_MS = 2000;
/** The share of a workload's time in which answers do not count: the peer's code gets warm. */
const WARM_UP = 0.2;
const PROGRESS_MS = 250;
/** How long further answers to one message are waited for, in milliseconds. */
const MOMENT_MS = 250;
const WORDS = Buffer.from("parley --bench ");

/** @throws {ParleyError} `timeout` when no answer comes, `failed` when an answer is wrong, or a message has several. */
export async function bench(client: Client, options: BenchOptions): Promise<void> {
  const { printer, terminal, json } = options;
  if (client.hello?.service === "chat") {
    client.leave();
    throw new ParleyError(
      "failed",
      "--bench does not run in a chat: every member would get its messages",
      HINT,
    );
  }
  const run = new Run(client, options);
  try {
    const isEcho = await run.warmUp();
    if (!json) void stdout.write(`${HEADINGS.map((text) => text.padStart(WIDTH)).join("")}\n`);
    for (const workload of WORKLOADS) {
      if (workload.bytes > client.maxFrame) continue;
      const row = await run.measure(workload, isEcho);
      terminal.status("");
      if (json) void printer.event("bench", row);
      else void stdout.write(`${cells(row).join("")}\n`);
    }
  } finally {
    terminal.status("");
    await run.end();
  }
}

/** The result of one workload; latencies are microseconds. */
type Row = {
  bytes: number;
  in_flight: number;
  messages: number;
  per_second: number;
  p50_us: number;
  p99_us: number;
  max_us: number;
};

const HEADINGS = ["message", "in flight", "messages/s", "p50", "p99", "longest"];
const WIDTH = 12;

function cells({ bytes, in_flight, per_second, p50_us, p99_us, max_us }: Row): string[] {
  const size = bytes < 1024 ? `${bytes} B` : `${bytes / 1024} KiB`;
  const times = [p50_us, p99_us, max_us].map(sayMicroseconds);
  return [size, `${in_flight}`, per_second.toLocaleString("en-US"), ...times].map((text) =>
    text.padStart(WIDTH),
  );
}

function sayMicroseconds(us: number): string {
  return us < 1000 ? `${Math.round(us)} µs` : `${(us / 1000).toPrecision(3)} ms`;
}

class Run {
  readonly #client: Client;
  readonly #options: BenchOptions;
  readonly #outcome: Promise<unknown>;
  #answered: (payload: Uint8Array) => void | Promise<void> = () => undefined;
  #failed: (error: unknown) => void = () => undefined;

  constructor(client: Client, options: BenchOptions) {
    this.#client = client;
    this.#options = options;
    this.#outcome = client
      .converse((payload) => this.#answered(payload))
      .then((outcome) => {
        const why =
          "reason" in outcome ? outcome.reason : "message" in outcome ? outcome.message : outcome.kind;
        this.#failed(new ParleyError("failed", `the session ended during the measurement: ${why}`));
      });
  }

  /** Says whether the service is an echo. A greeting at the beginning is dropped. */
  async warmUp(): Promise<boolean> {
    await this.#ask();
    const { first, count } = await this.#ask();
    if (count === 1) return WORDS.equals(first);
    const tooMany = `cannot measure: one message got ${count} answers`;
    throw new ParleyError("failed", tooMany, HINT);
  }

  /** Sends one message; its answers are those that come until a moment after the first. */
  #ask(): Promise<{ first: Uint8Array; count: number }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ first: Uint8Array; count: number }>();
    let count = 0;
    const isLate = () => reject(new ParleyError("timeout", NO_ANSWER, HINT));
    let timer = setTimeout(isLate, this.#options.timeoutMs ?? HELLO_TIMEOUT_MS);
    this.#failed = reject;
    this.#answered = (first) => {
      if (++count > 1) return;
      clearTimeout(timer);
      timer = setTimeout(() => resolve({ first, count }), MOMENT_MS);
    };
    this.#client.send(WORDS);
    return promise.finally(() => clearTimeout(timer));
  }

  /** Keeps `inFlight` messages on their way until enough were sent and all are answered. */
  async measure({ bytes, inFlight }: Workload, isEcho: boolean): Promise<Row> {
    const { count, terminal, timeoutMs = HELLO_TIMEOUT_MS } = this.#options;
    const client = this.#client;
    const message = Buffer.alloc(bytes, WORDS);
    const done = Promise.withResolvers<void>();
    const latency = new Histogram();
    const sentAt = new Float64Array(inFlight);
    const began = performance.now();
    const warmUntil = count === undefined ? began + WARM_UP * ROW_MS : began;
    let countedFrom = began;
    let sent = 0;
    let answers = 0;
    let heard = 0;
    const send = (now: number) => {
      sentAt[sent++ % inFlight] = now;
      client.send(message);
    };
    this.#failed = (error) => done.reject(error);
    this.#answered = (answer) => {
      const now = performance.now();
      if (isEcho && !message.equals(answer)) {
        return done.reject(new ParleyError("failed", "the server sent a wrong answer"));
      }
      const since = sentAt[answers++ % inFlight] ?? now;
      if (since >= warmUntil) latency.add(now - since);
      else countedFrom = now;
      if (count === undefined ? now - began < ROW_MS : sent < count) send(now);
      else if (answers === sent) done.resolve();
      return client.writable(); // a service may answer without reading
    };
    const timer = setInterval(() => {
      const name = `${bytes} bytes, ${inFlight} in flight: ${answers.toLocaleString("en-US")} messages`;
      terminal.status(name);
    }, PROGRESS_MS);
    const watch = setInterval(() => {
      if (answers === heard) done.reject(new ParleyError("timeout", NO_ANSWER, HINT));
      heard = answers;
    }, timeoutMs);
    try {
      for (let first = 0; first < Math.min(inFlight, count ?? Infinity); first++) send(performance.now());
      await done.promise;
    } finally {
      clearInterval(timer);
      clearInterval(watch);
    }
    const seconds = (performance.now() - countedFrom) / 1000;
    return {
      bytes,
      in_flight: inFlight,
      messages: latency.count,
      per_second: Math.round(latency.count / seconds),
      p50_us: latency.percentile(0.5),
      p99_us: latency.percentile(0.99),
      max_us: latency.percentile(1),
    };
  }

  async end(): Promise<void> {
    this.#failed = () => undefined;
    this.#client.end();
    await Promise.race([this.#outcome, delay(LINGER_MS)]);
    this.#client.leave();
  }
}

const NO_ANSWER = "the server did not answer in time";
const HINT = {
  hint: "measure a service that answers each message with one message, such as: parley serve --service echo",
};

/** Durations in buckets 2 % wide: millions of them in a few kilobytes. */
class Histogram {
  count = 0;
  readonly #buckets = new Uint32Array(32 * STEPS);

  /** @param ms less than an hour. */
  add(ms: number): void {
    this.count++;
    const bucket = Math.round(Math.log2(Math.max(ms * 1000, 1)) * STEPS);
    this.#buckets[Math.min(bucket, this.#buckets.length - 1)]!++;
  }

  /** The duration that the given share of all (0 to 1) did not exceed, in microseconds. */
  percentile(share: number): number {
    let left = Math.max(1, Math.ceil(share * this.count));
    const bucket = this.#buckets.findIndex((count) => (left -= count) <= 0);
    return Math.round(2 ** (Math.max(bucket, 0) / STEPS) * 10) / 10;
  }
}

/** Buckets between a duration and its double. */
const STEPS = 36;
