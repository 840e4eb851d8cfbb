// How messages become a program's input, and its output messages.
//
//     lines    a message is a line, and a line a message; the last one without its newline too
//     bytes    a message is written as it is; output comes in whatever pieces it arrives in, of 64 KiB at most
//     frames   both ways behind 4 bytes of length, as on parley's own wire

import { LineSplitter, NEWLINE, pieces } from "../../base/line-splitter.ts";
import { FrameDecoder, writeHeader, HEADER_BYTES } from "../../wire/frame.ts";

export const PROGRAM_IOS = ["lines", "bytes", "frames"] as const;
export type ProgramIo = (typeof PROGRAM_IOS)[number];

export interface Codec {
  /** What to write before and after a payload. */
  wrap(payload: Uint8Array): readonly Uint8Array[];
  /** The messages that a piece of output completes. @throws {Error} when one is longer than it may be. */
  push(chunk: Uint8Array): Iterable<Uint8Array>;
  /** The message that output ended with, unfinished; undefined when there is none. @throws {FrameError} inside a frame. */
  end(): Uint8Array | undefined;
}

/** @param maxBytes of a message that the program says. */
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

/** A read of a pipe brings up to 4 MiB (measured with Bun 1.4.5, both cores busy): more than a client may leave unread. */
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
