// Starts a program on pipes. A full pipe makes the caller wait: then `flush` of Bun's pipe returns a promise. Writing to a program
// that has closed its input is no failure: that promise rejects with EPIPE (both measured with Bun 1.4.5).

import type { FileSink, Subprocess } from "bun";
import { systemCode } from "../../base/errors.ts";
import type { WindowSize } from "../../wire/message.ts";
import { asInherited } from "../../os/process-limits.ts";

/** The standard input of a program. */
export interface Input {
  /** Writes `pieces`, one after the other. @returns a promise when the caller should wait before the next. */
  write(pieces: readonly Uint8Array[]): void | Promise<void>;
  end(): void;
}

/** A started program. */
export interface Spawned {
  child: Subprocess;
  input: Input;
  output: AsyncIterable<Uint8Array>;
  /** Its standard error, where that is not part of `output`. */
  errors: AsyncIterable<Uint8Array> | undefined;
  /** The terminal of the program has another size from now on; undefined where it has none. */
  resize?(size: WindowSize): void;
  /** Its client is gone: what it writes from now on may be dropped, and must not keep it from its end. */
  discard(): void;
  /** Closes this side of its streams, whatever still has the other: `output` and `errors` end. */
  close(): void;
}

/** Descriptors for each program: three sockets and a pidfd (measured with Bun 1.4.5). */
export const PIPE_DESCRIPTORS = 4;

/** Starts a program. @throws {Error} when it cannot be started. */
export function spawnOnPipes(argv: readonly string[], env: Record<string, string>): Spawned {
  const child = asInherited(() =>
    Bun.spawn([...argv], {
      env,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      detached: true, // a process group of its own, so that signals do not reach parley
    }),
  );
  const input = new PipeInput(child.stdin);
  const output = new PipeOutput(child.stdout);
  const errors = new PipeOutput(child.stderr);
  const close = () => {
    input.end();
    output.close();
    errors.close();
  };
  // The reader of a closed session drops what it reads, so that nothing has to be done here.
  return { child, input, output, errors, discard: () => undefined, close };
}

class PipeOutput implements AsyncIterable<Uint8Array> {
  readonly #reader: { read(): Promise<{ value?: Uint8Array | undefined }>; cancel(): Promise<void> };

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  close(): void {
    void this.#reader.cancel();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const { value } = await this.#reader.read();
      if (value === undefined) return;
      yield value;
    }
  }
}

class PipeInput implements Input {
  readonly #sink: FileSink;
  /** True while a flush is planned for the end of this turn. */
  #flushing = false;
  /** Resolves when the pipe has room; undefined while it has. */
  #blocked: Promise<void> | undefined;
  #ended = false;

  constructor(sink: FileSink) {
    this.#sink = sink;
  }

  write(pieces: readonly Uint8Array[]): void | Promise<void> {
    if (this.#ended) return undefined;
    for (const piece of pieces) void ignoreBroken(attempt(() => this.#sink.write(piece)));
    if (!this.#flushing) {
      this.#flushing = true;
      queueMicrotask(() => this.#flush());
    }
    return this.#blocked;
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    void ignoreBroken(attempt(() => this.#sink.end()));
  }

  #flush(): void {
    this.#flushing = false;
    if (this.#ended) return;
    const pending: unknown = attempt(() => this.#sink.flush());
    if (!(pending instanceof Promise)) return;
    const blocked = ignoreBroken(pending).then(() => {
      if (this.#blocked === blocked) this.#blocked = undefined;
    });
    this.#blocked = blocked;
  }
}

/** The result of `act`; what it throws becomes a rejected promise. */
function attempt(act: () => unknown): unknown {
  try {
    return act();
  } catch (error) {
    return Promise.reject(error as Error);
  }
}

/** Ignores EPIPE: a program may end without reading its input, and its exit status says whether that is a failure. */
function ignoreBroken(pending: unknown): Promise<void> {
  return Promise.resolve(pending).then(
    () => undefined,
    (error: unknown) => {
      if (systemCode(error) !== "EPIPE") throw error;
    },
  );
}
