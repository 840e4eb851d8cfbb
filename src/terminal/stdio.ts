// The three standard streams. Other programs that share them must not be disturbed:
//
// - Bun's `process.stdout` and `process.stderr` make a pipe, a socket or a file non-blocking for every process that has it open
//   (measured with Bun 1.4.5: `(parley --version; seq 300000) | …` ended seq with EAGAIN).
// - Bun's `process.stdin` reads a file from its start, and not from the present position.
//
// So Bun's streams are used for terminals only, and anything else by its descriptor. All commands read and write through this.

import { fstatSync, read, write, writeSync } from "node:fs";
import { constants } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { isatty } from "node:tty";
import { promisify } from "node:util";
import { ParleyError, systemCode } from "../base/errors.ts";
import { whyRefused } from "../files/file-error.ts";
import { endStandardOutput, isWriteOnly, wasClosed } from "../os/standard-streams.ts";
import { SystemError } from "../os/libc.ts";

const readDescriptor = promisify(read);
const writeDescriptor = promisify(write);

/** Queued bytes from which on the caller is asked to wait: as many as a pipe holds. */
const MAX_QUEUED_BYTES = 64 * 1024;
/** Milliseconds between two tries to write to a full pipe that another program has made non-blocking. */
const RETRY_MS = 5;
const READ_BYTES = 64 * 1024;

/** Standard output or standard error. */
export class StandardOutput {
  readonly #fd: 1 | 2;
  readonly #name: string;
  readonly isTerminal: boolean;
  #queue: Uint8Array[] = [];
  #queued = 0;
  #writing: Promise<void> | undefined;
  #failure: ParleyError | undefined;
  readonly #failed = Promise.withResolvers<ParleyError>();

  constructor(fd: 1 | 2) {
    this.#fd = fd;
    this.#name = fd === 1 ? "standard output" : "standard error";
    this.isTerminal = isatty(fd);
  }

  /** The width of the terminal; undefined when this is no terminal, or its width is unknown. */
  get columns(): number | undefined {
    if (!this.isTerminal) return undefined;
    const { columns } = this.terminal;
    return columns > 0 ? columns : undefined;
  }

  /** Resolves when a write has failed; nothing is written after that. */
  get failed(): Promise<ParleyError> {
    return this.#failed.promise;
  }

  /**
   * Writes `data` after all earlier data.
   *
   * @returns a promise when the caller should wait before the next write; it never rejects.
   */
  write(data: string | Uint8Array): Promise<void> | undefined {
    if (this.#failure !== undefined) return undefined;
    if (this.isTerminal) return this.#writeToTerminal(data);
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    this.#writing ??= this.#writeAll();
    return this.writable();
  }

  /**
   * Resolves when little enough is queued to write more; undefined when that is the case now. It never rejects. A write to a
   * terminal queues nothing: it blocks (measured with Bun 1.4.5).
   */
  writable(): Promise<void> | undefined {
    return this.#queued > MAX_QUEUED_BYTES ? this.#writing : undefined;
  }

  /**
   * Writes `data` synchronously.
   *
   * @throws {ParleyError} `failed` when it cannot be written.
   */
  writeNow(data: string): void {
    const bytes = Buffer.from(data);
    if (wasClosed(this.#fd)) throw this.#fail(notOpen("write"));
    for (let at = 0; at < bytes.length;) {
      try {
        at += writeSync(this.#fd, bytes, at, bytes.length - at);
      } catch (error) {
        if (systemCode(error) !== "EAGAIN") throw this.#fail(error);
        Bun.sleepSync(RETRY_MS);
      }
    }
  }

  /** Resolves when everything is written. @throws {ParleyError} `failed` when a write has failed. */
  async flush(): Promise<void> {
    await this.#writing;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Ends it for its reader, once everything is written. A terminal stays as it is. Only for standard output. */
  async end(): Promise<void> {
    if (this.isTerminal) return;
    await this.#writing;
    if (this.#failure === undefined) endStandardOutput();
  }

  /** Writes through Bun's stream, as the line editor and the questions do: all output keeps its order. */
  #writeToTerminal(data: string | Uint8Array): Promise<void> | undefined {
    const { promise, resolve } = Promise.withResolvers<void>();
    const hasRoom = this.terminal.write(data, (error) => {
      if (error !== null && error !== undefined) this.#fail(error);
      resolve();
    });
    this.#writing = promise;
    return hasRoom ? undefined : promise;
  }

  /** Bun's stream, for what draws on a terminal. Only for a stream that is a terminal. */
  get terminal(): NodeJS.WriteStream & { fd: number } {
    const stream = this.#fd === 1 ? process.stdout : process.stderr;
    // A closed terminal also emits `error`, which would end the process without a listener.
    if (stream.listenerCount("error") === 0) stream.on("error", (error) => this.#fail(error));
    return stream;
  }

  async #writeAll(): Promise<void> {
    try {
      if (wasClosed(this.#fd)) throw notOpen("write");
      for (let bytes = this.#queue.shift(); bytes !== undefined; bytes = this.#queue.shift()) {
        await this.#writeOne(bytes);
        this.#queued -= bytes.length;
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#writing = undefined;
    }
  }

  async #writeOne(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      try {
        const { bytesWritten } = await writeDescriptor(this.#fd, bytes, at, bytes.length - at);
        at += bytesWritten;
      } catch (error) {
        if (systemCode(error) !== "EAGAIN") throw error;
        await delay(RETRY_MS);
      }
    }
  }

  #fail(error: unknown): ParleyError {
    const hasNoReader = systemCode(error) === "EPIPE";
    const why = hasNoReader ? "its reader has left" : whyRefused(error);
    this.#failure ??= new ParleyError("failed", `cannot write ${this.#name}: ${why}`, {
      hint: hasNoReader ? undefined : "run the command again: the printed output is incomplete",
      cause: error,
    });
    this.#queue = [];
    this.#queued = 0;
    this.#failed.resolve(this.#failure);
    return this.#failure;
  }
}

function notOpen(call: string): SystemError {
  return new SystemError(call, constants.errno.EBADF);
}

export const stdout = new StandardOutput(1);
export const stderr = new StandardOutput(2);

export function isInputTerminal(): boolean {
  return isatty(0);
}

/**
 * Reads standard input, chunk by chunk. A file is read from its present position, and its position advances, as with any other
 * program.
 *
 * @throws {ParleyError} `failed` when it cannot be read: it is a folder, closed, or open for writing only, or a read fails.
 */
export async function* readInput(): AsyncGenerator<Uint8Array> {
  try {
    if (!isFile()) {
      // Bun's stream would wait for ever.
      if (wasClosed(0) || isWriteOnly(0)) throw notOpen("read");
      yield* Bun.stdin.stream() as ReadableStream<Uint8Array>;
      return;
    }
    for (;;) {
      const buffer = Buffer.allocUnsafe(READ_BYTES);
      const { bytesRead } = await readDescriptor(0, buffer, 0, buffer.length, null);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } catch (error) {
    if (systemCode(error) === undefined || error instanceof ParleyError) throw error;
    throw new ParleyError("failed", `cannot read standard input: ${whyRefused(error)}`, { cause: error });
  }
}

/** True for a file, and for a folder, whose read fails with a reason. */
function isFile(): boolean {
  const stats = fstatSync(0);
  return stats.isFile() || stats.isDirectory();
}

/** Reads all of standard input. @throws as {@link readInput}. */
export async function readWholeInput(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of readInput()) chunks.push(chunk);
  return Buffer.concat(chunks);
}
