// Converts messages to the input of a program, and its output to messages, as `--io` says. process.ts has one Codec for each run.
//
//     lines    a message is a line without its newline, in both directions; the last line of output may lack the newline
//     bytes    a message is written as it is; each piece of output is a message, of 64 KiB at most
//     frames   a message has 4 bytes of length before it, in both directions, as on parley's own wire

import { LineSplitter, NEWLINE, pieces } from "../../base/line-splitter.ts";
import { FrameDecoder, writeHeader, HEADER_BYTES } from "../../wire/frame.ts";

export const PROGRAM_IOS = ["lines", "bytes", "frames"] as const;
export type ProgramIo = (typeof PROGRAM_IOS)[number];

export interface Codec {
  /** The pieces to write for a message. */
  wrap(payload: Uint8Array): readonly Uint8Array[];
  /** The messages that a piece of output completes. @throws {Error} when one is too long. */
  push(chunk: Uint8Array): Iterable<Uint8Array>;
  /** The unfinished message at the end of output; undefined when there is none. @throws {FrameError} inside a frame. */
  end(): Uint8Array | undefined;
}

/** @param maxBytes the longest message of the program, in bytes. */
export function codecFor(io: ProgramIo, maxBytes: number): Codec {
  switch (io) {
    case "lines":
      return new Lines(maxBytes);
    case "bytes":
      return BYTES;
    case "frames":
      return new Frames(maxBytes);
  }
}

const LINE_END = Uint8Array.of(NEWLINE);

class Lines implements Codec {
  readonly #splitter: LineSplitter;

  constructor(maxBytes: number) {
    this.#splitter = new LineSplitter(NEWLINE, maxBytes);
  }

  wrap(payload: Uint8Array): Uint8Array[] {
    return [payload, LINE_END];
  }

  push(chunk: Uint8Array): Iterable<Uint8Array> {
    return this.#splitter.push(chunk);
  }

  end(): Uint8Array | undefined {
    return this.#splitter.end();
  }
}

/** Longest piece. One read of a pipe may return 4 MiB (measured with Bun 1.4.5), more than a client may leave unread. */
const MAX_PIECE_BYTES = 64 * 1024;

const BYTES: Codec = {
  wrap: (payload) => [payload],
  push: (chunk) => pieces(chunk, MAX_PIECE_BYTES),
  end: () => undefined,
};

class Frames implements Codec {
  readonly #decoder: FrameDecoder;

  constructor(maxBytes: number) {
    this.#decoder = new FrameDecoder(maxBytes);
  }

  wrap(payload: Uint8Array): Uint8Array[] {
    const header = new Uint8Array(HEADER_BYTES);
    writeHeader(header, 0, payload.length);
    return [header, payload];
  }

  *push(chunk: Uint8Array): Generator<Uint8Array> {
    this.#decoder.push(chunk);
    for (;;) {
      const payload = this.#decoder.next();
      if (payload === undefined) return;
      yield payload;
    }
  }

  end(): undefined {
    this.#decoder.end();
  }
}
