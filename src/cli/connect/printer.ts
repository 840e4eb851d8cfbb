// How answers and events are shown: plain, raw, or as NDJSON (`--json`), one object an event.

import { escapeJson, escapeText } from "../../base/escape.ts";
import { decodeText } from "../../wire/message.ts";
import type { BufferedStdout } from "../../terminal/stdout.ts";

export type ReportEvent =
  "connected" | "logged-in" | "sent" | "received" | "lost" | "resumed" | "bye" | "bench";

export interface ReportOptions {
  json: boolean;
  /** What follows each answer: a newline, NUL, or nothing with `--raw`. */
  delimiter: string;
  /** Is standard output a terminal? Then nothing a peer says may act on it. */
  toTerminal: boolean;
  /** How a line is shown on a terminal, once it is harmless. */
  decorate?: (line: string) => string;
}

export class Printer {
  readonly #output: BufferedStdout;
  readonly #options: ReportOptions;

  constructor(output: BufferedStdout, options: ReportOptions) {
    this.#output = output;
    this.#options = options;
  }

  /** An answer. A promise asks to wait before the next. */
  received(payload: Uint8Array): Promise<void> | undefined {
    const { json, delimiter, toTerminal, decorate = (line: string) => line } = this.#options;
    if (json) return this.event("received", content(payload));
    if (!toTerminal) return this.#output.print(payload, delimiter);
    return this.#output.print(
      decorate(escapeText(Buffer.from(payload).toString())),
      delimiter === "\0" ? "\n" : delimiter,
    );
  }

  sent(payload: Uint8Array): void {
    if (this.#options.json) void this.event("sent", content(payload));
  }

  /** An event of the conversation; shown with `--json` only. */
  event(event: ReportEvent, fields: Readonly<Record<string, unknown>> = {}): Promise<void> | undefined {
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
