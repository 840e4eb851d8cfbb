// One run of a program: its input, its output, its standard error, and its end. program.ts makes one for each session.
//
//     running ── stop: end of input, after a while TERM, after a while KILL ──→ no process of it is left

import type { Subprocess } from "bun";
import { LineSplitter, NEWLINE } from "../../base/line-splitter.ts";
import { PROGRAM_INPUT_GRACE_MS, PROGRAM_TERM_GRACE_MS, MAX_STDERR_LINE_BYTES } from "../../base/limits.ts";
import { reapOrphans } from "../../os/orphans.ts";
import type { Codec } from "./codec.ts";
import { spawnOnPipes, type Input } from "./pipes.ts";
import { ProcessGroup } from "./process-group.ts";
import { spawnOnTerminal } from "./pty.ts";

export interface RunOptions {
  argv: readonly [string, ...string[]];
  env: Record<string, string>;
  codec: Codec;
  /** On a terminal of its own, rather than on pipes. */
  pty: boolean;
  grace?: Grace;
}

/** How long a program may run once its session is over, in milliseconds. */
export interface Grace {
  /** From the end of its input to TERM. */
  inputMs: number;
  /** From TERM to KILL. */
  termMs: number;
}

const GRACE: Grace = { inputMs: PROGRAM_INPUT_GRACE_MS, termMs: PROGRAM_TERM_GRACE_MS };

/** Process ids of programs that Bun waits for. */
const awaited = new Set<number>();

/**
 * Listens to SIGCHLD. Call it before the first program starts. The listener has two purposes: a process that was started with
 * SIGCHLD ignored could not wait for its children, and process 1 of a container must wait for orphans.
 */
export function awaitChildren(): void {
  process.on("SIGCHLD", reap);
}

function reap(): void {
  if (process.pid === 1) reapOrphans((pid) => awaited.has(pid));
}

export class Run {
  readonly pid: number;
  /** The exit status as a shell has it: 128 plus the signal's number after a signal. */
  readonly status: Promise<number>;
  readonly #codec: Codec;
  readonly #child: Subprocess;
  readonly #input: Input;
  readonly #output: AsyncIterable<Uint8Array>;
  readonly #group: ProcessGroup;
  readonly #grace: Grace;

  /** @throws {Error} when the program cannot be started. */
  constructor({ argv, env, codec, pty, grace = GRACE }: RunOptions) {
    this.#codec = codec;
    this.#grace = grace;
    const { child, input, output } = pty ? spawnOnTerminal(argv, env) : spawnOnPipes(argv, env);
    this.#child = child;
    this.#input = input;
    this.#output = output;
    this.#group = new ProcessGroup(child.pid, pty);
    this.pid = child.pid;
    this.status = child.exited;
    awaited.add(child.pid);
    void child.exited.then(() => {
      awaited.delete(child.pid);
      reap(); // orphans that ended after it
      this.#group.signal(0); // notices an empty group before other processes can get its number
    });
  }

  /** Writes one message to the program. @returns a promise when the program has to read before the next. */
  write(payload: Uint8Array): void | Promise<void> {
    return this.#input.write(this.#codec.wrap(payload));
  }

  endInput(): void {
    this.#input.end();
  }

  /**
   * The messages of the program, those of one chunk together, until every process has closed the output. Reads no faster than the
   * caller.
   *
   * @throws {Error} when a message is too long, or a frame is cut off.
   */
  async *output(): AsyncGenerator<Iterable<Uint8Array>> {
    for await (const chunk of this.#output) yield this.#codec.push(chunk);
    const last = this.#codec.end();
    if (last !== undefined) yield [last];
  }

  /** Calls `onLine` for each line of standard error. Resolves when there are no more. A long line comes in pieces. */
  async errors(onLine: (line: string) => void | Promise<void>): Promise<void> {
    const { stderr } = this.#child;
    if (!(stderr instanceof ReadableStream)) return;
    const splitter = new LineSplitter(NEWLINE, Infinity);
    const inPieces = async (line: Uint8Array | undefined) => {
      if (line === undefined) return;
      for (let start = 0; start === 0 || start < line.length; start += MAX_STDERR_LINE_BYTES) {
        await onLine(Buffer.from(line.subarray(start, start + MAX_STDERR_LINE_BYTES)).toString());
      }
    };
    let unfinished = 0;
    for await (const chunk of stderr as ReadableStream<Uint8Array>) {
      for (const line of splitter.push(chunk)) await inPieces(line);
      unfinished = chunk.lastIndexOf(NEWLINE) === -1 ? unfinished + chunk.length : 0;
      if (unfinished < MAX_STDERR_LINE_BYTES) continue;
      await inPieces(splitter.end()); // the begin of a line that may have no end
      unfinished = 0;
    }
    await inPieces(splitter.end());
  }

  /** Ends every process of the program that may be signalled. Resolves when none of them is left. */
  async stop(): Promise<void> {
    this.#input.end();
    const { inputMs, termMs } = this.#grace;
    if (await this.#group.waitUntilGone(inputMs)) return;
    this.#group.signal("SIGTERM");
    if (await this.#group.waitUntilGone(termMs)) return;
    this.kill();
    await this.#child.exited;
    await this.#group.waitUntilGone(termMs); // the kernel ends the other processes a little later
  }

  kill(): void {
    this.#group.signal("SIGKILL");
  }
}
