// The three standard streams, used so that other programs that share them do not notice.
//
// Bun's `process.stdout` and `process.stderr` make a pipe, a socket or a file non-blocking for every process that has it
// open (measured with Bun 1.4.5: `(parley --version; seq 300000) | …` ended seq with EAGAIN), and reading files through
// `process.stdin` begins at their start. So only terminals are used through Bun's streams; anything else by its number.

import { fstatSync, read, write, writeSync } from "node:fs";
import { constants } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { isatty } from "node:tty";
import { promisify } from "node:util";
import { ParleyError, systemCode } from "../base/errors.ts";
import { whyRefused } from "../files/file-error.ts";
import { isWriteOnly, wasClosed } from "../os/standard-streams.ts";
import { SystemError } from "../os/libc.ts";

const readDescriptor = promisify(read);
const writeDescriptor = promisify(write);

/** Output that may wait to be taken before whoever writes is asked to wait, in bytes: what a pipe holds. */
const MAX_QUEUED_BYTES = 64 * 1024;
/** Between two tries where another program has made a full pipe non-blocking, in milliseconds. */
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

  /** Its width in columns, where it is a terminal that has one. */
  get columns(): number | undefined {
    if (!this.isTerminal) return undefined;
    const { columns } = this.terminal;
    return columns > 0 ? columns : undefined;
  }

  /** Resolves, once, when it takes no more. */
  get failed(): Promise<ParleyError> {
    return this.#failed.promise;
  }

  /** Writes `data` after all that came before. A promise asks to wait before the next; it never rejects. */
  write(data: string | Uint8Array): Promise<void> | undefined {
    if (this.#failure !== undefined) return undefined;
    if (this.isTerminal) return this.#show(data);
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    this.#writing ??= this.#writeAll();
    return this.#queued > MAX_QUEUED_BYTES ? this.#writing : undefined;
  }

  /**
   * Writes `data` now, and waits for it: for what must be out before something else is done.
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

  /** Resolves when everything is written. @throws {ParleyError} `failed` when it could not be. */
  async flush(): Promise<void> {
    await this.#writing;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** At once: the line that is being edited, and questions, go to the terminal through the same stream. */
  #show(data: string | Uint8Array): Promise<void> | undefined {
    const { promise, resolve } = Promise.withResolvers<void>();
    const hasRoom = this.terminal.write(data, (error) => {
      if (error !== null && error !== undefined) this.#fail(error);
      resolve();
    });
    this.#writing = promise;
    return hasRoom ? undefined : promise;
  }

  /** Where it is one: for what draws on it, and must not be torn by what is written here. */
  get terminal(): NodeJS.WriteStream & { fd: number } {
    const stream = this.#fd === 1 ? process.stdout : process.stderr;
    // A terminal that is gone says so in an event, too; without a listener that would end the process.
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
    const isLeft = systemCode(error) === "EPIPE";
    const why = isLeft ? "its reader has left" : whyRefused(error);
    this.#failure ??= new ParleyError("failed", `${this.#name} could not be written: ${why}`, {
      hint: isLeft ? undefined : "what was printed is not complete",
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

/** Is standard input a terminal? */
export function isInputTerminal(): boolean {
  return isatty(0);
}

/**
 * Standard input, chunk by chunk, from where it stands: a file is read on, and left where it was read to, as every other
 * program does.
 *
 * @throws {ParleyError} `failed` when it cannot be read: it is a folder, closed, open for writing only, or fails in the middle.
 */
export async function* readInput(): AsyncGenerator<Uint8Array> {
  try {
    if (!isFile()) {
      // No event would ever come from it.
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
    throw new ParleyError("failed", `standard input cannot be read: ${whyRefused(error)}`, { cause: error });
  }
}

/** A file, or a folder or whatever else no event will ever come from. */
function isFile(): boolean {
  const stats = fstatSync(0);
  return stats.isFile() || stats.isDirectory();
}

/** All of standard input. @throws as {@link readInput}. */
export async function readWholeInput(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of readInput()) chunks.push(chunk);
  return Buffer.concat(chunks);
}
