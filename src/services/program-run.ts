// One program and its process group: what goes in, what comes out, and its end. The only place that spawns.
//
// Bun's pipes: a full one makes `flush` return a promise, which is what holds the input back; one that nobody reads is
// broken, and its promise rejects (measured).

import type { FileSink, Subprocess } from "bun";
import { setTimeout as delay } from "node:timers/promises";
import { systemCode } from "../errors.ts";
import { LineSplitter, NEWLINE } from "../lines.ts";
import { PROGRAM_INPUT_GRACE_MS, PROGRAM_TERM_GRACE_MS, MAX_STDERR_LINE_BYTES } from "../limits.ts";
import type { Codec } from "./program-io.ts";

export interface RunOptions {
  argv: readonly [string, ...string[]];
  env: Record<string, string>;
  codec: Codec;
  pty: boolean;
}

/** XOFF and XON: how a terminal is told to hold output back. */
const HOLD_OUTPUT = "\x13";
const RELEASE_OUTPUT = "\x11";
/** What ^D is to a terminal. */
const END_OF_INPUT = "\x04";

export class Run {
  readonly pid: number;
  /** Its exit status as a shell says it: 128 and the signal's number when one ended it. */
  readonly status: Promise<number>;
  readonly #codec: Codec;
  readonly #child: Subprocess;
  readonly #input: Input;
  readonly #output: AsyncIterable<Uint8Array>;

  /** @throws {Error} when it cannot be started. */
  constructor({ argv, env, codec, pty }: RunOptions) {
    this.#codec = codec;
    const { child, input, output } = pty ? spawnOnTerminal(argv, env) : spawnOnPipes(argv, env);
    this.#child = child;
    this.#input = input;
    this.#output = output;
    this.pid = child.pid;
    this.status = child.exited.then((code) => code);
  }

  /** A promise while the program has not read enough of what it was given. */
  write(payload: Uint8Array): void | Promise<void> {
    return this.#input.write(this.#codec.wrap(payload));
  }

  endInput(): void {
    this.#input.end();
  }

  /** What it says, message by message, until nothing of it is left to say anything; read no faster than asked for. */
  async *output(): AsyncGenerator<Uint8Array> {
    for await (const chunk of this.#output) yield* this.#codec.push(chunk);
    const last = this.#codec.end();
    if (last !== undefined) yield last;
  }

  /** Tells each line of its standard error; resolves when there are no more. */
  async errors(tell: (line: string) => void): Promise<void> {
    const { stderr } = this.#child;
    if (!(stderr instanceof ReadableStream)) return;
    const splitter = new LineSplitter(NEWLINE, Infinity);
    const say = (line: Uint8Array) => tell(Buffer.from(line.subarray(0, MAX_STDERR_LINE_BYTES)).toString());
    let pending = 0;
    for await (const chunk of stderr as ReadableStream<Uint8Array>) {
      for (const line of splitter.push(chunk)) say(line);
      pending = chunk.lastIndexOf(NEWLINE) === -1 ? pending + chunk.length : 0;
      if (pending < MAX_STDERR_LINE_BYTES) continue;
      const line = splitter.end(); // one without an end is not kept without one
      if (line !== undefined) say(line);
      pending = 0;
    }
    const last = splitter.end();
    if (last !== undefined) say(last);
  }

  /** Ends whatever is left of the group: its input first, then TERM, then KILL. */
  async stop(): Promise<void> {
    this.#input.end();
    if (await this.#isGone(PROGRAM_INPUT_GRACE_MS)) return;
    this.#signal("SIGTERM");
    if (await this.#isGone(PROGRAM_TERM_GRACE_MS)) return;
    this.kill();
    await this.#child.exited;
  }

  kill(): void {
    this.#signal("SIGKILL");
  }

  /** Is nothing left of the group, at the latest after `withinMs`? */
  async #isGone(withinMs: number): Promise<boolean> {
    const deadline = performance.now() + withinMs;
    for (let pause = 5; this.#signal(0); pause = Math.min(50, 2 * pause)) {
      if (performance.now() >= deadline) return false;
      await delay(Math.min(pause, withinMs));
    }
    return true;
  }

  /** Signals the whole group; false when there is none any more. */
  #signal(signal: "SIGTERM" | "SIGKILL" | 0): boolean {
    try {
      process.kill(-this.pid, signal);
      return true;
    } catch (error) {
      if (systemCode(error) === "ESRCH") return false;
      throw error;
    }
  }
}

interface Input {
  write(pieces: readonly Uint8Array[]): void | Promise<void>;
  end(): void;
}

interface Spawned {
  child: Subprocess;
  input: Input;
  output: AsyncIterable<Uint8Array>;
}

function spawnOnPipes(argv: readonly string[], env: Record<string, string>): Spawned {
  const child = Bun.spawn([...argv], {
    env,
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    detached: true, // a group of its own: the caller's is never signalled
  });
  return { child, input: new PipeInput(child.stdin), output: child.stdout };
}

class PipeInput implements Input {
  readonly #sink: FileSink;
  #flushing = false;
  #blocked: Promise<void> | undefined;
  #ended = false;

