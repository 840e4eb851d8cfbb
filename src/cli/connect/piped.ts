// A conversation without a person: messages from stdin, or given as `--send`; answers to stdout.
//
//     stdin → lines, NUL-ended pieces or raw bytes → client.send (waits while much is queued)
//     end of stdin → `end` → every answer printed → bye

import { setTimeout as delay } from "node:timers/promises";
import type { Client, Outcome } from "../../client/client.ts";
import { LineSplitter, NEWLINE, NUL, pieces } from "../../base/line-splitter.ts";
import { ParleyError } from "../../base/errors.ts";
import { LINGER_MS } from "../../base/limits.ts";
import { sayDuration } from "../../base/units.ts";
import { readInput } from "../../terminal/stdio.ts";
import type { Printer } from "./printer.ts";

export interface PipedOptions {
  /** Messages to send instead of reading stdin. */
  messages: string[];
  /** Leave after so many answers. */
  count: number | undefined;
  /** Give up when nothing was received for so long, in milliseconds. */
  timeoutMs: number | undefined;
  /** What ends a message on stdin; `raw`: nothing does, bytes are sent as they come. */
  framing: "lines" | "nul" | "raw";
}

/** How long the end of an input that is there takes to be read, in milliseconds. */
const INPUT_END_MS = 100;
/** Largest message made of raw bytes. */
const RAW_CHUNK_BYTES = 64 * 1024;

/**
 * Holds the conversation and says how it ended.
 *
 * @throws {ParleyError} `timeout` when nothing was received for too long; whatever made the input unusable, once what
 *   was sent before is answered.
 */
export async function talkPiped(client: Client, report: Printer, options: PipedOptions): Promise<Outcome> {
  const { count, timeoutMs } = options;
  const silence = new ReceiveTimeout(timeoutMs);
  let left: Timer | undefined;
  const outcome = client.converse((payload) => {
    if (client.received > (count ?? Infinity)) return undefined;
    const printed = report.received(payload);
    if (client.received !== count) silence.heard(printed);
    else {
      silence.stop();
      // No more is wanted, but what was given to be sent is sent, also where a greeting came first, and is to arrive:
      // until the server says so, or has had its time.
      if (options.messages.length === 0) client.end();
      const leave = () => (left = setTimeout(() => client.leave(), LINGER_MS));
      if (printed === undefined) leave();
      else void printed.then(leave);
    }
    return printed;
  });
  let inputFailed: unknown;
  const sending = sendAll(client, report, options).catch((error: unknown) => {
    inputFailed = error;
    client.end();
  });
  try {
    const ended = await Promise.race([outcome, silence.tooLong]);
    // A server that is done before us, and our input is at its end as well: give that the moment it takes to show.
    if (ended.kind === "bye" && !client.inputEnded) await Promise.race([sending, delay(INPUT_END_MS)]);
    if (inputFailed !== undefined) throw inputFailed;
    return ended;
  } finally {
    silence.stop();
    clearTimeout(left);
  }
}

/** `--timeout`: watches for a time in which nothing is received, but for that in which we ourselves are busy. */
class ReceiveTimeout {
  readonly #timeoutMs: number | undefined;
  readonly #late = Promise.withResolvers<never>();
  #timer: Timer | undefined;

  constructor(timeoutMs: number | undefined) {
    this.#timeoutMs = timeoutMs;
    this.#start();
  }

  /** Rejects with `timeout`. */
  get tooLong(): Promise<never> {
    return this.#late.promise;
  }

  /** Something was received, and is dealt with once `printed` has settled. */
  heard(printed: Promise<void> | undefined): void {
    if (this.#timeoutMs === undefined) return;
    this.stop();
    if (printed === undefined) this.#start();
    else void printed.then(() => this.#start());
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #start(): void {
    if (this.#timeoutMs === undefined) return;
    const error = new ParleyError("timeout", `nothing was received for ${sayDuration(this.#timeoutMs)}`);
    this.#timer = setTimeout(() => this.#late.reject(error), this.#timeoutMs);
  }
}

async function sendAll(client: Client, report: Printer, options: PipedOptions): Promise<void> {
  const { messages } = options;
  const batches = messages.length > 0 ? [messages.map((text) => Buffer.from(text))] : read(client, options);
  // What one read of stdin brought is sent in one turn, and so in one write.
  for await (const batch of batches) {
    for (const message of batch) {
      if (client.over || client.inputEnded) return;
      if (message.length > client.maxFrame) throw tooLong(message, client);
      client.send(message);
      report.sent(message);
      const isFull = client.writable(); // undefined, but for the moments in which too much is unconfirmed or queued
      if (isFull !== undefined) await isFull;
    }
  }
  client.end();
}

function tooLong(message: Uint8Array, client: Client): ParleyError {
  return new ParleyError(
    "failed",
    `a message of ${message.length} bytes is over the server's limit of ${client.maxFrame}`,
  );
}

async function* read(client: Client, { framing }: PipedOptions): AsyncGenerator<Iterable<Uint8Array>> {
  if (framing === "raw") {
    for await (const chunk of readInput()) yield pieces(chunk, Math.min(RAW_CHUNK_BYTES, client.maxFrame));
    return;
  }
  const splitter = new LineSplitter(framing === "nul" ? NUL : NEWLINE, client.maxFrame);
  for await (const chunk of readInput()) yield splitter.push(chunk);
  const rest = splitter.end();
  if (rest !== undefined) yield [rest];
}
