// `--trace`: every frame, both ways, on stderr: direction, header in hex, meaning, start of the payload.
//
//     → 00000004                    message       4 bytes  "ping"
//     ← 00000004                    message       4 bytes  "ping"
//
// The bytes are read as they pass the socket, with decoders of its own, apart from the conversation. Secrets are never shown.

import { escapeLine } from "../../base/escape.ts";
import { plural } from "../../base/plural.ts";
import { FrameDecoder, FrameError } from "../../wire/frame.ts";

const SECRETS = new Set(["password", "token", "proof", "resume_key"]);
const MAX_SHOWN = 160;

export class Trace {
  readonly #write: (line: string) => void;
  readonly #bare: boolean;
  readonly #streams = { in: newDecoder(), out: newDecoder() };
  #conversation: boolean;

  /** @param bare every frame belongs to the conversation; otherwise those after `welcome` do. */
  constructor(bare: boolean, write: (line: string) => void) {
    this.#bare = this.#conversation = bare;
    this.#write = write;
  }

  /** Begins anew, for another connection. */
  restart(): void {
    this.#conversation = this.#bare;
    this.#streams.in = newDecoder();
    this.#streams.out = newDecoder();
  }

  /** Shows the frames that are whole with the next bytes in one direction. */
  see(direction: "in" | "out", bytes: Uint8Array): void {
    const decoder = this.#streams[direction];
    const arrow = direction === "in" ? "←" : "→";
    decoder.push(Uint8Array.from(bytes)); // a copy: the buffer will be overwritten
    try {
      for (let payload = decoder.next(); payload !== undefined; payload = decoder.next()) {
        this.#show(arrow, payload, decoder.isControl);
      }
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#write(`${arrow} ${error.message}`);
      this.#streams[direction] = newDecoder();
    }
  }

  #show(arrow: string, payload: Uint8Array, isControl: boolean): void {
    const header = ((isControl ? 0x80000000 : 0) + payload.length).toString(16).padStart(8, "0");
    const own = isControl || !this.#conversation;
    const message = own ? parse(payload) : undefined;
    const type = typeof message?.["type"] === "string" ? message["type"] : undefined;
    const meaning = own ? `${isControl ? "control " : ""}${type ?? "?"}` : "message";
    const bytes = plural(payload.length, "byte");
    const shown = message === undefined ? start(payload) : shorten(JSON.stringify(message, mask));
    this.#write(
      `${arrow} ${header}  ${escapeLine(meaning).padEnd(13)} ${bytes.padStart(9)}  ${escapeLine(shown)}`,
    );
    if (!isControl && type === "welcome") this.#conversation = true;
  }
}

function newDecoder(): FrameDecoder {
  const decoder = new FrameDecoder(Number.MAX_SAFE_INTEGER);
  decoder.control = true;
  return decoder;
}

function parse(payload: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(payload).toString());
    return typeof value === "object" && value !== null ? { ...value } : undefined;
  } catch {
    return undefined; // no JSON: the payload is shown as it is
  }
}

function mask(key: string, value: unknown): unknown {
  if (!SECRETS.has(key) || typeof value === "boolean") return value;
  return typeof value === "string" ? `<${value.length} characters>` : "<hidden>";
}

function start(payload: Uint8Array): string {
  const head = Buffer.from(payload.subarray(0, MAX_SHOWN));
  const text = head.toString();
  const shown = text.includes("\ufffd") ? head.toString("hex") : JSON.stringify(text);
  return payload.length > MAX_SHOWN ? `${shown} …` : shown;
}

function shorten(text: string): string {
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)} …` : text;
}
