// One program and its process group: what goes in, what comes out, and its end. The only place that spawns.
//
// Bun's pipes: a full one makes `flush` return a promise, which is what holds the input back; one that nobody reads is
// broken, and its promise rejects (measured).

import type { FileSink, Subprocess } from "bun";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { systemCode } from "../../base/errors.ts";
import { LineSplitter, NEWLINE } from "../../base/line-splitter.ts";
import { PROGRAM_INPUT_GRACE_MS, PROGRAM_TERM_GRACE_MS, MAX_STDERR_LINE_BYTES } from "../../base/limits.ts";
import { asInherited } from "../../os/process-limits.ts";
import { reapOrphans } from "../../os/orphans.ts";
import type { Codec } from "./codec.ts";

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

/** Programs for which Bun waits. */
const awaited = new Set<number>();

/**
 * Sees to it that the ends of programs are noticed, and as process 1 of a container also the ends of what they leave behind:
 * to be called before the first program starts. Elsewhere the system's process 1 waits for those.
 */
export function awaitChildren(): void {
  // The listener is needed in any case: while the signal is ignored, as some starters have it, no child can be waited for.
  process.on("SIGCHLD", reap);
}

function reap(): void {
  if (process.pid === 1) reapOrphans((pid) => awaited.has(pid));
}

export class Run {
  readonly pid: number;
  /** Its exit status as a shell says it: 128 and the signal's number when one ended it. */
  readonly status: Promise<number>;
  readonly #codec: Codec;
  readonly #child: Subprocess;
  readonly #input: Input;
  readonly #output: AsyncIterable<Uint8Array>;
  readonly #hasTerminal: boolean;
  #isOver = false;

  /** @throws {Error} when it cannot be started. */
  constructor({ argv, env, codec, pty }: RunOptions) {
    this.#codec = codec;
    this.#hasTerminal = pty;
    const { child, input, output } = pty ? spawnOnTerminal(argv, env) : spawnOnPipes(argv, env);
    this.#child = child;
    this.#input = input;
    this.#output = output;
    this.pid = child.pid;
    this.status = child.exited;
    awaited.add(child.pid);
    void child.exited.then(() => {
      awaited.delete(child.pid);
      reap(); // orphans that ended after it
      // A group that is empty now may give its number to another one before it is looked at again.
      this.#signal(0);
    });
  }

  /** A promise while the program has not read enough of what it was given. */
  write(payload: Uint8Array): void | Promise<void> {
    return this.#input.write(this.#codec.wrap(payload));
  }

  endInput(): void {
    this.#input.end();
  }

  /**
   * The messages that it says, those of a chunk together, until nothing of it is left to say anything; read no faster than
   * asked for.
   */
  async *output(): AsyncGenerator<Iterable<Uint8Array>> {
    for await (const chunk of this.#output) yield this.#codec.push(chunk);
    const last = this.#codec.end();
    if (last !== undefined) yield [last];
  }

  /** Tells each line of its standard error; resolves when there are no more. */
  async errors(tell: (line: string) => void | Promise<void>): Promise<void> {
    const { stderr } = this.#child;
    if (!(stderr instanceof ReadableStream)) return;
    const splitter = new LineSplitter(NEWLINE, Infinity);
    const say = async (line: Uint8Array) => {
      for (let start = 0; start === 0 || start < line.length; start += MAX_STDERR_LINE_BYTES) {
        await tell(Buffer.from(line.subarray(start, start + MAX_STDERR_LINE_BYTES)).toString());
      }
    };
    let pending = 0;
    for await (const chunk of stderr as ReadableStream<Uint8Array>) {
      for (const line of splitter.push(chunk)) await say(line);
      pending = chunk.lastIndexOf(NEWLINE) === -1 ? pending + chunk.length : 0;
      if (pending < MAX_STDERR_LINE_BYTES) continue;
      const line = splitter.end(); // one without an end is not kept without one
      if (line !== undefined) await say(line);
      pending = 0;
    }
    const last = splitter.end();
    if (last !== undefined) await say(last);
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

  /** Signals everything that is left and may be signalled; false when nothing is. */
  #signal(signal: "SIGTERM" | "SIGKILL" | 0): boolean {
    if (this.#isOver) return false; // its number may be somebody else's by now
    // A shell on a terminal makes a group of each job: the session has them all.
    const { groups, isComplete } = this.#hasTerminal
      ? groupsOf(this.pid)
      : { groups: [this.pid], isComplete: true };
    const outcomes = groups.map((group) => signalGroup(group, signal));
    this.#isOver = isComplete && outcomes.every((outcome) => outcome === "gone");
    return outcomes.includes("hit");
  }
}

/** `refused`: what is left of it has become another user's, as by su(1). */
function signalGroup(group: number, signal: NodeJS.Signals | 0): "hit" | "gone" | "refused" {
  try {
    process.kill(-group, signal);
    return "hit";
  } catch (error) {
    const code = systemCode(error);
    if (code === "ESRCH") return "gone";
    if (code === "EPERM") return "refused";
    throw error;
  }
}

/**
 * The process groups of a session, by its leader. Only Linux tells; elsewhere it is the leader's own.
 *
 * `isComplete`: all of them are there. Without a descriptor left it cannot be known, and another look is needed.
 */
function groupsOf(session: number): { groups: number[]; isComplete: boolean } {
  const groups = new Set([session]);
  let isComplete = true;
  try {
    for (const entry of readdirSync("/proc")) {
      if (!/^\d+$/.test(entry)) continue;
      const fields = statOf(entry);
      if (fields === "unknown") isComplete = false;
      else if (Number(fields[3]) === session) groups.add(Number(fields[2]));
    }
  } catch (error) {
    isComplete = systemCode(error) === "ENOENT"; // no /proc: not Linux
  }
  return { groups: [...groups], isComplete };
}

/** State, parent, group, session and so on: what follows the name, which may hold anything. None of one that has ended. */
function statOf(pid: string): string[] | "unknown" {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch (error) {
    return systemCode(error) === "ENOENT" || systemCode(error) === "ESRCH" ? [] : "unknown";
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
  const child = asInherited(() =>
    Bun.spawn([...argv], {
      env,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      detached: true, // a group of its own: the caller's is never signalled
    }),
  );
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
    for (const piece of pieces) void ignoreBroken(attempt(() => this.#sink.write(piece)));
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

function attempt(act: () => unknown): unknown {
  try {
    return act();
  } catch (error) {
    return Promise.reject(error as Error);
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
  const child = asInherited(() =>
    Bun.spawn([...argv], {
      env: { TERM: "xterm-256color", ...env },
      detached: true,
      terminal: {
        cols: 80,
        rows: 24,
        data: (terminal, bytes) => {
          if (output.push(bytes)) terminal.write(HOLD_OUTPUT);
        },
      },
    }),
  );
  const { terminal } = child;
  if (terminal === undefined) throw new Error("no terminal was given");
  output.released = () => terminal.write(RELEASE_OUTPUT);
  void child.exited.then(() => setImmediate(() => output.end()));
  let lastByte: number | undefined;
  const input: Input = {
    write: (pieces) => {
      for (const piece of pieces) {
        terminal.write(piece);
        lastByte = piece.at(-1) ?? lastByte;
      }
    },
    end: () => {
      if (terminal.closed) return;
      // Behind half a line the first one only hands that over.
      terminal.write(lastByte === NEWLINE || lastByte === undefined ? END_OF_INPUT : END_OF_INPUT.repeat(2));
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
