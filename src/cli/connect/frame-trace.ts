// `--trace`: every frame, both ways, on stderr: direction, header in hex, meaning, start of the payload.
//
//     → 00000004                    message       4 bytes  "ping"
//     ← 00000004                    message       4 bytes  "ping"
//
// A decimal header is shown as it came, with its padding.
//
// The bytes are read as they pass the socket, with decoders of its own, apart from the conversation. Secrets are never shown. After
// bytes that are no frame, nothing more of their direction is shown until the next connection.

import { escapeLine } from "../../base/escape.ts";
import { plural } from "../../base/plural.ts";
import { FrameDecoder, FrameError, MAX_PAYLOAD_BYTES, UINT32, type Framing } from "../../wire/frame.ts";

const SECRETS = new Set(["password", "token", "proof", "resume_key"]);
const MAX_SHOWN = 160;

export interface TraceOptions {
  /** Every frame belongs to the conversation; otherwise those after `welcome` do. */
  bare: boolean;
  /** The headers of bare frames (default: uint32). */
  framing?: Framing;
  /** The longest payload that the client accepts. */
  maxFrame: number;
}

export class Trace {
  readonly #write: (lines: string[]) => void;
  readonly #bare: boolean;
  readonly #framing: Framing;
  readonly #maxFrame: number;
  #streams: Record<"in" | "out", FrameDecoder | undefined>;
  #conversation: boolean;

  /** @param write prints the lines of the frames that became whole together. */
  constructor({ bare, framing = UINT32, maxFrame }: TraceOptions, write: (lines: string[]) => void) {
    this.#bare = this.#conversation = bare;
    this.#framing = framing;
    this.#maxFrame = maxFrame;
    this.#write = write;
    this.#streams = this.#newStreams();
  }

  /** Begins anew, for another connection. */
  restart(): void {
    this.#conversation = this.#bare;
    this.#streams = this.#newStreams();
  }

  #newStreams(): Record<"in" | "out", FrameDecoder> {
    const framing = this.#framing;
    return { in: newDecoder(this.#maxFrame, framing), out: newDecoder(MAX_PAYLOAD_BYTES, framing) };
  }

  /** Shows the frames that are whole with the next bytes in one direction. */
  see(direction: "in" | "out", bytes: Uint8Array): void {
    const decoder = this.#streams[direction];
    if (decoder === undefined) return;
    const lines: string[] = [];
    const arrow = direction === "in" ? "←" : "→";
    decoder.push(Uint8Array.from(bytes)); // a copy: the buffer will be overwritten
    try {
      for (let payload = decoder.next(); payload !== undefined; payload = decoder.next()) {
        lines.push(this.#lineOf(arrow, payload, decoder.isControl));
      }
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      lines.push(`${arrow} ${error.message}`);
      this.#streams[direction] = undefined;
    }
    if (lines.length > 0) this.#write(lines);
  }

  /** The header as it came: it stands before the payload in memory. */
  #textHeader({ buffer, byteOffset }: Uint8Array): string {
    const { headerBytes } = this.#framing;
    return Buffer.from(buffer, byteOffset - headerBytes, headerBytes).toString();
  }

  #lineOf(arrow: string, payload: Uint8Array, isControl: boolean): string {
    const header = this.#framing === UINT32 ? hexHeader(payload, isControl) : this.#textHeader(payload);
    const own = isControl || !this.#conversation;
    const message = own ? parse(payload) : undefined;
    const type = typeof message?.["type"] === "string" ? message["type"] : undefined;
    const meaning = own ? `${isControl ? "control " : ""}${type ?? "?"}` : "message";
    const bytes = plural(payload.length, "byte");
    const shown = message === undefined ? start(payload) : shorten(JSON.stringify(message, mask));
    if (!isControl && type === "welcome") this.#conversation = true;
    return `${arrow} ${header}  ${escapeLine(meaning).padEnd(13)} ${bytes.padStart(9)}  ${escapeLine(shown)}`;
  }
}

function hexHeader(payload: Uint8Array, isControl: boolean): string {
  return ((isControl ? 0x80000000 : 0) + payload.length).toString(16).padStart(8, "0");
}

function newDecoder(limit: number, framing: Framing): FrameDecoder {
  const decoder = new FrameDecoder(limit, framing);
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