  constructor(sink: FileSink) {
    this.#sink = sink;
  }

  write(pieces: readonly Uint8Array[]): void | Promise<void> {
    if (this.#ended) return undefined;
    for (const piece of pieces) void this.#sink.write(piece);
    if (!this.#flushing) {
      // Once a turn, however many messages came in it.
      this.#flushing = true;
      queueMicrotask(() => this.#flush());
    }
    return this.#blocked;
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    void ignoreBroken(this.#sink.end());
  }

  #flush(): void {
    this.#flushing = false;
    if (this.#ended) return;
    const pending: unknown = this.#sink.flush();
    if (!(pending instanceof Promise)) return;
    const blocked = ignoreBroken(pending).then(() => {
      if (this.#blocked === blocked) this.#blocked = undefined;
    });
    this.#blocked = blocked;
  }
}

/** A program may leave without reading its input; its exit status tells what that means. */
function ignoreBroken(pending: unknown): Promise<void> {
  return Promise.resolve(pending).then(
    () => undefined,
    (error: unknown) => {
      if (systemCode(error) !== "EPIPE") throw error;
    },
  );
}

function spawnOnTerminal(argv: readonly string[], env: Record<string, string>): Spawned {
  const output = new TerminalOutput();
  const child = Bun.spawn([...argv], {
    env: { TERM: "xterm-256color", ...env },
    detached: true,
    terminal: {
      cols: 80,
      rows: 24,
      data: (terminal, bytes) => {
        if (output.push(bytes)) terminal.write(HOLD_OUTPUT);
      },
    },
  });
  const { terminal } = child;
  if (terminal === undefined) throw new Error("no terminal was given");
  output.released = () => terminal.write(RELEASE_OUTPUT);
  void child.exited.then(() => setImmediate(() => output.end()));
  const input: Input = {
    write: (pieces) => {
      for (const piece of pieces) terminal.write(piece);
    },
    end: () => {
      if (!terminal.closed) terminal.write(END_OF_INPUT);
    },
  };
  return { child, input, output };
}

/** What a terminal shows: it comes unasked, and is told to wait when nobody takes it. */
class TerminalOutput implements AsyncIterable<Uint8Array> {
  released: (() => void) | undefined;
  #chunks: Uint8Array[] = [];
  #length = 0;
  #held = false;
  #ended = false;
  #wake: (() => void) | undefined;

  /** True when it is time to hold the program back. */
  push(chunk: Uint8Array): boolean {
    this.#chunks.push(new Uint8Array(chunk)); // a copy: the buffer is used again
    this.#length += chunk.length;
    this.#wake?.();
    if (this.#held || this.#length < MAX_HELD_BYTES) return false;
    this.#held = true;
    return true;
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#length -= chunk.length;
        yield chunk;
      } else if (this.#ended) {
        return;
      } else {
        if (this.#held) this.released?.();
        this.#held = false;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    }
  }
}

const MAX_HELD_BYTES = 64 * 1024;
