// Prints answers and events: as lines, as bytes, or with `--json` one object an event.

import { escapeJson, escapeText } from "../../base/escape.ts";
import { decodeText } from "../../wire/codec.ts";
import type { BufferedStdout } from "../../terminal/stdout.ts";

export type PrinterEvent =
  | "connected"
  | "logged-in"
  | "sent"
  | "received"
  | "lost"
  | "resumed"
  | "bye"
  | "bench"
  | "reset"
  | "failing"
  | "working";

export interface PrinterOptions {
  json: boolean;
  /** The end of each answer: a newline, NUL, or nothing with `--raw`. */
  delimiter: string;
  /** Standard output is a terminal: answers are escaped, so that they cannot act on it. */
  toTerminal: boolean;
  /** Adds colour to an escaped line for a terminal. */
  decorate?: (line: string) => string;
}

export class Printer {
  readonly #output: BufferedStdout;
  readonly #options: PrinterOptions;

  constructor(output: BufferedStdout, options: PrinterOptions) {
    this.#output = output;
    this.#options = options;
  }

  /** Prints an answer. A promise asks the caller to wait before the next one. */
  received(payload: Uint8Array): Promise<void> | undefined {
    const { json, delimiter, toTerminal, decorate = (line: string) => line } = this.#options;
    if (json) return this.event("received", content(payload));
    if (!toTerminal) return this.#output.print(payload, delimiter);
    return this.#output.print(
      decorate(escapeText(Buffer.from(payload).toString())),
      delimiter === "\0" ? "\n" : delimiter,
    );
  }

  /** No more answers follow. With `--raw` the reader of standard output sees its end. */
  ended(): void {
    const { json, delimiter } = this.#options;
    if (!json && delimiter === "") void this.#output.end();
  }

  /** Prints a message that was sent, with `--json` only. A promise asks the caller to wait before the next one. */
  sent(payload: Uint8Array): Promise<void> | undefined {
    return this.#options.json ? this.event("sent", content(payload)) : undefined;
  }

  /** Prints an event of the conversation, with `--json` only. */
  event(event: PrinterEvent, fields: Readonly<Record<string, unknown>> = {}): Promise<void> | undefined {
    if (!this.#options.json) return undefined;
    return this.#output.print(`${escapeJson({ time: new Date().toISOString(), event, ...fields })}\n`);
  }
}

function content(payload: Uint8Array): { text: string } | { base64: string } {
  try {
    return { text: decodeText(payload) };
  } catch {
    return { base64: Buffer.from(payload).toString("base64") };
  }
}
