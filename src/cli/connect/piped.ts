// A conversation without a person: messages from stdin, or given as `--send`; answers to stdout.
//
//     stdin → lines, NUL-ended pieces or raw bytes → client.send (waits while much is queued)
//     end of stdin → `end` → every answer printed → bye

import { setTimeout as delay } from "node:timers/promises";
import type { Client, Outcome } from "../../client/client.ts";
import {
  LineSplitter,
  NEWLINE,
  NUL,
  pieces,
  SERVERS_LIMIT,
  type LineLimit,
} from "../../base/line-splitter.ts";
import { ParleyError } from "../../base/errors.ts";
import { LINGER_MS } from "../../base/limits.ts";
import { sayDuration } from "../../base/units.ts";
import { readInput } from "../../terminal/stdio.ts";
import { UINT32 } from "../../wire/frame.ts";
import type { Printer } from "./printer.ts";

export interface PipedOptions {
  /** Messages to send; none: those on stdin. */
  messages: string[];
  /** Leave after so many answers. */
  count: number | undefined;
  /** Give up when nothing was received for so long, in milliseconds. */
  timeoutMs: number | undefined;
  /** The status of the service is wanted, too: wait for its end after `count` answers. */
  wantsStatus: boolean;
  /** What ends a message on stdin: a newline, NUL, or nothing, so that bytes are sent as they come. */
  form: "lines" | "nul" | "raw";
}

/** How long stdin may take to report its end, when the server is done first, in milliseconds. */
const INPUT_END_MS = 100;
/** Longest message that raw bytes are sent in. */
const RAW_CHUNK_BYTES = 64 * 1024;

/**
 * Holds the conversation and says how it ended.
 *
 * @throws {ParleyError} `timeout` when nothing was received for too long; an error of the input, once what was sent before
 *   is answered.
 */
export async function talkPiped(client: Client, printer: Printer, options: PipedOptions): Promise<Outcome> {
  const { count, timeoutMs } = options;
  const silence = new ReceiveTimeout(timeoutMs, () => client.isInputHeld);
  const enough = Promise.withResolvers<void>();
  let left: Timer | undefined;
  const receive = (payload: Uint8Array) => {
    if (client.received > (count ?? Infinity)) return undefined;
    const printed = printer.received(payload);
    if (client.received !== count) silence.heard(printed);
    else {
      silence.stop();
      // The answers that were wanted are here. The messages of --send are sent all the same, since a greeting may have been
      // among the answers, and the server has a while to confirm them.
      if (options.messages.length === 0) client.end();
      if (printed === undefined) enough.resolve();
      else void printed.then(enough.resolve);
    }
    return printed;
  };
  const outcome = client.converse(receive, { outputEnded: () => printer.ended() });
  let inputFailed: unknown;
  const sending = sendAll(client, printer, options).catch((error: unknown) => {
    inputFailed = error;
    client.end();
  });
  void enough.promise.then(() => {
    if (client.isOver) return;
    left = setTimeout(() => client.leave(), LINGER_MS);
    // A program or a target ends a moment after its input; a handler has said by then whether it has finished.
    if (options.wantsStatus || client.hello?.messages !== undefined) return;
    const sent = options.messages.length > 0 ? sending : Promise.resolve();
    void sent.then(() => client.settled()).then(() => client.leave());
  });
  try {
    const ended = await Promise.race([outcome, silence.tooLong]);
    // The server is done first. If the input is at its end, too, stdin takes a moment to report that.
    if (ended.kind === "bye" && !client.inputEnded) await Promise.race([sending, delay(INPUT_END_MS)]);
    if (inputFailed !== undefined) throw inputFailed;
    return ended;
  } finally {
    silence.stop();
    clearTimeout(left);
  }
}

/** `--timeout`: ends the wait for answers; the time in which something that was received is printed does not count. */
class ReceiveTimeout {
  readonly #timeoutMs: number | undefined;
  readonly #isPrinting: () => boolean;
  readonly #late = Promise.withResolvers<never>();
  #timer: Timer | undefined;

  constructor(timeoutMs: number | undefined, isPrinting: () => boolean) {
    this.#timeoutMs = timeoutMs;
    this.#isPrinting = isPrinting;
    this.#start();
  }

  /** Rejects with `timeout` when nothing was received for too long. */
  get tooLong(): Promise<never> {
    return this.#late.promise;
  }

  /** An answer came; the time runs again once `printed` has settled. */
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
    const error = new ParleyError("timeout", `received nothing for ${sayDuration(this.#timeoutMs)}`);
    this.#timer = setTimeout(() => {
      if (this.#isPrinting()) this.#start();
      else this.#late.reject(error);
    }, this.#timeoutMs);
  }
}

async function sendAll(client: Client, printer: Printer, options: PipedOptions): Promise<void> {
  const { messages } = options;
  const batches = messages.length > 0 ? [messages.map((text) => Buffer.from(text))] : read(client, options);
  // All messages of one read of stdin are sent in one turn, and so in one write.
  for await (const batch of batches) {
    for (const message of batch) {
      if (client.isOver || client.inputEnded) return;
      if (message.length > client.maxFrame) throw tooLong(message, client);
      client.send(message);
      const printed = printer.sent(message);
      if (printed !== undefined) await printed;
      const isFull = client.writable(); // undefined unless too much is unconfirmed or queued
      if (isFull !== undefined) await isFull;
    }
  }
  client.end();
}

function tooLong(message: Uint8Array, client: Client): ParleyError {
  const { name, raise } = limitOf(client);
  return new ParleyError(
    "failed",
    `cannot send a message of ${message.length} bytes: ${name} is ${client.maxFrame}`,
    { hint: `send shorter messages, or ${raise}` },
  );
}

/** What limits the messages that `client` sends: the server, or the header of bare frames. */
export function limitOf({ hello, framing }: Client): LineLimit {
  if (hello !== undefined || framing === UINT32) return SERVERS_LIMIT;
  return { name: `the limit of ${framing.name}`, raise: "use more digits on both sides" };
}

async function* read(client: Client, { form }: PipedOptions): AsyncGenerator<Iterable<Uint8Array>> {
  if (form === "raw") {
    for await (const chunk of readInput()) yield pieces(chunk, Math.min(RAW_CHUNK_BYTES, client.maxFrame));
    return;
  }
  const splitter = new LineSplitter(form === "nul" ? NUL : NEWLINE, client.maxFrame, limitOf(client));
  for await (const chunk of readInput()) yield splitter.push(chunk);
  const rest = splitter.end();
  if (rest !== undefined) yield [rest];
}
